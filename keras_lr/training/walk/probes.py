"""What is looked at after a training step to see whether it should have been longer.

Either L_t(w_{t+1}(f eta)), the loss of the same batch after a step at a raised rate, or
the slope of L_t(w_{t+1}(eta)),

    s_t = <grad L_t(w_{t+1}), dw_{t+1}/deta>,   s_t(0) = <grad L_t(w_t), dw_{t+1}/deta>,

where dw_{t+1}/deta is the derivative of the optimizer's own step, for plain gradient
descent by g minus g.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from keras import ops

from keras_lr._keras import PureStep, StepState
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.optimizer_tangent import (
    StepDerivative,
    compiled_if_large,
)
from keras_lr.training.fit.online_tuning import LEARNING_RATE, Gradients
from keras_lr.training.hypergradient.tuned_hyperparameter import inner_product
from keras_lr.training.walk.repeated_loss import RepeatedLoss
from keras_lr.training.walk.walked_hyperparameter import WalkedHyperparameter

# Tensors for each hyperparameter.
Kept = Sequence[Sequence[Tensor]]


class Taken(NamedTuple):
    """The step that is taken.

    Attributes:
        gradients: What the optimizer gets; `None` where there is none.
        own: The gradients of the batch itself.
        values: Of the hyperparameters.
        loss: Of the batch before the step.
    """

    gradients: Gradients
    own: Gradients
    values: Mapping[str, Tensor]
    loss: Tensor


class Probe(Protocol):
    """What is tried of each hyperparameter.

    Attributes:
        needs_state: Whether `before` has to be called: before the step.
    """

    needs_state: bool

    def before(self, state: StepState, taken: Taken) -> Kept:
        """Return for each hyperparameter what is like the weights, kept for later."""
        ...

    def after(self, batch: RepeatedLoss, taken: Taken, kept: Kept) -> list[Tensor]:
        """Return the batch's loss after the step, and what was seen of each trial."""
        ...

    def starts(self, taken: Taken, kept: Kept) -> list[Tensor]:
        """Return for each hyperparameter what was to be seen before the step."""
        ...

    def decide(
        self, index: int, start: Tensor, loss: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return which way a hyperparameter goes, and whether it has far to go.

        Args:
            index: Of the hyperparameter.
            start: What was to be seen before the step.
            loss: Of the global batch after it.
            seen: What was seen of its trial.
        """
        ...


class LossProbe:
    """The loss after a step at a raised value.

    Args:
        step: Of the optimizer.
        tuned: What is raised.
        dtype: Of the scalars.
    """

    needs_state = True

    def __init__(
        self, step: PureStep, tuned: Sequence[WalkedHyperparameter], dtype: str
    ) -> None:
        self._step = step
        self._tuned = tuned
        self._dtype = dtype
        self._compiled = compiled_if_large(
            self._weights_after, step, step.variables.weights
        )

    def before(self, state: StepState, taken: Taken) -> Kept:
        """Return the weights after the step at each raised value."""
        raised = (
            (each.name, each.raised(taken.values[each.name])) for each in self._tuned
        )
        return [
            self._compiled(state, taken.gradients, {**taken.values, name: value})
            for name, value in raised
        ]

    def after(self, batch: RepeatedLoss, taken: Taken, kept: Kept) -> list[Tensor]:
        """Return the losses after the step that was taken, and after the others."""
        weights = self._step.variables.weights
        now = [ops.convert_to_tensor(each.value) for each in weights]
        return [batch.at(values) for values in (now, *kept)]

    def starts(self, taken: Taken, kept: Kept) -> list[Tensor]:
        """Return the loss before the step."""
        return [ops.cast(taken.loss, self._dtype) for _ in self._tuned]

    def decide(
        self, index: int, start: Tensor, loss: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return which way a hyperparameter goes by its losses, and whether far."""
        return self._tuned[index].by_loss(start, seen, loss)

    def _weights_after(
        self,
        state: StepState,
        gradients: Gradients,
        values: Mapping[str, Tensor],
    ) -> list[Tensor]:
        others = dict(values)
        rate = others.pop(LEARNING_RATE)
        return self._step(state, gradients, rate, others).weights


class SlopeProbe:
    """The derivative of the loss after the step by each value.

    Its arguments are those of `LossProbe`.
    """

    def __init__(
        self, step: PureStep, tuned: Sequence[WalkedHyperparameter], dtype: str
    ) -> None:
        self._dtype = dtype
        self._tuned = tuned
        self._derivatives = [
            StepDerivative(step, each.name, keeps_slots=False) for each in tuned
        ]
        # By its rate, that of plain descent is - the gradients: no pass over memory.
        self.needs_state = not step.is_plain_descent or len(tuned) > 1

    def before(self, state: StepState, taken: Taken) -> Kept:
        """Return the derivative of the weights by each value."""
        return [
            derivative(state, taken.gradients, taken.values, self._seed(index, taken))
            for index, derivative in enumerate(self._derivatives)
        ]

    def after(self, batch: RepeatedLoss, taken: Taken, kept: Kept) -> list[Tensor]:
        """Return the loss after the step, and its slopes."""
        loss, gradients = batch.with_gradient()
        indices = range(len(self._tuned))
        return [loss, *(self._along(each, gradients, taken, kept) for each in indices)]

    def starts(self, taken: Taken, kept: Kept) -> list[Tensor]:
        """Return the slopes where the step has done nothing yet, NaN if of no use."""
        return [
            self._along(index, taken.own, taken, kept)
            if each.can_climb
            else ops.full((), math.nan, self._dtype)
            for index, each in enumerate(self._tuned)
        ]

    def decide(
        self, index: int, start: Tensor, loss: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return which way a hyperparameter goes by its slopes, and whether far."""
        return self._tuned[index].by_slope(start, seen)

    def _along(
        self, index: int, gradients: Gradients, taken: Taken, kept: Kept
    ) -> Tensor:
        if self.needs_state:
            return self._product(kept[index], gradients)
        return -self._product(taken.gradients, gradients)

    def _product(
        self, first: Sequence[Tensor | None], second: Sequence[Tensor | None]
    ) -> Tensor:
        pairs = zip(first, second, strict=True)
        present = [(a, b) for a, b in pairs if a is not None and b is not None]
        firsts, seconds = zip(*present, strict=True)
        return inner_product(firsts, seconds, self._dtype)

    def _seed(self, index: int, taken: Taken) -> Tensor:
        return ops.ones_like(taken.values[self._tuned[index].name])
