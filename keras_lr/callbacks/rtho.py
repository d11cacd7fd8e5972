"""`RTHO`: the hypergradient of all steps so far moves the learning rate."""

from pathlib import Path
from typing import Any

import keras

from keras_lr.callbacks.marthe import MARTHE


@keras.saving.register_keras_serializable(package="keras_lr")
class RTHO(MARTHE):
    r"""Move the learning rate by the derivative of the whole training so far.

    `MARTHE` with a discount of 1: the tangent forgets nothing,

    .. math::
        Z_{t+1} = A_t Z_t + B_t

    and with a constant rate it is exactly :math:`d w_{t+1} / d \eta`. Costs and memory
    are those of `MARTHE`. Over a long training the tangent can grow without a bound,
    and what it says is that of steps long past.

    Args:
        validation_data: As in `MARTHE`.
        update: As in `MARTHE`.
        hyper_learning_rate: As in `MARTHE`.
        hyper_learning_rate_adaptation: As in `MARTHE`.
        anneal: As in `MARTHE`.
        validation_batch_size: As in `MARTHE`.
        curvature_batch_size: As in `MARTHE`.
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
        >>> keras_lr.RTHO().discount
        1.0

    References:
        - Franceschi et al., [Forward and Reverse Gradient-Based Hyperparameter
          Optimization](https://arxiv.org/abs/1703.01785), 2017, section 3.3.
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
        curvature_batch_size: float | None = 0.25,
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
            discount=1.0,
            anneal=anneal,
            validation_batch_size=validation_batch_size,
            curvature_batch_size=curvature_batch_size,
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
        del config["discount"]
        return config
