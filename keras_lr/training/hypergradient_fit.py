"""One fit with hypergradients: when they are taken, recorded, saved and given up."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_lr import _keras
from keras_lr.rules import lipschitz
from keras_lr.training import state_file, step_hook
from keras_lr.training.divergence import DivergenceGuard
from keras_lr.training.horizon import FitLength, Horizon
from keras_lr.training.hypergradient import OnlineHypergradient
from keras_lr.training.step_log import CAPACITY, StepLog
from keras_lr.training.tuned_hyperparameter import HypergradientRule
from keras_lr.training.validation_loss import ValidationLoss

# Steps from one question whether the training diverges to the next: each waits for the
# device, and a few steps more of a diverging training are put back all the same.
PATIENCE = 16
# What a rate or a hyper-learning rate that let it diverge is multiplied by.
CUT = 0.1

_COLUMNS = (
    "learning_rate",
    "hypergradient",
    "discount",
    "hyper_learning_rate",
    "loss",
    "validation_loss",
)
_FILE = "keras_lr_hypergradient.npz"


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
        leaf = _keras.require_single_update(model.optimizer, owner)
        _keras.build_optimizer(model)
        _keras.PureStep(leaf, model.trainable_variables).require_pure(owner)
        validation = None
        if validation_data is not None:
            validation = ValidationLoss(model, validation_data, validation_batch_size)
        self._rate = _keras.learning_rate_variable(leaf)
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
            _COLUMNS,
            dtype=self._online.dtype,
            capacity=max(CAPACITY, 2 * self._executed),
        )
        self._guard = DivergenceGuard(model) if guards else None
        self._kept = self._candidate = math.nan
        self._fetched = self._asked = 0

    def wrapped(self, step: step_hook.Step) -> step_hook.Step:
        """Return the training step with its tangents."""

        def tuned_step(data: Any) -> Any:
            factor = lipschitz.annealing(self._horizon.remaining(), self._anneal)
            with self._online.watching(data, factor) as row:
                logs = step(data)
            self._log.append(row)
            if self._guard is not None:
                self._guard.observe(row["loss"])
            self._horizon.advance()
            return logs

        return tuned_step

    def start_epoch(self, epoch: int, length: FitLength) -> None:
        """Say where in the fit the next step is."""
        self._horizon.start_epoch(epoch, length)
        self._fetched = self._asked = 0

    def start(
        self, rate: float | None, scale: float = 1.0, *, is_annealed: bool = False
    ) -> None:
        """Set the state to what it is before the first step.

        Args:
            rate: To start from; `None` for the optimizer's own times `scale`.
            scale: See `rate`.
            is_annealed: Whether the optimizer's own rate has the annealing in it.
        """
        if rate is None:
            factor = self._factor() if is_annealed else 1.0
            rate = scale * _keras.to_float(self._rate) / factor
        for each in self._online.tuned:
            each.start(rate)
        self._keep()

    def is_time_to_fetch(self, batch: int) -> bool:
        """Return whether the host has to act, after a batch of this number."""
        done = batch + 1
        is_full = done - self._fetched > self._log.capacity - self._executed
        has_diverged = False
        if self._guard is not None and done - self._asked >= PATIENCE:
            self._asked = done
            has_diverged = self._guard.has_diverged()
        if is_full or has_diverged:
            self._fetched = done
        return is_full or has_diverged

    def fetch(self) -> dict[str, list[float]]:
        """Return what the steps recorded since the last time."""
        return self._log.fetch()

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
            self._kept = self._candidate = self._kept * CUT
            tuned.start(self._kept, beta / 2.0)
            return f"a learning rate of {self._kept:.3g}"
        tuned.start(self._kept, beta * CUT)
        return f"a hyper-learning rate of {beta * CUT:.3g}"

    def settle(self, epoch: int, length: FitLength) -> None:
        """Leave the rate in the optimizer that the next epoch begins with."""
        self._horizon.start_epoch(epoch, length)
        if _keras.to_float(self._horizon.remaining()) > 0.0:
            self._online.write_rate(self._factor())

    def end_epoch(self) -> None:
        """Keep the state to go back to, if it is a better one."""
        self._keep()

    def release(self) -> None:
        """Take the annealing off the rate, unless the user has set another."""
        if self._online.wrote_last():
            self._online.write_rate(1.0)

    def write(self, directory: Path, epoch: int) -> None:
        """Write the state at the end of an epoch."""
        state_file.write(directory / _FILE, self._online.variables(), epoch)

    def read(self, directory: Path, epoch: int) -> None:
        """Read the state of the end of an epoch, if it is there."""
        state_file.read(directory / _FILE, self._online.variables(), epoch)

    def _factor(self) -> float:
        factor = lipschitz.annealing(self._horizon.remaining(), self._anneal)
        return _keras.to_float(factor) or 1.0

    def _keep(self) -> None:
        # As the guard does: a rate is good if the epoch after it was.
        if self._guard is not None and self._guard.save():
            now = _keras.to_float(self._online.tuned[0].value)
            self._kept = now if math.isnan(self._candidate) else self._candidate
            self._candidate = now
