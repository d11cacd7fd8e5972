"""Notice that a training diverges, and roll it back to a good state."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.rules.divergence import (
    ENOUGH,
    FAR,
    FEW,
    LAST,
    RECENT,
    Losses,
    Start,
    Verdict,
    is_better,
    last_verdict,
    verdict_of_pairs,
    verdict_without_pairs,
)
from keras_lr.training.derivatives.repeated_loss import RepeatedLoss
from keras_lr.training.fit.copies import PREFIX, Copies

COLUMNS = ("loss_now", "loss_of_good")
"""Columns of a step: the loss of its batch at the weights before it, where the step's
own is another one, and at those of the good copy. NaN where there are no pairs."""

# Steps from one copy of the state to the next: a part of those since the training began
# or was rolled back, within limits.
INTERVAL, SHORTEST, LONGEST = 0.25, 16, 1024
# Times that a training may be rolled back before it gets as far as a new copy.
MOST_RESTARTS = 6
_STATE = f"{PREFIX}state"


@dataclasses.dataclass
class _State:
    """What the guard knows, except the copies: numbers and lists of them.

    Attributes:
        losses: What is known about the losses.
        pairs: Losses of the same batches, at the weights of the steps and at the good
            ones.
        good_losses: Losses of the steps up to the good copy.
        candidate_losses: Those up to the candidate.
        last_copy: Number of steps at the last candidate or restart.
        last_restart: Number of steps at the last restart.
        restarts: Restarts since the last copy that proved good.
        is_off: Whether it gave up.
        is_initial: Whether the good copy is the initial state.
        knows_start: Whether the loss at the initial weights was measured by pairs.
    """

    losses: Losses = dataclasses.field(default_factory=Losses)
    pairs: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    good_losses: tuple[float, ...] = ()
    candidate_losses: tuple[float, ...] = ()
    last_copy: int = 0
    last_restart: int = 0
    restarts: int = 0
    is_off: bool = False
    is_initial: bool = True
    knows_start: bool = False

    def to_text(self) -> str:
        """Return what `from_text` reads."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "_State":
        """Return what `to_text` wrote."""
        values = json.loads(text)
        values["losses"] = Losses.from_dict(values["losses"])
        values["pairs"] = [(now, good) for now, good in values["pairs"]]
        for name in ("good_losses", "candidate_losses"):
            values[name] = tuple(values[name])
        return cls(**values)


