"""`RTHO`: the hypergradient of all steps so far moves the learning rate."""

from typing import Any

import keras

from keras_lr.callbacks.marthe import MARTHE


@keras.saving.register_keras_serializable(package="keras_lr")
class RTHO(MARTHE):
    r"""Move the learning rate by the derivative of the whole training so far.

    `MARTHE` with a discount of 1: the tangent forgets nothing,

    .. math::
        Z_{t+1} = A_t Z_t + B_t

    and with a constant rate it is exactly :math:`d w_{t+1} / d \eta`. A step costs as
    much as with `MARTHE`, for two copies of the weights less. Over a long training the
    tangent can grow without bound, and it reflects steps long past.

    Args:
        validation_data: Data that E is measured on, as in `MARTHE`.
        **kwargs: The other arguments of `MARTHE`, except `discount`.

    Attributes:
        history: Lists with an entry per step, as in `MARTHE`.
        restarts: The steps after which the training was rolled back.

    Raises:
        ValueError: Under the conditions of `MARTHE`.

    Example:
        >>> import keras_lr
        >>> keras_lr.RTHO().discount
        1.0

    Notes:
        A rate that has fallen to 0 is left as a thousandth of the first one, as by
        `MARTHE`.

    References:
        - Franceschi et al., [Forward and Reverse Gradient-Based Hyperparameter
          Optimization](https://arxiv.org/abs/1703.01785), 2017, section 3.3.
        - Donini et al., [MARTHE](https://arxiv.org/abs/1910.08525), 2020, section 3.
    """

    def __init__(self, validation_data: Any = None, **kwargs: Any) -> None:
        super().__init__(validation_data, discount=1.0, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without `validation_data`."""
        config = super().get_config()
        del config["discount"]
        return config
