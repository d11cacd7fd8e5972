"""Notice that a training diverges, and go back to where it did not."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from keras_lr._typing import Tensor
from keras_lr.rules.divergence import Losses


class DivergenceGuard:
    """Watches the losses of the steps, and holds a copy of a state that was good.

    A state is good if the epoch after it did not diverge, so that there are two copies
    of the weights and of the optimizer's variables.

    Args:
        model: A built, compiled model with a built optimizer.
        values: Variables of the hyperparameters that move, which go back too.
    """

    def __init__(
        self, model: keras.Model, values: Sequence[keras.Variable] = ()
    ) -> None:
        self._model = model
        self._values = values
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

    def save(self) -> None:
        """Copy the present state, and take the last copy for good.

        Nothing of a state that diverges is copied.
        """
        if self.has_diverged():
            return
        now = [ops.copy(each.value) for each in self._variables()]
        is_first = not self._good
        if is_first:
            self._fresh = [each.numpy() for each in self._model.optimizer.variables]
        self._good, self._candidate = (now if is_first else self._candidate), now

    def restore(self, *, renews_optimizer: bool = False) -> None:
        """Assign the good state, to the last bit.

        Args:
            renews_optimizer: Whether the optimizer gets the state from before the first
                step instead.
        """
        for variable, copy in zip(self._variables(), self._good, strict=True):
            variable.assign(copy)
        if renews_optimizer:
            variables = self._model.optimizer.variables
            for variable, value in zip(variables, self._fresh, strict=True):
                variable.assign(value)
        self._candidate = self._good
        # The good state may be one from before the lowest average.
        self._losses = self._losses.restarted()

    def accept_values(self) -> None:
        """Take the present values of the hyperparameters for good."""
        now = [ops.copy(each.value) for each in self._values]
        first = len(self._variables()) - len(now)
        self._good = [*self._good[:first], *now]
        self._candidate = [*self._candidate[:first], *now]

    def _variables(self) -> list[keras.Variable]:
        variables = [*self._model.weights, *self._model.optimizer.variables]
        return [*variables, *self._values]
