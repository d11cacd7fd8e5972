"""Notice that a training diverges, and go back to where it did not."""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_lr._typing import Tensor
from keras_lr.rules.divergence import Losses


class DivergenceGuard:
    """Watches the losses of the steps, and keeps a copy of a state that was good.

    A state is good if the epoch after it did not diverge, so that two copies are kept
    of the weights and of the optimizer's variables.

    Args:
        model: A built, compiled model with a built optimizer.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._losses = Losses()
        self._good: list[Tensor] = []
        self._candidate: list[Tensor] = []
        # On the host, because it is hardly ever needed.
        self._fresh: list[Any] = []

    def observe(self, losses: Iterable[float]) -> None:
        """Count the losses of steps, on the host."""
        for loss in losses:
            self._losses = self._losses.followed_by(loss)

    def has_diverged(self) -> bool:
        """Return whether a step since the last restart has."""
        return self._losses.has_diverged

    def save(self) -> bool:
        """Keep the present state, and take the last one that was kept for good.

        Returns:
            Whether the state to go back to is another one now.
        """
        if self.has_diverged():
            return False
        now = [ops.copy(each.value) for each in self._variables()]
        is_first = not self._good
        if is_first:
            self._fresh = [each.numpy() for each in self._model.optimizer.variables]
        self._good, self._candidate = (now if is_first else self._candidate), now
        return True

    def restore(self, *, renews_optimizer: bool = False) -> None:
        """Put back the good state, to the last bit.

        Args:
            renews_optimizer: Whether the optimizer gets the state from before the first
                step instead. A velocity that was gained at a high rate goes on to carry
                the weights away at a low one.
        """
        for variable, copy in zip(self._variables(), self._good, strict=True):
            variable.assign(copy)
        if renews_optimizer:
            own = self._model.optimizer.variables
            for variable, value in zip(own, self._fresh, strict=True):
                variable.assign(value)
        self._candidate = self._good
        # The good state may be one from before the lowest average.
        self._losses = self._losses.restarted()

    def _variables(self) -> list[keras.Variable]:
        return [*self._model.weights, *self._model.optimizer.variables]