class DivergenceGuard:
    """Watches the losses of the steps, and holds a copy of a good state.

    There are two copies of the weights and, unless they are renewed, of the optimizer's
    variables: the good one, and a candidate that becomes good if the losses after it
    are lower than at the good one. For some steps after a candidate, and while the
    training is under suspicion, each step evaluates its batch once more, at the good
    weights.

    Args:
        model: A built, compiled model with a built optimizer.
        values: Variables of the hyperparameters that move, rolled back too.
        renews_optimizer: Whether a rollback gives the optimizer the state from before
            the first step. If not, its variables are copied too.

    Attributes:
        can_repeat: Whether the loss of a batch can be evaluated at other weights.
        probes: Whether each step does that.
    """

    def __init__(
        self,
        model: keras.Model,
        values: Sequence[keras.Variable] = (),
        *,
        renews_optimizer: bool = False,
    ) -> None:
        self._model = model
        self._copies = Copies(model, values, renews_optimizer=renews_optimizer)
        self._state = _State()
        self._verdict: Verdict = "open"
        self.can_repeat = True
        with model.distribute_strategy.scope():
            self._is_probing = replicas.shared_scalar("guard_is_probing")
        self._probe(False)

    def start(self) -> None:
        """Begin a training: its present state is the good one, on the host."""
        self.forget()
        self._copies.start()

    def forget(self) -> None:
        """Forget losses and states: the fit is over, or another one begins."""
        self._state, self._verdict = _State(), "open"
        self._copies.forget()
        self._probe(False)

    def look(self, data: Any) -> dict[str, Tensor]:
        """Return `COLUMNS` of a step, before it is taken, inside it.

        Args:
            data: Batch of the step.
        """
        import tensorflow as tf

        unknown = ops.full((), np.nan, "float32")
        pair = unknown, unknown

        def probe() -> tuple[Tensor, Tensor]:
            batch = RepeatedLoss(self._model, data)
            scale = self._model.optimizer.scale_loss(ops.ones((), "float32"))

            def loss_at(weights: Sequence[keras.Variable]) -> Tensor:
                loss = batch.at([tf.identity(each.value) for each in weights])
                return ops.cast(loss, "float32") / scale

            good = loss_at(self._copies.good_weights)
            if self._says_its_loss:
                return unknown, good
            return loss_at(self._model.trainable_variables), good

        if self.can_repeat:
            try:
                pair = tf.cond(self._is_probing.value > 0.0, probe, lambda: pair)
            except Exception:
                # A training step of the user's own, whose loss only it can compute.
                self.can_repeat = False
        # Replicas cannot communicate inside a branch.
        summed = [replicas.sum_over_replicas(each) for each in pair]
        return dict(zip(COLUMNS, summed, strict=True))

    @property
    def _says_its_loss(self) -> bool:
        """Whether the loss that a step reports is that of `RepeatedLoss`."""
        return _keras.has_standard_step(self._model)

    @property
    def is_suspicious(self) -> bool:
        """Whether the training may have diverged."""
        return self._state.losses.is_suspicious and not self._state.is_off

    @property
    def is_at_beginning(self) -> bool:
        """Whether there was no progress yet, and no restart."""
        return self._state.is_initial and self._state.restarts == 0

    @property
    def is_off(self) -> bool:
        """Whether it gave up: rolling back has helped too often for a moment only."""
        return self._state.is_off

    @property
    def knows_no_cure(self) -> bool:
        """Whether losses were not finite at the good weights either."""
        return self._state.losses.cures_nothing

    def has_diverged(self) -> bool:
        """Return whether the training has diverged since the last restart."""
        return self._verdict == "diverged" and not self._state.is_off

    def observe(self, rows: Mapping[str, Sequence[float]]) -> None:
        """Count what steps recorded, and copy the state where it is due, on the host.

        Args:
            rows: Columns `loss`, `failed` and `COLUMNS`.
        """
        state = self._state
        columns = (rows[name] for name in ("loss", "failed", *COLUMNS))
        for loss, failed, now, good in zip(*columns, strict=True):
            state.losses = state.losses.followed_by(loss, has_failed=failed > 0.0)
            if self.probes:
                state.pairs.append((loss if self._says_its_loss else now, good))
        if state.is_off:
            return
        if self._needs_pairs:
            self._judge_by_pairs()
        elif self.is_suspicious:
            self._judge_by_losses()
        elif self._is_copy_due():
            self._make_copy()
        self._probe(self._needs_pairs)

    def conclude(self) -> None:
        """Judge a suspicion by what there is, after the last step of a fit."""
        if not self.is_suspicious or self._verdict != "open":
            return
        now, good = self._columns_of_pairs()
        if len(now) >= LAST:
            self._verdict = last_verdict(now, good, self._state.losses.start)
        else:
            self._verdict = self._without_pairs(LAST)

    def restore(self) -> None:
        """Assign the good state, to the last bit."""
        self._copies.restore()
        state = self._state
        state.losses, state.pairs = state.losses.restarted(), []
        state.last_copy = state.last_restart = state.losses.steps
        state.restarts += 1
        state.is_off = state.restarts > MOST_RESTARTS
        self._verdict = "open"
        self._probe(False)

    def accept_values(self) -> None:
        """Make the present values of the hyperparameters part of the good state."""
        self._copies.accept_values()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that a fit resumes from, by names."""
        return {_STATE: np.asarray(self._state.to_text())} | self._copies.arrays()

    def set_arrays(self, named: Mapping[str, np.ndarray]) -> None:
        """Set the state to what `arrays` returned."""
        self._copies.set_arrays(named)
        self._state = _State.from_text(str(named[_STATE]))
        self._probe(self._needs_pairs)

    @property
    def _needs_pairs(self) -> bool:
        """Whether there is a suspicion, or a candidate to be compared."""
        is_open = self.is_suspicious or self._copies.has_candidate
        return is_open and self.can_repeat and not self._state.is_off

    def _probe(self, probes: bool) -> None:
        self.probes = probes
        self._is_probing.assign(float(probes))

    def _judge_by_pairs(self) -> None:
        state = self._state
        now, good = self._columns_of_pairs()
        self._learn_start(good)
        enough = ENOUGH if self.is_suspicious else FEW
        self._verdict = verdict_of_pairs(now, good, state.losses.start, enough)
        has_gained = is_better(now, good)
        is_in_vain = state.is_initial and not has_gained
        if self._verdict == "fine" and is_in_vain and self._copies.distance() > FAR:
            self._verdict = "diverged"
        if self._verdict in ("open", "diverged"):
            return
        if self.is_suspicious:
            state.losses = state.losses.cleared(self._verdict)
        if has_gained and self._copies.has_candidate:
            self._accept_candidate()
        self._copies.drop_candidate()
        self._verdict, state.pairs = "open", []

    def _learn_start(self, good: Sequence[float]) -> None:
        """Take the first pairs at the initial weights for the loss there."""
        state = self._state
        if state.knows_start or not state.is_initial or len(good) < FEW:
            return
        finite = [each for each in good if math.isfinite(each)]
        if len(finite) > len(good) // 2:
            start = Start.at_initial_weights(finite)
            state.losses = dataclasses.replace(state.losses, start=start)
            state.knows_start = True

    def _judge_by_losses(self) -> None:
        self._verdict = self._without_pairs()
        if self._verdict == "fine":
            self._state.losses = self._state.losses.cleared(self._verdict)
            self._verdict = "open"

    def _without_pairs(self, number: int = RECENT) -> Verdict:
        """Return what the last losses say beside those up to the last copy."""
        state = self._state
        recent = state.losses.recent
        earlier = state.good_losses or state.candidate_losses
        if len(earlier) < FEW:
            half = len(recent) // 2
            earlier, recent = recent[:half], recent[half:]
        return verdict_without_pairs(recent[-number:], earlier, state.losses.start)

    def _columns_of_pairs(self) -> tuple[Sequence[float], Sequence[float]]:
        pairs = self._state.pairs
        now, good = zip(*pairs, strict=True) if pairs else ((), ())
        return now, good

    def _is_copy_due(self) -> bool:
        state = self._state
        steps = state.losses.steps - state.last_restart
        interval = min(max(INTERVAL * steps, SHORTEST), LONGEST)
        return state.losses.steps - state.last_copy >= interval

    def _make_copy(self) -> None:
        """Copy the present state, to be compared with the good one."""
        state = self._state
        if self._copies.has_candidate:
            # Without pairs, a copy is good if nothing was suspicious up to the next.
            self._accept_candidate()
        self._copies.make_candidate()
        state.candidate_losses = state.losses.recent
        state.last_copy = state.losses.steps

    def _accept_candidate(self) -> None:
        self._copies.accept_candidate()
        state = self._state
        state.good_losses = state.candidate_losses
        state.is_initial = False
        state.restarts = 0
