"""What the callbacks have in common that move the learning rate in each step."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from keras_lr import _keras
from keras_lr._keras import step_hook
from keras_lr.callbacks.base import LearningRateCallback
from keras_lr.training.fit.horizon import FitLength
from keras_lr.training.fit.online_fit import OnlineFit


class OnlineCallback(LearningRateCallback):
    """Starts, records and resumes a fit in which hyperparameters move at each step.

    A subclass says in `_make_fit` what is tuned and how, and in `_columns` what is
    recorded.

    Args:
        arguments: By name; they become attributes. `hyperparameters` is
            what is tuned, the learning rate first, and `initial_learning_rate` what to
            start from; `None` for the optimizer's own.
        backup_dir: Directory for the state at the end of each epoch, or `None`.
        verbose: `1` prints the rate that the next epoch starts with.
    """

    hyperparameters: tuple[str, ...]
    initial_learning_rate: float | None

    history_unit = "step"
    """What `history` has an entry for, on the axis of `plot_learning_rate`."""

    def __init__(
        self,
        arguments: Mapping[str, Any],
        *,
        backup_dir: str | Path | None,
        verbose: int,
    ) -> None:
        super().__init__(verbose=verbose)
        for name, value in arguments.items():
            setattr(self, name, value)
        self._arguments = tuple(arguments)
        self.backup_dir = backup_dir
        self._epoch: int | None = None
        self._reset()

    def _start_factor(self) -> float:
        """Return what the optimizer's own rate is multiplied by at the start."""
        return 1.0

    def _columns(self) -> Sequence[str]:
        """Return what `history` has of each step."""
        raise NotImplementedError

    def _columns_to_log(self) -> Sequence[str]:
        """Return those whose last number goes into the logs of an epoch."""
        raise NotImplementedError

    def _make_fit(self) -> OnlineFit:
        """Return what lives for one fit of the built model."""
        raise NotImplementedError

    def _prepare(self) -> OnlineFit:
        state = self._make_fit()
        if self._epoch is not None:
            self._start(state, self._epoch, is_first=True)
        return state

    def _reset(self) -> None:
        self.history: dict[str, list[float]] = {name: [] for name in self._columns()}
        self.restarts: list[int] = []

    def _wrap_step(self, step: step_hook.Step) -> step_hook.Step:
        return self._fit_state.wrapped(step)

    def _release(self) -> None:
        self._fit_state.release()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check the optimizer, and wrap the training step."""
        self._epoch = None
        self._length = FitLength(self.params)
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start, or go on."""
        super().on_epoch_begin(epoch, logs)
        is_first, self._epoch = self._epoch is None, epoch
        if self._fit_state is not None:
            self._start(self._fit_state, epoch, is_first=is_first)

    def _start(self, state: OnlineFit, epoch: int, *, is_first: bool) -> None:
        state.start_epoch(epoch, self._length)
        if not is_first:
            return
        if epoch == 0:
            state.start(self.initial_learning_rate, self._start_factor())
            return
        is_resumed = _keras.restored_epoch(self.model) == epoch
        state.start(None, 1.0, is_annealed=is_resumed)
        if is_resumed and self.backup_dir is not None:
            state.read(Path(self.backup_dir), epoch - 1)

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Fetch what the steps recorded, before there is too much of it."""
        state: OnlineFit | None = self._fit_state
        is_last = self._length.is_last(batch)
        if state is None:
            return
        if is_last or state.is_time_to_fetch(batch):
            is_put_back = self._record(state)
            if is_put_back and not is_last:
                # The means so far are of a training that is no more.
                self.model.reset_metrics()
        # Not in `on_epoch_end`: a `BackupAndRestore` listed before this callback has
        # saved the optimizer by then.
        if is_last:
            self._end_epoch(state)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the rates that the epoch was trained with, and what moved them."""
        self._length.end_epoch()
        state: OnlineFit | None = self._fit_state
        if state is not None:
            self._record(state)
            self._end_epoch(state)
            state.end_epoch()
            if self.backup_dir is not None:
                state.write(Path(self.backup_dir), epoch)
        if logs is not None:
            for name in (*self.hyperparameters[1:], *self._columns_to_log()):
                known = (x for x in reversed(self.history[name]) if not math.isnan(x))
                logs[name] = next(known, math.nan)
        super().on_epoch_end(epoch, logs)

    def _end_epoch(self, state: OnlineFit) -> None:
        if self._rates_used is None and self._epoch is not None:
            self._rates_used = _keras.get_learning_rates(self.model.optimizer)
            state.settle(self._epoch + 1, self._length)

    def _record(self, state: OnlineFit) -> bool:
        """Take over what the steps recorded; return whether they were put back."""
        for name, values in state.fetch().items():
            if name in self.history:
                self.history[name] = self._joined(name, values)
        outcome = state.restart_if_diverged()
        if outcome is not None:
            steps = len(self.history["learning_rate"])
            self.restarts.append(steps)
            warnings.warn(
                f"`{type(self).__name__}` noticed after {steps} steps that the "
                "training diverges. It put weights and optimizer back to the last good "
                f"state and goes on with {outcome}.",
                stacklevel=2,
            )
        return outcome is not None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy configuration, history and restarts."""
        twin = super().__deepcopy__(memo)
        twin.restarts = list(self.restarts)
        return twin

    def _joined(self, name: str, values: list[float]) -> list[float]:
        """Return what `history` has of a column, with what was fetched behind it."""
        return self.history[name] + values
