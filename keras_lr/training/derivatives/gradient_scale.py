"""A mean square of the steps before, beside which that of a step is large or small."""

import keras
from keras import ops

from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.rules import average


class GradientScale:
    """Holds the moving average of a square, of a gradient's norm or of its votes.

    Args:
        model: A built, compiled model, in whose strategy's scope it lives.
        share: Share of a new square in the average in a long training.
        dtype: Dtype of scalars.
    """

    def __init__(self, model: keras.Model, share: float, dtype: str) -> None:
        self._share = share
        with model.distribute_strategy.scope():
            self._mean = replicas.shared_scalar("square_mean", dtype)
            self._steps = replicas.shared_scalar("square_steps", dtype)

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        return {"square_mean": self._mean, "square_steps": self._steps}

    def clear(self) -> None:
        """Set it to zero, on the host."""
        for each in self.variables().values():
            each.assign(ops.zeros_like(each))

    @property
    def mean(self) -> Tensor:
        """The average; 0 before the first square."""
        return self._mean.value

    @property
    def steps(self) -> Tensor:
        """How many squares it has taken in."""
        return self._steps.value

    def followed_by(self, square: Tensor, counts: Tensor) -> Tensor:
        """Take in a square, and return the average; one that overflows is left out.

        Args:
            square: ||g||^2, or that of the votes.
            counts: Whether it counts; if not, nothing changes.
        """
        mean, steps = self._mean.value, self._steps.value
        share = average.share_of_new(steps, self._share)
        counts = ops.logical_and(counts, ops.isfinite(square))
        new = ops.where(counts, average.moving_average(mean, square, share), mean)
        self._mean.assign(new)
        self._steps.assign(ops.where(counts, steps + 1.0, steps))
        return new
