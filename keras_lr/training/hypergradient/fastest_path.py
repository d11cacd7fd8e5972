"""How far the fastest weight can have gone: no entry of a tangent should be larger."""

import math

import keras
from keras import ops

from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.rules import marthe


class FastestPath:
    """Holds P, the path of the fastest weight for a learning rate of 1.

    Args:
        model: A built, compiled model, in whose strategy's scope it lives.
        reach: Largest entry of a tangent, as a part of the path.
        dtype: Dtype of scalars.
    """

    def __init__(self, model: keras.Model, reach: float, dtype: str) -> None:
        self._reach = reach
        with model.distribute_strategy.scope():
            self._path = replicas.shared_scalar("path", dtype)
            self._rate = replicas.shared_scalar("path_rate", dtype)

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        return {"path": self._path, "path_rate": self._rate}

    def clear(self) -> None:
        """Set it to zero, on the host."""
        for each in self.variables().values():
            each.assign(ops.zeros_like(each))

    def limit(self, largest: Tensor, discount: Tensor, rate: Tensor) -> Tensor:
        """Take in the last step, and return the limit of Z after the coming one.

        The coming step is taken to be as long as the last one. Before the first, there
        is no limit.

        Args:
            largest: The largest entry of the last step.
            discount: mu of the coming step.
            rate: Its learning rate, annealed. Z is the derivative with respect to the
                rate before annealing, and smaller: towards the end the limit is wide.
        """
        step = (discount, largest, self._rate.value)
        path = marthe.longer_path(self._path.value, *step)
        longest = self._reach * marthe.longer_path(path, *step)
        self._path.assign(path)
        self._rate.assign(ops.cast(rate, self._rate.dtype))
        return ops.where(path > 0.0, longest, math.inf)
