"""Trials of each training step at another rate, taken inside of it."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.training.fit.online_tuning import (
    LEARNING_RATE,
    Gradients,
    OnlineTuning,
    TakeStep,
    summed,
)
from keras_lr.training.walk.probes import Kept, LossProbe, Probe, SlopeProbe, Taken
from keras_lr.training.walk.repeated_loss import RepeatedLoss
from keras_lr.training.walk.smoothing import GradientAverage, are_finite
from keras_lr.training.walk.walked_hyperparameter import WalkedHyperparameter, WalkRule

PROBES = ("loss", "slope")


def columns(names: Sequence[str], probe: str) -> tuple[str, ...]:
    """Return what is recorded of each step while these hyperparameters walk."""
    own = *names, "factor", "loss", "loss_after"
    return *own, *(probed(name, probe) for name in names)


def probed(name: str, probe: str) -> str:
    """Return under what name a step says what the trial of a hyperparameter was."""
    found = "slope" if probe == "slope" else "raised_loss"
    return found if name == LEARNING_RATE else f"{name}_{found}"


class OnlineWalk(OnlineTuning):
    """Tries in each step what a higher value would have done, and moves by it.

    The step that is taken is the first trial. The others are the optimizer's own step
    from the same state, by the same gradient; the loss after each is that of the same
    batch, with the same random numbers.

    Args:
        model: A built, compiled model whose optimizer has a pure step.
        rules: For each hyperparameter, the learning rate first.
        probe: `"loss"` or `"slope"`.
        every: Steps from one move to the next.
        smoothing: Of `GradientAverage`; 0 for the gradients as they are.
        anneals: Whether there are steps whose rate is multiplied by less than 1.
    """

    signal = "walk"

    def __init__(
        self,
        model: keras.Model,
        rules: Mapping[str, WalkRule],
        *,
        probe: str,
        every: int,
        smoothing: float,
        anneals: bool = False,
    ) -> None:
        super().__init__(model)
        self._is_always_due = every == 1 and not anneals
        self._names = ["loss_after", *(probed(name, probe) for name in rules)]
        self._every = every
        self.tuned: list[WalkedHyperparameter] = [
            WalkedHyperparameter(model, name, rule, self.dtype)
            for name, rule in rules.items()
        ]
        make_probe = SlopeProbe if probe == "slope" else LossProbe
        self._probe: Probe = make_probe(self.step, self.tuned, self.dtype)
        self._average = None
        if smoothing:
            self._average = GradientAverage(model, smoothing, self.dtype)
        with model.distribute_strategy.scope():
            self._count = replicas.shared_scalar("count", "int32")

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        named = {"count": self._count} | super().variables()
        return named | (self._average.variables() if self._average else {})

    def start(self, values: Sequence[float]) -> None:
        """Set the state to what it is before the first step, on the host."""
        super().start(values)
        if self._average is not None:
            self._average.clear()

    def _recorded(self, data: Any) -> contextlib.AbstractContextManager[RepeatedLoss]:
        return contextlib.nullcontext(RepeatedLoss(self.model, data))

    def _around(
        self,
        take_step: TakeStep,
        gradients: Gradients,
        recorded: RepeatedLoss,
        factor: Tensor,
        loss: Tensor,
    ) -> dict[str, Tensor]:
        scale = _keras.loss_scale(self.model.optimizer)
        used = self._set_hyperparameters(factor)
        is_due = self._is_due(factor)
        sums = summed(gradients, scale)
        if scale is not None:
            # A step that is left out says nothing.
            is_due = ops.logical_and(is_due, are_finite(sums))
        step = sums
        if self._average is not None:
            step = self._average.followed_by(sums)
        taken = Taken(step, sums, used, loss)
        kept = self._kept(is_due, taken)
        with self._taking(used):
            take_step(None if self._average is None else self._shares(step, scale))
        size = ops.exp(self.tuned[0].step.value)
        seen = self._moved(is_due, recorded, taken, kept)
        return used | seen | {"factor": size}

    def _is_due(self, factor: Tensor) -> Tensor:
        """Count a step; return whether the hyperparameters move after it."""
        self._count.assign(self._count.value + 1)
        is_due = self._count.value % self._every == 0
        for each in self.tuned:
            is_due = ops.logical_or(is_due, each.climbs)
        # An annealed step is shorter than it could be, and says: raise.
        return ops.logical_and(is_due, factor >= 1.0)

    def _kept(self, is_due: Tensor, taken: Taken) -> Kept:
        """Return what has to be kept for the trials from before the step."""
        if not self._probe.needs_state:
            return []
        return self._when_due(
            is_due,
            lambda: self._probe.before(self._state(), taken),
            lambda: [self._state().weights for _ in self.tuned],
        )

    def _moved(
        self, is_due: Tensor, batch: RepeatedLoss, taken: Taken, kept: Kept
    ) -> dict[str, Tensor]:
        """Try, and move the hyperparameters by what was seen, where it is time to.

        Returns:
            The loss of the batch after the step, and those of the trials. With
            `probe="slope"`, the slopes of the first.
        """

        def look() -> tuple[list[Tensor], list[Tensor]]:
            scale = self.model.optimizer.scale_loss(ops.ones((), self.dtype))
            found = self._probe.after(batch, taken, kept)
            found = [ops.cast(each, self.dtype) / scale for each in found]
            return found, self._probe.starts(taken, kept)

        def look_and_move() -> list[Tensor]:
            found, starts = look()
            self._move(found, starts, is_due)
            return found

        def nothing() -> list[Tensor]:
            return [self._unknown() for _ in self._names]

        if replicas.number_of_replicas() == 1:
            found = self._when_due(is_due, look_and_move, nothing)
        else:
            # Replicas cannot meet inside of a branch.
            found, starts = self._when_due(
                is_due, look, lambda: (nothing(), nothing()[1:])
            )
            found = replicas.sum_over_replicas(found)
            self._move(found, starts, is_due)
        return dict(zip(self._names, found, strict=True))

    def _move(
        self, found: Sequence[Tensor], starts: Sequence[Tensor], is_due: Tensor
    ) -> None:
        loss, *probes = found
        for index, each in enumerate(self.tuned):
            decision = self._probe.decide(index, starts[index], loss, probes[index])
            each.update(*decision, is_due)

    def _unknown(self) -> Tensor:
        return ops.full((), math.nan, self.dtype)

    def _when_due(
        self, is_due: Tensor, look: Callable[[], Any], otherwise: Callable[[], Any]
    ) -> Any:
        import tensorflow as tf

        return look() if self._is_always_due else tf.cond(is_due, look, otherwise)

    def _shares(self, sums: Gradients, scale: Tensor | None) -> Gradients:
        """Return gradients that the optimizer sums over the replicas, and unscales."""
        factor = 1.0 / replicas.number_of_replicas()
        factor = factor if scale is None else factor * scale
        return [
            None if each is None else each * ops.cast(factor, each.dtype)
            for each in sums
        ]
