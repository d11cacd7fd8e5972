"""Trials around each training step: the same step at another rate."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lr import _keras
from keras_lr._checks import LEARNING_RATE
from keras_lr._keras import PureStep, replicas
from keras_lr._typing import Gradients, Tensor
from keras_lr.rules import walk
from keras_lr.training.derivatives.gradient_scale import GradientScale
from keras_lr.training.derivatives.repeated_loss import RepeatedLoss
from keras_lr.training.derivatives.tensors import (
    are_finite,
    inner_product,
    on_present,
    scaled,
)
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.fit.around_step import AroundStep, OptimizerStep, unknown
from keras_lr.training.fit.hyperparameter import Hyperparameter
from keras_lr.training.walk.loss_level import LossLevel
from keras_lr.training.walk.next_batch import NextBatch
from keras_lr.training.walk.probes import (
    LossProbe,
    Prepared,
    Probe,
    ProbedStep,
    SlopeProbe,
    Trial,
)
from keras_lr.training.walk.smoothing import GradientAverage
from keras_lr.training.walk.walked_hyperparameter import WalkedHyperparameter, WalkRule

PROBES: dict[str, type[LossProbe] | type[SlopeProbe]] = {
    "loss": LossProbe,
    "slope": SlopeProbe,
}


def probed(name: str, probe: str) -> str:
    """Return the column of the trials of a hyperparameter."""
    column = "slope" if probe == "slope" else "raised_loss"
    return column if name == LEARNING_RATE else f"{name}_{column}"


class WalkStep(AroundStep):
    """Tries around each step what a higher value would have done, and moves by it.

    The step that the optimizer takes is the first trial. The others are the optimizer's
    own step from the same state, with the same gradient; the loss after each is that of
    the same batch, with the same random numbers. If the rate's factor may grow, the
    batches after it are asked too, and a step with a large gradient is shortened.

    Args:
        model: A built, compiled model.
        step: The pure step of its optimizer.
        rate: Owner of the learning rate.
        others: The other hyperparameters that walk.
        rules: Rules by which they move, that of the learning rate first.
        probe: `"loss"` or `"slope"`.
        every: Steps from one move to the next.
        smoothing: Decay of the average of the gradients; 0 for the gradients as they
            are.
        anneals: Whether the rate is annealed.
    """

    name = "walk"

    def __init__(
        self,
        model: keras.Model,
        step: PureStep,
        rate: AnnealedRate,
        others: Sequence[Hyperparameter],
        *,
        rules: Sequence[WalkRule],
        probe: str,
        every: int,
        smoothing: float,
        anneals: bool,
    ) -> None:
        super().__init__(rate, others)
        self.model = model
        self._step = step
        self._is_always_due = every == 1 and not anneals
        self._every = every
        hyperparameters = [rate.rate, *others]
        self._columns = [probed(each.name, probe) for each in hyperparameters]
        self._walked = [
            WalkedHyperparameter(model, each, rule)
            for each, rule in zip(hyperparameters, rules, strict=True)
        ]
        self._probe: Probe = PROBES[probe](step, self._walked, rate.dtype)
        self._average = None
        if smoothing:
            self._average = GradientAverage(model, smoothing, rate.dtype)
        self._level: LossLevel | None = None
        self._next_batch: NextBatch | None = None
        self._scale: GradientScale | None = None
        if self._walked[0].can_climb:
            self._level = LossLevel(model, rate.dtype)
            self._next_batch = NextBatch(model, step, rate.dtype)
            self._scale = GradientScale(model, walk.STEP_SHARE, rate.dtype)
        with model.distribute_strategy.scope():
            self._count = replicas.shared_scalar("count", "int32")
            self._first_rate = replicas.shared_scalar("first_rate", rate.dtype)

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        named: dict[str, keras.Variable] = {"count": self._count}
        for each in self._walked:
            named |= each.variables()
        if self._average is not None:
            named |= self._average.variables()
        if self._level is not None:
            named |= self._level.variables() | {"first_rate": self._first_rate}
        if self._next_batch is not None:
            named |= self._next_batch.variables()
        if self._scale is not None:
            named |= self._scale.variables()
        return named

    def added_variables(self) -> list[str]:
        """Return the names of `variables` that version 0.1.0 did not write."""
        slopes = {f"{each.name}_slopes" for each in self._walked}
        parts = {"agreement", "level", "previous", "first", "square", *slopes}
        return [name for name in self.variables() if name.rpartition("_")[0] in parts]

    def accepts(self, name: str, array: np.ndarray) -> bool:
        """Return whether an array of a file is finite, as all that is counted.

        Weights before a step need not be: their slope is left out.
        """
        return name.startswith("previous_") or bool(np.isfinite(array).all())

    def start(self) -> None:
        """Set the state to what it is before the first step, on the host."""
        for each in self._walked:
            each.start()
        self._first_rate.assign(self.rate.value)
        if self._average is not None:
            self._average.clear()
        if self._level is not None:
            self._level.start()
        if self._next_batch is not None:
            self._next_batch.start()
        if self._scale is not None:
            self._scale.clear()

    def restart(self, factor: float) -> str:
        """Begin anew with a lower rate, which may be the lowest so far."""
        first = _keras.to_float(self._first_rate)
        outcome = super().restart(factor)
        self._first_rate.assign(min(first, _keras.to_float(self.rate.value)))
        return outcome

    def recording(self, data: Any) -> contextlib.AbstractContextManager[RepeatedLoss]:
        """Record seeds and statistics as they are before the training step."""
        return contextlib.nullcontext(RepeatedLoss(self.model, data))

    def around(self, step: OptimizerStep) -> dict[str, Tensor]:
        """Take the optimizer's step, and the trials beside it."""
        batch: RepeatedLoss = step.recording
        gradients, batch_gradients = step.summed_gradients(), step.batch_gradients()
        # A step that is left out decides nothing.
        counts = step.is_finite
        if step.loss_scale is not None:
            counts = ops.logical_and(counts, are_finite(gradients))
        may_hurry, falls = self._look_at_batch(step, gradients, counts)
        is_shortened = self._shorten(step, gradients, counts)
        values = step.set_hyperparameters()
        self._count.assign(self._count.value + 1)
        is_due = ops.logical_and(self._is_due(step.factor), counts)
        if is_shortened is not None:
            # A trial would say: raise.
            is_due = ops.logical_and(is_due, ops.logical_not(is_shortened))
        if falls is not None:
            is_due = ops.logical_and(is_due, ops.logical_not(falls))
        if self._average is not None:
            gradients = self._average.followed_by(gradients)
        probed_step = ProbedStep(gradients, batch_gradients, values, step.loss)
        prepared = self._prepared(is_due, probed_step)
        if self._next_batch is not None:
            # A step that is left out is no step of this rate.
            rate = values[LEARNING_RATE]
            self._next_batch.remember(ops.where(counts, rate, ops.zeros_like(rate)))
        if self._average is None:
            step.take()
        else:
            step.take(_shares(gradients, step.loss_scale))
        size = ops.exp(self._walked[0].step.value)
        row = self._moved(is_due, batch, probed_step, prepared, may_hurry)
        return row | {"factor": size}

    def _look_at_batch(
        self, step: OptimizerStep, gradients: Gradients, counts: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Ask the batch about the steps before it, and let the rate fall by it.

        Returns:
            Whether a rise may be large, and whether the rate falls; `None` for both
            where no batch is asked.
        """
        if self._level is None or self._next_batch is None:
            return None, None
        agrees = self._next_batch.agrees(gradients, counts)
        is_raised = self._level.is_raised_by(step.loss, counts)
        falls = ops.logical_and(is_raised, ops.logical_not(agrees))
        # An annealed rate falls anyway.
        falls = ops.logical_and(falls, step.factor >= 1.0)
        self._walked[0].fall(self._first_rate.value, falls)
        return agrees, falls

    def _shorten(
        self, step: OptimizerStep, gradients: Gradients, counts: Tensor
    ) -> Tensor | None:
        """Lower the rate of the step if its gradient is large; return whether it is.

        `None` where no step is shortened.
        """
        if self._scale is None:
            return None
        square = inner_product(gradients, gradients, self.rate.dtype)
        factor = walk.shortening(square, self._scale.mean, self._scale.steps)
        step.shorten(factor)
        # Rows without weight say nothing of how large a gradient is.
        self._scale.followed_by(square, ops.logical_and(counts, square > 0.0))
        return factor < 1.0

    def _is_due(self, factor: Tensor) -> Tensor:
        """Return whether the hyperparameters move after the step."""
        is_due = self._count.value % self._every == 0
        for each in self._walked:
            is_due = ops.logical_or(is_due, each.climbs)
        # An annealed step is shorter than it could be, so a trial would say: raise.
        return ops.logical_and(is_due, factor >= 1.0)

    def _prepared(self, is_due: Tensor, step: ProbedStep) -> Prepared:
        """Return what the trials need from before the step."""
        if not self._probe.needs_state:
            return []
        read = self._step.variables.read
        return self._when_due(
            is_due,
            lambda: self._probe.before(read(), step),
            lambda: [read().weights for _ in self._walked],
        )

    def _moved(
        self,
        is_due: Tensor,
        batch: RepeatedLoss,
        step: ProbedStep,
        prepared: Prepared,
        may_hurry: Tensor | None,
    ) -> dict[str, Tensor]:
        """Make the trials and move the hyperparameters by them, where they are due.

        Returns:
            The loss of the batch after the step, and those of the trials. With
            `probe="slope"`, the slopes of the first.
        """

        def look() -> list[Trial]:
            scale = self.model.optimizer.scale_loss(ops.ones((), self.rate.dtype))

            def unscaled(value: Tensor) -> Tensor:
                return ops.cast(value, self.rate.dtype) / scale

            return [
                Trial(each.start, unscaled(each.loss), unscaled(each.probe))
                for each in self._probe.after(batch, step, prepared)
            ]

        def look_and_move() -> list[Trial]:
            trials = look()
            self._move(trials, is_due, may_hurry)
            return trials

        def nothing() -> list[Trial]:
            none = unknown(self.rate.dtype)
            return [Trial(none, none, none) for _ in self._walked]

        if replicas.number_of_replicas() == 1:
            trials = self._when_due(is_due, look_and_move, nothing)
        else:
            # Replicas cannot communicate inside a branch.
            trials = [
                Trial(each.start, *replicas.sum_over_replicas([each.loss, each.probe]))
                for each in self._when_due(is_due, look, nothing)
            ]
            self._move(trials, is_due, may_hurry)
        row = {"loss_after": trials[0].loss}
        pairs = zip(self._columns, trials, strict=True)
        return row | {column: trial.probe for column, trial in pairs}

    def _move(
        self, trials: Sequence[Trial], is_due: Tensor, may_hurry: Tensor | None
    ) -> None:
        for walked, trial in zip(self._walked, trials, strict=True):
            decision = self._probe.decide(walked, trial, is_due)
            walked.update(*decision, is_due, may_hurry)

    def _when_due(
        self, is_due: Tensor, look: Callable[[], Any], otherwise: Callable[[], Any]
    ) -> Any:
        import tensorflow as tf

        return look() if self._is_always_due else tf.cond(is_due, look, otherwise)


def _shares(sums: Gradients, scale: Tensor | None) -> Gradients:
    """Return gradients that the optimizer sums over the replicas, and unscales."""
    factor = 1.0 / replicas.number_of_replicas()
    factor = factor if scale is None else factor * scale
    return on_present(lambda tensors: scaled(tensors, factor), sums)
