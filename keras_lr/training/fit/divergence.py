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
from keras_lr.training.derivatives.tensors import inner_product
from keras_lr.training.fit import state_file

COLUMNS = ("loss_now", "loss_of_good")
"""Columns of a step: the loss of its batch at the weights before it, where the step's
own is another one, and at those of the good copy. NaN where there are no pairs."""

# Steps from one copy of the state to the next: a part of those since the training began
# or was rolled back, within limits.
INTERVAL, SHORTEST, LONGEST = 0.25, 16, 1024
# Times that a training may be rolled back before it gets as far as a new copy.
MOST_RESTARTS = 6
PREFIX = "guard_"
"""How the names of its arrays in a file begin."""
_STATE = f"{PREFIX}state"


class DivergenceGuard:
    """Watches the losses of the steps, and holds a copy of a good state.

    There are two copies of the weights and of the optimizer's variables: the good one,
    and a candidate that becomes good if the losses after it are lower than at the good
    one. For some steps after a candidate, and while the training is under suspicion,
    each step evaluates its batch once more, at the good weights.

    Args:
        model: A built, compiled model with a built optimizer.
        values: Variables of the hyperparameters that move, rolled back too.

    Attributes:
        can_repeat: Whether the loss of a batch can be evaluated at other weights.
        probes: Whether each step does that.
    """

    def __init__(
        self, model: keras.Model, values: Sequence[keras.Variable] = ()
    ) -> None:
        self._model = model
        self._values = values
        self.can_repeat = True
        # The optimizer's initial state, on the host: it is hardly ever needed.
        self._initial: list[Any] = []
        # All but the weights that are trained.
        self._good: list[Tensor] = []
        self._candidate: list[Tensor] | None = None
        with model.distribute_strategy.scope():
            self._is_probing = replicas.shared_scalar("guard_is_probing")
            self._good_weights = [
                replicas.shared_like(each, "good") for each in model.trainable_variables
            ]
        self._begin()

    def _begin(self) -> None:
        self._losses = Losses()
        self._pairs: list[tuple[float, float]] = []
        self._good_losses: tuple[float, ...] = ()
        self._candidate_losses: tuple[float, ...] = ()
        self._verdict: Verdict = "open"
        self._last_copy = self._last_restart = 0
        self._is_initial = True
        self._knows_start = False
        self._restarts = 0
        self._is_off = False
        self._probe(False)

    def start(self) -> None:
        """Begin a training: its present state is the good one, on the host."""
        self._begin()
        self._initial = [each.numpy() for each in self._model.optimizer.variables]
        self._set_good(self._copies())
        self._candidate = None

    def forget(self) -> None:
        """Forget losses and states: the fit is over, or another one begins."""
        self._begin()
        self._good, self._candidate, self._initial = [], None, []

    def look(self, data: Any) -> dict[str, Tensor]:
        """Return `COLUMNS` of a step, before it is taken, inside it.

        Args:
            data: Batch of the step.
        """
        import tensorflow as tf

        unknown = ops.full((), np.nan, "float32")
        pair = unknown, unknown

        weights = [each.value for each in self._good_weights]

        def probe() -> tuple[Tensor, Tensor]:
            batch = RepeatedLoss(self._model, data)
            scale = self._model.optimizer.scale_loss(ops.ones((), "float32"))
            good = ops.cast(
                batch.at([tf.identity(each) for each in weights]), "float32"
            )
            if _keras.has_standard_step(self._model):
                # Its own loss is that at the weights now.
                return unknown, good / scale
            trained = self._model.trainable_variables
            now = batch.at([tf.identity(each.value) for each in trained])
            return ops.cast(now, "float32") / scale, good / scale

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
    def is_suspicious(self) -> bool:
        """Whether the training may have diverged."""
        return self._losses.is_suspicious and not self._is_off

    def observe(self, rows: Mapping[str, Sequence[float]]) -> None:
        """Count what steps recorded, and copy the state where it is due, on the host.

        Args:
            rows: Columns `loss`, `failed` and `COLUMNS`.
        """
        columns = (rows[name] for name in ("loss", "failed", *COLUMNS))
        for loss, failed, now, good in zip(*columns, strict=True):
            self._losses = self._losses.followed_by(loss, has_failed=failed > 0.0)
            if self.probes:
                is_own = _keras.has_standard_step(self._model)
                self._pairs.append((loss if is_own else now, good))
        if self._is_off:
            return
        if self.can_repeat and (self.is_suspicious or self._is_checking):
            self._judge_by_pairs()
        elif self.is_suspicious:
            self._judge_by_losses()
        elif self._is_copy_due():
            self._copy()
        self._probe(self.can_repeat and (self.is_suspicious or self._is_checking))

    @property
    def _is_checking(self) -> bool:
        """Whether a candidate is to be compared with the good copy."""
        return self._candidate is not None and self.can_repeat

    def _probe(self, probes: bool) -> None:
        self.probes = probes
        self._is_probing.assign(float(probes))

    def conclude(self) -> None:
        """Judge a suspicion by what there is, after the last step of a fit."""
        if self.is_suspicious and self._verdict == "open":
            now, good = self._columns_of_pairs()
            start = self._losses.start
            if len(now) >= LAST:
                self._verdict = last_verdict(now, good, start)
            else:
                self._verdict = self._without_pairs(LAST)

    def _columns_of_pairs(self) -> tuple[Sequence[float], Sequence[float]]:
        now, good = zip(*self._pairs, strict=True) if self._pairs else ((), ())
        return now, good

    def _judge_by_pairs(self) -> None:
        now, good = self._columns_of_pairs()
        if self._is_initial and not self._knows_start and len(good) >= FEW:
            finite = [each for each in good if math.isfinite(each)]
            if len(finite) > len(good) // 2:
                start = Start.at_initial_weights(finite)
                self._losses = dataclasses.replace(self._losses, start=start)
                self._knows_start = True
        enough = ENOUGH if self.is_suspicious else FEW
        verdict = verdict_of_pairs(now, good, self._losses.start, enough)
        if verdict == "fine" and self._is_initial and not is_better(now, good):
            verdict = "diverged" if self._distance() > FAR else "fine"
        self._verdict = verdict
        if verdict in ("open", "diverged"):
            return
        self._losses = (
            self._losses.cleared(verdict) if self.is_suspicious else self._losses
        )
        if self._candidate is not None and is_better(now, good):
            self._promote(self._candidate)
        self._candidate, self._verdict, self._pairs = None, "open", []

    def _judge_by_losses(self) -> None:
        self._verdict = self._without_pairs()
        if self._verdict == "fine":
            self._losses = self._losses.cleared(self._verdict)
            self._verdict = "open"

    def _distance(self) -> float:
        """Return how far the weights are from the good ones, as a part of these."""
        good = [each.value for each in self._good_weights]
        moved = [
            weight.value - copy
            for weight, copy in zip(self._model.trainable_variables, good, strict=True)
        ]
        size = _keras.to_float(inner_product(good, good, "float32"))
        square = _keras.to_float(inner_product(moved, moved, "float32"))
        return math.sqrt(square / size) if size > 0.0 else 0.0

    def _without_pairs(self, number: int = RECENT) -> Verdict:
        """Return what the last losses say beside those up to the last copy."""
        recent = self._losses.recent
        earlier = self._good_losses or self._candidate_losses
        if len(earlier) < FEW:
            half = len(recent) // 2
            earlier, recent = recent[:half], recent[half:]
        start = self._losses.start
        return verdict_without_pairs(recent[-number:], earlier, start)

    @property
    def knows_no_cure(self) -> bool:
        """Whether losses were not finite at the good weights either."""
        return self._losses.cures_nothing

    def has_diverged(self) -> bool:
        """Return whether the training has diverged since the last restart."""
        return self._verdict == "diverged" and not self._is_off

    def restore(self, *, renews_optimizer: bool = False) -> None:
        """Assign the good state, to the last bit.

        Args:
            renews_optimizer: Whether the optimizer gets the state from before the first
                step instead.
        """
        good = [*(each.value for each in self._good_weights), *self._good]
        for variable, copy in zip(self._variables(), good, strict=True):
            variable.assign(copy)
        if renews_optimizer:
            variables = self._model.optimizer.variables
            for variable, value in zip(variables, self._initial, strict=True):
                variable.assign(value)
        self._candidate = None
        self._losses = self._losses.restarted()
        self._verdict, self._pairs = "open", []
        self._probe(False)
        self._last_copy = self._last_restart = self._losses.steps
        self._restarts += 1
        self._is_off = self._restarts > MOST_RESTARTS

    @property
    def is_at_beginning(self) -> bool:
        """Whether there was no progress yet, and no restart."""
        return self._is_initial and self._restarts == 0

    @property
    def is_off(self) -> bool:
        """Whether it gave up: rolling back has helped too often for a moment only."""
        return self._is_off

    def accept_values(self) -> None:
        """Make the present values of the hyperparameters part of the good state."""
        values = [ops.copy(each.value) for each in self._values]
        self._good[len(self._good) - len(values) :] = values

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that a fit resumes from, by names."""
        state = {
            "losses": self._losses.to_dict(),
            "pairs": self._pairs,
            "good_losses": self._good_losses,
            "candidate_losses": self._candidate_losses,
            "last_copy": self._last_copy,
            "last_restart": self._last_restart,
            "restarts": self._restarts,
            "is_off": self._is_off,
            "is_initial": self._is_initial,
            "knows_start": self._knows_start,
        }
        named = {_STATE: np.asarray(json.dumps(state))}
        for name, tensors in self._saved().items():
            for index, each in enumerate(tensors):
                named[f"{PREFIX}{name}_{index}"] = state_file.array(each)
        return named

    def set_arrays(self, named: Mapping[str, np.ndarray]) -> None:
        """Set the state to what `arrays` returned."""
        state = json.loads(str(named[_STATE]))
        self._begin()
        self._losses = Losses.from_dict(state["losses"])
        self._pairs = [(now, good) for now, good in state["pairs"]]
        self._good_losses = tuple(state["good_losses"])
        self._candidate_losses = tuple(state["candidate_losses"])
        self._last_copy = state["last_copy"]
        self._last_restart, self._restarts = state["last_restart"], state["restarts"]
        self._is_off, self._is_initial = state["is_off"], state["is_initial"]
        self._knows_start = state["knows_start"]
        every, of_optimizer = self._variables(), self._model.optimizer.variables
        self._set_good(_tensors(named, "good", every))
        has_candidate = f"{PREFIX}candidate_0" in named
        self._candidate = _tensors(named, "candidate", every) if has_candidate else None
        self._initial = _tensors(named, "initial", of_optimizer)
        self._probe(self.can_repeat and (self.is_suspicious or self._is_checking))

    def _saved(self) -> dict[str, Sequence[Tensor]]:
        good = [*(each.value for each in self._good_weights), *self._good]
        return {
            "good": good,
            "candidate": self._candidate or [],
            "initial": self._initial,
        }

    def _is_copy_due(self) -> bool:
        steps = self._losses.steps - self._last_restart
        interval = min(max(INTERVAL * steps, SHORTEST), LONGEST)
        return self._losses.steps - self._last_copy >= interval

    def _copy(self) -> None:
        """Copy the present state, to be compared with the good one."""
        if self._candidate is not None:
            self._promote(self._candidate)
        self._candidate = self._copies()
        self._candidate_losses = self._losses.recent
        self._last_copy = self._losses.steps

    def _promote(self, candidate: Sequence[Tensor]) -> None:
        self._set_good(candidate)
        self._good_losses = self._candidate_losses
        self._is_initial = False
        self._restarts = 0

    def _set_good(self, copies: Sequence[Tensor]) -> None:
        number = len(self._good_weights)
        for variable, copy in zip(self._good_weights, copies[:number], strict=True):
            variable.assign(copy)
        self._good = [*copies[number:]]

    def _copies(self) -> list[Tensor]:
        return [ops.copy(each.value) for each in self._variables()]

    def _variables(self) -> list[keras.Variable]:
        """Return all that is rolled back, the weights that are trained first."""
        trained = self._model.trainable_variables
        ids = {id(each) for each in trained}
        others = [each for each in self._model.weights if id(each) not in ids]
        return [*trained, *others, *self._model.optimizer.variables, *self._values]


def _tensors(
    named: Mapping[str, np.ndarray], name: str, variables: Sequence[keras.Variable]
) -> list[Tensor]:
    arrays = [named[f"{PREFIX}{name}_{index}"] for index in range(len(variables))]
    if [x.shape for x in arrays] != [tuple(each.shape) for each in variables]:
        raise ValueError("The copies must have the shapes of the variables.")
    pairs = zip(arrays, variables, strict=True)
    return [ops.convert_to_tensor(array, each.dtype) for array, each in pairs]
