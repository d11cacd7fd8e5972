"""Whether the batch after a step agrees with it."""

import keras
from keras import ops

from keras_lr._keras import PureStep, replicas
from keras_lr._typing import Gradients, Tensor
from keras_lr.rules import average, walk
from keras_lr.training.derivatives.last_step import LastStep


class NextBatch:
    """Holds the average of the slopes of the next batches along the steps.

    Args:
        model: A built, compiled model, in whose strategy's scope they live.
        step: The step of its optimizer.
        dtype: Dtype of scalars.
    """

    def __init__(self, model: keras.Model, step: PureStep, dtype: str) -> None:
        self._dtype = dtype
        self._last_step = LastStep(model, step)
        with model.distribute_strategy.scope():
            self._mean, self._square, self._count, self._last_rate = (
                replicas.shared_scalar(f"agreement_{name}", dtype)
                for name in ("mean", "square", "count", "last_rate")
            )

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        variables = self._mean, self._square, self._count, self._last_rate
        named = {f"agreement_{index}": each for index, each in enumerate(variables)}
        previous = enumerate(self._last_step.variables)
        return named | {f"previous_{index}": each for index, each in previous}

    def start(self) -> None:
        """Forget the steps so far, on the host."""
        for each in (self._mean, self._square, self._count):
            each.assign(0.0)
        self.remember(0.0)

    def remember(self, rate: Tensor) -> None:
        """Hold the present weights, on the host or in a step, before it is taken.

        Args:
            rate: Learning rate of the step.
        """
        self._last_step.remember()
        self._last_rate.assign(rate)

    def agrees(self, gradients: Gradients, counts: Tensor) -> Tensor:
        """Take in the gradient after the last step; return if such gradients agree.

        Slopes are per rate: otherwise a rate that rises would outweigh the past.

        The weights before the last step are lost: `remember` must follow.

        Args:
            gradients: The gradient of a batch at the present weights.
            counts: Whether it counts; if not, nothing changes.
        """
        # None before the first step, and none of a step at a rate of 0.
        slope = self._last_step.along(gradients, self._dtype) / self._last_rate.value
        counts = ops.logical_and(counts, ops.isfinite(slope**2))
        count = self._count.value
        share = average.share_of_new(count, walk.STEP_SHARE)
        for variable, value in ((self._mean, slope), (self._square, slope**2)):
            mean = average.moving_average(variable.value, value, share)
            variable.assign(ops.where(counts, mean, variable.value))
        self._count.assign(ops.where(counts, count + 1.0, count))
        return walk.is_agreed(self._mean.value, self._square.value, share)
