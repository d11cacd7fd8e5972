"""How far the losses of a training have come down, known inside of its step."""

import keras
from keras import ops

from keras_lr._typing import Tensor
from keras_lr.rules import average, walk
from keras_lr.training import replicas


class Progress:
    """Compares an average of the losses so far with an early one.

    Args:
        model: The model that is trained, in whose strategy's scope the average lives.
        dtype: Of the losses.
    """

    def __init__(self, model: keras.Model, dtype: str) -> None:
        with model.distribute_strategy.scope():
            self._early = replicas.shared_scalar("early_loss", dtype)
            self._average = replicas.shared_scalar("loss_average", dtype)
            self._count = replicas.shared_scalar("loss_count", dtype)

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        state = self._early, self._average, self._count
        return {f"progress_{index}": each for index, each in enumerate(state)}

    def clear(self) -> None:
        """Forget all losses, on the host."""
        for each in (self._early, self._average, self._count):
            each.assign(0.0)

    def followed_by(self, loss: Tensor) -> Tensor:
        """Count the loss of a step, if it is finite, and return whether it came down.

        Args:
            loss: Scalar.
        """
        loss = ops.cast(loss, self._early.dtype)
        counts = ops.cast(ops.isfinite(loss), loss.dtype)
        finite = ops.where(counts > 0.0, loss, ops.zeros_like(loss))
        moved = average.increment(self._average.value, finite, walk.MEMORY, counts)
        self._average.assign(self._average.value + moved)
        self._count.assign(self._count.value + counts)
        count = self._count.value
        mean = average.corrected(self._average.value, walk.MEMORY, count)
        self._early.assign(ops.where(count <= walk.EARLY, mean, self._early.value))
        return walk.has_come_down(mean, self._early.value)
