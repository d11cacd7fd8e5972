"""Notice that a training diverges, and roll it back to a good state."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from keras_lr._typing import Tensor
from keras_lr.rules.divergence import Losses


class DivergenceGuard:
    """Watches the losses of the steps, and holds a copy of a good state.

    A state is good if the epoch after it did not diverge, so that there are two copies
    of the weights and of the optimizer's variables.

    Args:
        model: A built, compiled model with a built optimizer.
        values: Variables of the hyperparameters that move, rolled back too.
    """

    def __init__(
        self, model: keras.Model, values: Sequence[keras.Variable] = ()
    ) -> None:
        self._model = model
        self._values = values
        self._losses = Losses()
        self._good: list[Tensor] = []
        self._candidate: list[Tensor] = []
        # The optimizer's initial state, on the host: it is hardly ever needed.
        self._initial: list[Any] = []

    def forget(self) -> None:
        """Forget losses and states: the fit is over, or another one begins."""
        self._losses = Losses()
        self._good, self._candidate, self._initial = [], [], []

    def observe(self, losses: Iterable[float]) -> None:
        """Count the losses of steps, on the host."""
        for loss in losses:
            self._losses = self._losses.followed_by(loss)

    def has_diverged(self) -> bool:
        """Return whether the training has diverged since the last restart."""
        return self._losses.has_diverged

    def save(self) -> None:
        """Copy the present state, and make the last copy the good one.

        While the training diverges, nothing is copied.
        """
        if self.has_diverged():
            return
        copies = [ops.copy(each.value) for each in self._variables()]
        is_first = not self._good
        if is_first:
            self._initial = [each.numpy() for each in self._model.optimizer.variables]
        self._good, self._candidate = (copies if is_first else self._candidate), copies

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
            for variable, value in zip(variables, self._initial, strict=True):
                variable.assign(value)
        self._candidate = self._good
        # The good state may be from before the lowest average.
        self._losses = self._losses.restarted()

    def accept_values(self) -> None:
        """Make the present values of the hyperparameters part of the good state."""
        values = [ops.copy(each.value) for each in self._values]
        first = len(self._variables()) - len(values)
        self._good = [*self._good[:first], *values]
        self._candidate = [*self._candidate[:first], *values]

    def _variables(self) -> list[keras.Variable]:
        variables = [*self._model.weights, *self._model.optimizer.variables]
        return [*variables, *self._values]
