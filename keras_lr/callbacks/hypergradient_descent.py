"""`HypergradientDescent`: the hypergradient of one step moves the learning rate."""

from typing import Any

import keras

from keras_lr.callbacks.marthe import MARTHE


@keras.saving.register_keras_serializable(package="keras_lr")
class HypergradientDescent(MARTHE):
    r"""Move the learning rate as if each step were the last (HD).

    `MARTHE` with a discount of 0: the tangent of a step is

    .. math::
        Z_{t+1} = B_t = \partial w_{t+1} / \partial \eta_t

    which for gradient descent is the negative gradient, so that the rate grows while
    successive gradients point the same way. It needs no Hessian: without validation
    data a step costs a plain one and four passes over the weights; with `every`, steps
    that no update uses do without them. Memory: one more copy of the weights, and
    the copies that `"auto"` rolls back to.

    It is short-sighted: it lowers the rate as soon as the next step would gain by it.
    `MARTHE` costs more and looks further.

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
        >>> keras_lr.HypergradientDescent().discount
        0.0

    Notes:
        With momentum, B is that of Keras's step, in which the rate multiplies the
        gradient before it enters the velocity: published hyper-learning rates for
        other conventions do not carry over. A rate that has fallen to 0 is left as a
        thousandth of the first one, as by `MARTHE`.

    References:
        - Baydin et al., [Online Learning Rate Adaptation with Hypergradient
          Descent](https://arxiv.org/abs/1703.04782), 2018.
        - Donini et al., [MARTHE](https://arxiv.org/abs/1910.08525), 2020, section 3.
    """

    def __init__(self, validation_data: Any = None, **kwargs: Any) -> None:
        super().__init__(validation_data, discount=0.0, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without `validation_data`."""
        config = super().get_config()
        del config["discount"]
        return config
