"""Trials after a training step that tell whether it should have been longer.

Either L_t(w_{t+1}(f eta)), the loss of the same batch after a step at a raised rate, or
the slope of L_t(w_{t+1}(eta)),

    s_t = <grad L_t(w_{t+1}), dw_{t+1}/deta>,   s_t(0) = <grad L_t(w_t), dw_{t+1}/deta>,

where dw_{t+1}/deta is the derivative of the optimizer's own step; for plain gradient
descent it is minus the gradient.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from keras import ops

from keras_lr._checks import LEARNING_RATE
from keras_lr._keras import PureStep, StepState
from keras_lr._typing import Gradients, Tensor
from keras_lr.training.derivatives.optimizer_tangent import (
    StepDerivative,
    compiled_if_large,
)
from keras_lr.training.derivatives.repeated_loss import RepeatedLoss
from keras_lr.training.derivatives.tensors import inner_product
from keras_lr.training.fit.around_step import unknown
from keras_lr.training.walk.walked_hyperparameter import WalkedHyperparameter

# For each hyperparameter, tensors in the shapes of the weights.
Prepared = Sequence[Sequence[Tensor]]


class ProbedStep(NamedTuple):
    """The optimizer's step, as a probe sees it.

    Attributes:
        gradients: Gradients that the optimizer gets, of the global batch.
        batch_gradients: Gradients of the global batch itself.
        values: Values of the hyperparameters.
        loss: Loss of the batch before the step.
    """

    gradients: Gradients
    batch_gradients: Gradients
    values: Mapping[str, Tensor]
    loss: Tensor


class Trial(NamedTuple):
    """The trial of one hyperparameter: scalars.

    Attributes:
        start: Value of `probe` without a step: the loss, or the slope. NaN if it is not
            used.
        loss: Loss of the batch after the step.
        probe: Loss of the batch after the step at a raised value, or the slope of
            `loss` as a function of the value.
    """

    start: Tensor
    loss: Tensor
    probe: Tensor


class Probe(Protocol):
    """A kind of trial, made for each hyperparameter.

    Attributes:
        needs_state: Whether `before` has to be called before the step.
    """

    needs_state: bool

    def before(self, state: StepState, step: ProbedStep) -> Prepared:
        """Return for each hyperparameter what a trial needs from before the step."""
        ...

    def after(
        self, batch: RepeatedLoss, step: ProbedStep, prepared: Prepared
    ) -> list[Trial]:
        """Return the trial of each hyperparameter; its losses are of this replica."""
        ...

    def decide(
        self, walked: WalkedHyperparameter, trial: Trial, is_due: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the direction of a hyperparameter, and whether its goal is far."""
        ...


class LossProbe:
    """The loss after a step at a raised value.

    Args:
        step: The optimizer's pure step.
        walked: The hyperparameters that are raised.
        dtype: Dtype of the scalars.
    """

    needs_state = True

    def __init__(
        self, step: PureStep, walked: Sequence[WalkedHyperparameter], dtype: str
    ) -> None:
        self._step = step
        self._walked = walked
        self._dtype = dtype
        self._compiled = compiled_if_large(
            self._weights_after, step, step.variables.weights
        )

    def before(self, state: StepState, step: ProbedStep) -> Prepared:
        """Return the weights after the step at each raised value."""
        raised = (
            (each.name, each.raised(step.values[each.name])) for each in self._walked
        )
        return [
            self._compiled(state, step.gradients, {**step.values, name: value})
            for name, value in raised
        ]

    def after(
        self, batch: RepeatedLoss, step: ProbedStep, prepared: Prepared
    ) -> list[Trial]:
        """Return the losses after the optimizer's step, and after the raised ones."""
        start = ops.cast(step.loss, self._dtype)
        loss = batch.at(self._step.variables.read().weights)
        return [Trial(start, loss, batch.at(weights)) for weights in prepared]

    def decide(
        self, walked: WalkedHyperparameter, trial: Trial, is_due: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the direction by the losses, and whether the goal is far."""
        return walked.by_loss(trial.start, trial.probe, trial.loss, is_due)

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
    """The derivative of the loss after the step with respect to each value.

    Its arguments are those of `LossProbe`.
    """

    def __init__(
        self, step: PureStep, walked: Sequence[WalkedHyperparameter], dtype: str
    ) -> None:
        self._dtype = dtype
        self._walked = walked
        self._derivatives = [
            StepDerivative(step, each.name, keeps_slots=False) for each in walked
        ]
        # The derivative of plain descent with respect to its rate is minus the
        # gradients: no pass over memory.
        self.needs_state = not step.is_plain_descent or len(walked) > 1

    def before(self, state: StepState, step: ProbedStep) -> Prepared:
        """Return the derivative of the weights with respect to each value."""
        pairs = zip(self._derivatives, self._walked, strict=True)
        return [
            derivative(
                state,
                step.gradients,
                step.values,
                ops.ones_like(step.values[each.name]),
            ).weights
            for derivative, each in pairs
        ]

    def after(
        self, batch: RepeatedLoss, step: ProbedStep, prepared: Prepared
    ) -> list[Trial]:
        """Return the loss after the step, and its slopes."""
        loss, gradients = batch.with_gradient()
        trials = []
        for index, each in enumerate(self._walked):
            start = unknown(self._dtype)
            if each.can_climb:
                start = self._along(index, step.batch_gradients, step, prepared)
            slope = self._along(index, gradients, step, prepared)
            trials.append(Trial(start, loss, slope))
        return trials

    def decide(
        self, walked: WalkedHyperparameter, trial: Trial, is_due: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the direction by the slopes, and whether the goal is far."""
        return walked.by_slope(trial.start, trial.probe, is_due)

    def _along(
        self, index: int, gradients: Gradients, step: ProbedStep, prepared: Prepared
    ) -> Tensor:
        """Return the product of gradients with the derivative of the weights."""
        if self.needs_state:
            return inner_product(prepared[index], gradients, self._dtype)
        return -inner_product(step.gradients, gradients, self._dtype)
