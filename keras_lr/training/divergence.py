"""Notice that a training diverges, and go back to where it did not."""

from typing import Any

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._typing import Tensor
from keras_lr.training import replicas

# Of the average of the losses, over about ten steps.
MEMORY = 0.9
# A training diverges if its average loss is that many times the first loss,
LIMIT = 4.0
# or if it had got below this part of the first loss, and has lost so much of it again.
PROGRESS = 0.5
LOSS_OF_PROGRESS = 0.5


class DivergenceGuard:
    """Watches the losses of the steps, and keeps a copy of a state that was good.

    The check stays on the device until the host asks for it. A state is good if the
    epoch after it did not diverge, so that two copies are kept of the weights and of
    the optimizer's variables.

    Args:
        model: A built, compiled model with a built optimizer.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        names = ("first", "sum", "weight", "best", "diverged")
        with model.distribute_strategy.scope():
            scalars = [replicas.shared_scalar(f"guard_{name}") for name in names]
        self._first, self._sum, self._weight, self._best, self._diverged = scalars
        self._good: list[Tensor] = []
        self._candidate: list[Tensor] = []
        # On the host, because it is hardly ever needed.
        self._fresh: list[Any] = []

    def observe(self, loss: Tensor) -> None:
        """Count the loss of a step, inside it."""
        loss = ops.cast(loss, "float32")
        # The first loss of a training is never 0 in practice: it stands for "none yet".
        is_first = self._first.value == 0.0
        first = ops.where(is_first, loss, self._first.value)
        total = MEMORY * self._sum.value + (1.0 - MEMORY) * loss
        weight = MEMORY * self._weight.value + (1.0 - MEMORY)
        average = total / weight
        best = ops.where(is_first, loss, self._best.value)
        # A few losses alone say little, of small batches.
        is_average = weight > 0.5
        best = ops.where(is_average, ops.minimum(best, average), best)
        is_high = ops.logical_and(is_average, average > _limit(first, best))
        is_fine = ops.logical_and(ops.isfinite(average), ops.logical_not(is_high))
        for variable, new in (
            (self._first, first),
            (self._sum, total),
            (self._weight, weight),
            (self._best, best),
            (self._diverged, ops.where(is_fine, self._diverged.value, 1.0)),
        ):
            variable.assign(new)

    def has_diverged(self) -> bool:
        """Return whether a step since the last restart has; fetches one number."""
        return _keras.to_float(self._diverged) > 0.0

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
            own = self._model.optimizer.variables
            self._fresh = [each.numpy() for each in own]
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
        # The good state may be one from before the best loss.
        self._best.assign(self._first.value)
        for scalar in (self._sum, self._weight, self._diverged):
            scalar.assign(0.0)

    def _variables(self) -> list[keras.Variable]:
        return [*self._model.weights, *self._model.optimizer.variables]


def _limit(first: Tensor, best: Tensor) -> Tensor:
    # A loss may be negative; its size is that of the first one.
    size = ops.abs(first)
    has_progressed = best < first - (1.0 - PROGRESS) * size
    lost = best + LOSS_OF_PROGRESS * (first - best)
    return ops.where(has_progressed, lost, first + (LIMIT - 1.0) * size)
