"""One fit with hypergradients: when they are taken, recorded, saved and given up."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_lr import _keras
from keras_lr.rules import lipschitz
from keras_lr.training import state_file, step_hook
from keras_lr.training.divergence import DivergenceGuard
from keras_lr.training.horizon import FitLength, Horizon
from keras_lr.training.hypergradient import (
    RULE_COLUMNS,
    OnlineHypergradient,
    hypergradient_of,
)
from keras_lr.training.optimizer_tangent import LEARNING_RATE
from keras_lr.training.step_log import CAPACITY, StepLog
from keras_lr.training.tuned_hyperparameter import HypergradientRule
from keras_lr.training.validation_loss import ValidationLoss

# Steps from one look at their losses to the next: each waits for the device, and a few
# steps more of a diverging training are put back all the same.
PATIENCE = 16
# What a rate or a hyper-learning rate that let it diverge is multiplied by.
CUT = 0.1

_FILE = "keras_lr_hypergradient.npz"


def columns(names: Sequence[str]) -> tuple[str, ...]:
    """Return what is recorded of each step while these hyperparameters are tuned."""
    own = [*names, *RULE_COLUMNS]
    own += [hypergradient_of(name) for name in names if name != LEARNING_RATE]
    return *own, "loss", "validation_loss"


class HypergradientFit:
    """What lives for one fit of `keras_lr.MARTHE`.

    Args:
        model: A built, compiled model.
        rules: For each hyperparameter, the learning rate first.
        owner: Name of the callback, for messages.
        validation_data: Of `ValidationLoss`, or `None`.
        validation_batch_size: Of `ValidationLoss`.
        curvature_batch_size: Of `Curvature`.
        every: Steps from one update to the next.
        anneal: Of `lipschitz.annealing`.
        guards: Whether a training that diverges is put back.

    Raises:
        ValueError: If the optimizer's step cannot be differentiated.
    """

    def __init__(
        self,
        model: keras.Model,
        rules: Mapping[str, HypergradientRule],
        *,
        owner: str,
        validation_data: Any,
        validation_batch_size: int,
        curvature_batch_size: float | None,
        every: int,
        anneal: float,
        guards: bool,
    ) -> None:
        self._others = [name for name in rules if name != LEARNING_RATE]
        self._leaf = _differentiable_optimizer(model, self._others, owner)
        validation = None
        if validation_data is not None:
            validation = ValidationLoss(model, validation_data, validation_batch_size)
        self._model = model
        self._rate = _keras.learning_rate_variable(self._leaf)
        self._anneal = anneal
        self._horizon = Horizon(model)
        self._online = OnlineHypergradient(
            model,
            rules,
            validation=validation,
            curvature_batch_size=curvature_batch_size,
            every=every,
        )
        self._executed = int(model.steps_per_execution)
        self._log = StepLog(
            model,
            columns(list(rules)),
            dtype=self._online.dtype,
            capacity=max(CAPACITY, 2 * self._executed),
        )
        self._guard = DivergenceGuard(model) if guards else None
        self._kept: list[float] = []
        self._candidate: list[float] = []
        self._fetched = 0

    def wrapped(self, step: step_hook.Step) -> step_hook.Step:
        """Return the training step with its tangents."""

        def tuned_step(data: Any) -> Any:
            factor = lipschitz.annealing(self._horizon.remaining(), self._anneal)
            with self._online.watching(data, factor) as row:
                logs = step(data)
            self._log.append(row)
            self._horizon.advance()
            return logs

        return tuned_step

    def start_epoch(self, epoch: int, length: FitLength) -> None:
        """Say where in the fit the next step is."""
        self._horizon.start_epoch(epoch, length)
        self._fetched = 0

    def start(
        self, rate: float | None, scale: float = 1.0, *, is_annealed: bool = False
    ) -> None:
        """Set the state to what it is before the first step.

        Args:
            rate: To start from; `None` for the optimizer's own, times `scale` if it has
                not taken a step yet.
            scale: See `rate`.
            is_annealed: Whether the optimizer's own rate has the annealing in it.
        """
        if rate is None:
            factor = self._factor() if is_annealed else 1.0
            is_fresh = _keras.to_float(self._leaf.iterations) == 0.0
            rate = (scale if is_fresh else 1.0) * _keras.to_float(self._rate) / factor
        self._start([rate, *(getattr(self._leaf, name) for name in self._others)])
        self._keep()

    def _start(self, values: Sequence[float], beta: float | None = None) -> None:
        for each, value in zip(self._online.tuned, values, strict=True):
            each.start(value, beta)

    def is_time_to_fetch(self, batch: int) -> bool:
        """Return whether the host has to act, after a batch of this number."""
        done = batch + 1
        most = self._log.capacity - self._executed
        if self._guard is not None:
            most = min(most, PATIENCE - 1)
        if done - self._fetched <= most:
            return False
        self._fetched = done
        return True

    def fetch(self) -> dict[str, list[float]]:
        """Return what the steps recorded since the last time."""
        rows = self._log.fetch()
        # A step of the user's own may not say its loss.
        if self._guard is not None and self._online.sees_loss:
            self._guard.observe(rows["loss"])
        return rows

    def restart_if_diverged(self) -> str | None:
        """Put everything back if the training diverges.

        Returns:
            What it goes on with, in words; `None` if it does not diverge.
        """
        if self._guard is None or not self._guard.has_diverged():
            return None
        tuned = self._online.tuned[0]
        beta = _keras.to_float(tuned.beta)
        is_log = tuned.rule.update == "log"
        self._guard.restore(renews_optimizer=is_log)
        if is_log:
            rate, *others = self._kept
            self._kept = self._candidate = [rate * CUT, *others]
            self._start(self._kept, beta / 2.0)
            self._online.write_rate(self._factor())
            return f"a learning rate of {self._kept[0]:.3g}"
        self._start(self._kept, beta * CUT)
        self._online.write_rate(self._factor())
        return f"a hyper-learning rate of {beta * CUT:.3g}"

    def settle(self, epoch: int, length: FitLength) -> None:
        """Leave the rate in the optimizer that the next epoch begins with."""
        self._horizon.start_epoch(epoch, length)
        if _keras.to_float(self._horizon.remaining()) > 0.0:
            self._online.write_rate(self._factor())

    def end_epoch(self) -> None:
        """Keep the state to go back to, if it is a better one."""
        self._keep()
        self._write_others()

    def release(self) -> None:
        """Take the annealing off the rate, unless the user has set another."""
        if self._online.wrote_last():
            self._online.write_rate(1.0)
        if self._others:
            self._write_others()
            # It has their old values in it.
            step_hook.forget_plain_function(self._model)

    def _write_others(self) -> None:
        for each in self._online.tuned[1:]:
            setattr(self._leaf, each.name, _keras.to_float(each.value))

    def write(self, directory: Path, epoch: int) -> None:
        """Write the state at the end of an epoch."""
        state_file.write(directory / _FILE, self._online.variables(), epoch)

    def read(self, directory: Path, epoch: int) -> None:
        """Read the state of the end of an epoch, if it is there."""
        state_file.read(directory / _FILE, self._online.variables(), epoch)
        self._kept = self._candidate = self._values()

    def _factor(self) -> float:
        factor = lipschitz.annealing(self._horizon.remaining(), self._anneal)
        return _keras.to_float(factor) or 1.0

    def _keep(self) -> None:
        # As the guard does: a rate is good if the epoch after it was.
        if self._guard is not None and self._guard.save():
            now = self._values()
            self._kept, self._candidate = self._candidate or now, now

    def _values(self) -> list[float]:
        return [_keras.to_float(each.value) for each in self._online.tuned]


def _differentiable_optimizer(
    model: keras.Model, hyperparameters: Sequence[str], owner: str
) -> keras.optimizers.Optimizer:
    """Return the optimizer that owns the rate, built, or raise a `ValueError`."""
    leaf = _keras.require_single_update(model.optimizer, owner)
    for name in hyperparameters:
        _keras.require_float_attribute(leaf, name, owner)
    _keras.build_optimizer(model)
    _keras.PureStep(leaf, model.trainable_variables).require_pure(owner)
    return leaf
