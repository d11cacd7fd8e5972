"""`HypergradientDescent`: the hypergradient of one step moves the learning rate."""

from pathlib import Path
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
    data a step costs no more than a plain one but for a pass over the weights. Memory:
    one more copy of the weights.

    It is short-sighted: it lowers the rate as soon as the next step would gain by it.
    `MARTHE` costs more and looks further.

    Args:
        validation_data: As in `MARTHE`.
        update: As in `MARTHE`.
        hyper_learning_rate: As in `MARTHE`.
        hyper_learning_rate_adaptation: As in `MARTHE`.
        anneal: As in `MARTHE`.
        validation_batch_size: As in `MARTHE`.
        every: As in `MARTHE`.
        initial_learning_rate: As in `MARTHE`.
        min_learning_rate: As in `MARTHE`.
        max_learning_rate: As in `MARTHE`.
        backup_dir: As in `MARTHE`.
        verbose: As in `MARTHE`.

    Attributes:
        history: As in `MARTHE`.
        restarts: As in `MARTHE`.

    Raises:
        ValueError: As in `MARTHE`.

    Example:
        >>> import keras_lr
        >>> keras_lr.HypergradientDescent().discount
        0.0

    Notes:
        With momentum, B is that of Keras's step, in which the rate multiplies the
        gradient before it enters the velocity: published hyper-learning rates for
        other conventions do not carry over.

    References:
        - Baydin et al., [Online Learning Rate Adaptation with Hypergradient
          Descent](https://arxiv.org/abs/1703.04782), 2018.
        - Donini et al., [MARTHE](https://arxiv.org/abs/1910.08525), 2020, section 3.
    """

    def __init__(
        self,
        validation_data: Any = None,
        *,
        update: str = "log",
        hyper_learning_rate: float | str = "auto",
        hyper_learning_rate_adaptation: float = 0.0,
        anneal: float = 0.4,
        validation_batch_size: int = 32,
        every: int = 1,
        initial_learning_rate: float | None = None,
        min_learning_rate: float = 0.0,
        max_learning_rate: float = 10.0,
        backup_dir: str | Path | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            validation_data,
            update=update,
            hyper_learning_rate=hyper_learning_rate,
            hyper_learning_rate_adaptation=hyper_learning_rate_adaptation,
            discount=0.0,
            anneal=anneal,
            validation_batch_size=validation_batch_size,
            every=every,
            initial_learning_rate=initial_learning_rate,
            min_learning_rate=min_learning_rate,
            max_learning_rate=max_learning_rate,
            backup_dir=backup_dir,
            verbose=verbose,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without `validation_data`."""
        config = super().get_config()
        del config["discount"], config["curvature_batch_size"]
        return config
