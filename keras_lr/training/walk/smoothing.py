"""An average of the gradients, which the optimizer gets in their place."""

import keras
from keras import ops

from keras_lr._keras import replicas
from keras_lr._typing import Gradients, Tensor
from keras_lr.rules import average
from keras_lr.training.derivatives.tensors import are_finite


class GradientAverage:
    """Exponentially weighted averages of the gradients, without the zero at the start.

    Args:
        model: A built, compiled model, in whose strategy's scope the averages live.
        decay: Decay of the average, at least 0 and below 1.
        dtype: Dtype of the count.
    """

    def __init__(self, model: keras.Model, decay: float, dtype: str) -> None:
        self._decay = decay
        with model.distribute_strategy.scope():
            self._count = replicas.shared_scalar("average_count", dtype)
            self._averages = [
                replicas.shared_like(each, "average")
                for each in model.trainable_variables
            ]

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        variables = enumerate([self._count, *self._averages])
        return {f"average_{index}": variable for index, variable in variables}

    def clear(self) -> None:
        """Forget all gradients, on the host."""
        for variable in (self._count, *self._averages):
            variable.assign(ops.zeros_like(variable))

    def followed_by(self, gradients: Gradients) -> list[Tensor | None]:
        """Count the gradients of a step, and return the averages.

        Gradients that are not finite are returned unchanged, and not counted.

        Args:
            gradients: Gradients of all weights, summed over the replicas; `None` where
                there is none.
        """
        is_finite = are_finite(gradients)
        counts = ops.cast(is_finite, self._count.dtype)
        self._count.assign(self._count.value + counts)
        return [
            None if gradient is None else self._next(variable, gradient, counts)
            for variable, gradient in zip(self._averages, gradients, strict=True)
        ]

    def _next(
        self, variable: keras.Variable, gradient: Tensor, counts: Tensor
    ) -> Tensor:
        old, is_finite = variable.value, counts > 0
        finite = ops.where(is_finite, gradient, ops.zeros_like(gradient))
        new = old + average.increment(old, finite, self._decay, counts)
        variable.assign(new)
        total = average.total_weight(self._decay, self._count.value)
        corrected = variable.value / ops.cast(total, new.dtype)
        return ops.where(is_finite, corrected, gradient)
