"""Whether the losses of the batches are higher than they have been."""

import keras
from keras import ops

from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.rules import average, walk


class LossLevel:
    """Holds the average of the losses, their scatter, and the lowest level so far.

    Args:
        model: A built, compiled model, in whose strategy's scope they live.
        dtype: Dtype of scalars.
    """

    def __init__(self, model: keras.Model, dtype: str) -> None:
        with model.distribute_strategy.scope():
            self._mean, self._square, self._lowest, self._count = (
                replicas.shared_scalar(f"loss_{name}", dtype)
                for name in ("mean", "square", "lowest", "count")
            )

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        variables = self._mean, self._square, self._lowest, self._count
        return {f"level_{index}": each for index, each in enumerate(variables)}

    def start(self) -> None:
        """Forget the losses, on the host."""
        for each in self.variables().values():
            each.assign(0.0)

    def is_raised_by(self, loss: Tensor, counts: Tensor) -> Tensor:
        """Take in a loss, and return whether the average is above its lowest level.

        A loss of exactly 0 is left out, as one that is not finite.

        Args:
            loss: Loss of a batch.
            counts: Whether it counts; if not, nothing changes.
        """
        count, mean = self._count.value, self._mean.value
        loss = ops.cast(loss, mean.dtype)
        counts = ops.logical_and(counts, ops.isfinite(loss**2))
        # Rows without weight say nothing of how low a loss can be.
        counts = ops.logical_and(counts, loss != 0.0)
        is_first = count == 0.0
        share = average.share_of_new(count, walk.STEP_SHARE)
        # The first average is the first loss itself, without a deviation.
        deviation = ops.where(is_first, ops.zeros_like(loss), loss - mean)
        square = average.moving_average(self._square.value, deviation**2, share)
        mean = average.moving_average(mean, loss, share)
        low, high = walk.range_of_losses(mean, square, share)
        lowest = ops.where(is_first, high, ops.minimum(self._lowest.value, high))
        is_known = ops.logical_and(counts, count >= walk.FIRST_LOSSES)
        for variable, value in (
            (self._mean, mean),
            (self._square, square),
            (self._lowest, lowest),
            (self._count, count + 1.0),
        ):
            variable.assign(ops.where(counts, value, variable.value))
        return ops.logical_and(is_known, low > lowest)
