"""One fit that moves hyperparameters: recorded, annealed, saved, and put back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_lr import _keras
from keras_lr._keras import step_hook
from keras_lr.rules import lipschitz
from keras_lr.training.fit import state_file
from keras_lr.training.fit.divergence import DivergenceGuard
from keras_lr.training.fit.horizon import FitLength, Horizon
from keras_lr.training.fit.online_tuning import OnlineTuning
from keras_lr.training.fit.step_log import CAPACITY, StepLog

# Steps from one look at their losses to the next: each waits for the device, and a few
# steps more of a diverging training are put back all the same.
PATIENCE = 16


class OnlineFit:
    """What lives for one fit in which hyperparameters move at each step.

    Args:
        model: A built, compiled model.
        online: What moves them.
        columns: What is recorded of each step.
        anneal: Of `lipschitz.annealing`.
        guards: Whether a training that diverges is put back.
    """

    def __init__(
        self,
        model: keras.Model,
        online: OnlineTuning,
        columns: Sequence[str],
        *,
        anneal: float,
        guards: bool,
    ) -> None:
        self._model = model
        self._online = online
        self._leaf = _keras.leaf_optimizers(model.optimizer)[0]
        self._rate = _keras.learning_rate_variable(self._leaf)
        self._others = [each.name for each in online.tuned[1:]]
        self._anneal = anneal
        self._horizon = Horizon(model)
        self._executed = int(model.steps_per_execution)
        self._log = StepLog(
            model,
            columns,
            dtype=online.dtype,
            capacity=max(CAPACITY, 2 * self._executed),
        )
        self._guard = DivergenceGuard(model) if guards else None
        self._kept: list[float] = []
        self._candidate: list[float] = []
        self._fetched = 0

    def wrapped(self, step: step_hook.Step) -> step_hook.Step:
        """Return the training step with what goes on beside it."""

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
        others = (getattr(self._leaf, name) for name in self._others)
        self._online.start([rate, *others])
        self._keep()

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
        self._guard.restore(renews_optimizer=self._online.renews_optimizer)
        self._kept, outcome = self._online.restart(self._kept)
        self._candidate = self._kept
        self._online.write_rate(self._factor())
        return outcome

    def settle(self, epoch: int, length: FitLength) -> None:
        """Leave the rate in the optimizer that the next epoch begins with."""
        self._horizon.start_epoch(epoch, length)
        if _keras.to_float(self._horizon.remaining()) > 0.0:
            self._online.write_rate(self._factor())

    def end_epoch(self) -> None:
        """Keep the state to go back to, if it is a better one."""
        self._keep()
        self._online.write_others()

    def release(self) -> None:
        """Take the annealing off the rate, unless the user has set another."""
        if self._online.wrote_last():
            self._online.write_rate(1.0)
        if self._others:
            self._online.write_others()
            # It has their old values in it.
            step_hook.forget_plain_function(self._model)

    def write(self, directory: Path, epoch: int) -> None:
        """Write the state at the end of an epoch."""
        state_file.write(self._file(directory), self._online.variables(), epoch)

    def read(self, directory: Path, epoch: int) -> None:
        """Read the state of the end of an epoch, if it is there."""
        state_file.read(self._file(directory), self._online.variables(), epoch)
        self._kept = self._candidate = self._values()

    def _file(self, directory: Path) -> Path:
        return directory / f"keras_lr_{self._online.signal}.npz"

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
