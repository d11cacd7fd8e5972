"""What all callbacks share: when they act, what they log, how they clean up."""

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import keras

from keras_lr import _keras, _warnings
from keras_lr._checks import (
    LEARNING_RATE,
    optional,
    path_or_none,
    positive_integer,
)
from keras_lr._keras import step_hook
from keras_lr._repr import constructor_call
from keras_lr.callbacks import recorded_history
from keras_lr.training.fit import state_file
from keras_lr.training.fit.fit import Fit
from keras_lr.training.fit.horizon import FitLength
from keras_lr.training.fit.ingredients import ingredients, what_trains
from keras_lr.training.fit.unfinished import AnnealedTraining, UnfinishedTraining

# Part of the rate that a training starts from below which an automatic rate does not
# fall: a rate that cannot train says nothing about a higher one any more.
FLOOR = 1e-3


class LearningRateCallback(keras.callbacks.Callback):
    """Base of the callbacks that set the learning rate of a compiled optimizer.

    A subclass makes what lives for one fit in `_make_fit`, and names in `_columns` what
    is recorded of it. The rest is done here, once: the optimizer is checked, the step
    is installed and removed, each epoch is started and ended, a new fit is told apart
    from one that resumes, what the steps record goes into `history` and the logs, and
    a training that diverges is rolled back with a warning.

    Args:
        initial_learning_rate: The rate to start from; `None` for the optimizer's own.
        total_epochs: Epochs of a training that is cut into several fits, each of which
            gets this callback; `None` if a fit is a training.
        backup_dir: Directory for the state at the end of each epoch, or `None`.
        verbose: `1` prints the rate that the next epoch starts with.
        log_diagnostics: Whether the last number of each list in `history` goes into
            the logs of an epoch too.

    Attributes:
        history: A list of floats for each column, with an entry per `history_unit`.
        restarts: The steps after which the training was rolled back.
    """

    history_unit = "step"
    """What `history` has an entry for, on the axis of `plot_learning_rate`."""

    takes_step = True
    """Whether it takes the optimizer's step itself, as every `OnlineFit` does."""

    changing: tuple[str, ...] = (
        *("params", "_model", "_fit", "_epoch", "_length", "_rates_used"),
        *("history", "restarts", "_unfinished", "_annealed", "_has_asked", "_offset"),
        *("_written", "_setters", "_may_end_early", "_said", "_last_numbers"),
    )
    """Attributes that a fit changes, and on which how it is made does not depend."""

    def __init__(
        self,
        *,
        initial_learning_rate: float | None = None,
        total_epochs: int | None = None,
        backup_dir: str | Path | None = None,
        verbose: int = 0,
        log_diagnostics: bool = False,
    ) -> None:
        super().__init__()
        self.initial_learning_rate = initial_learning_rate
        self.total_epochs = optional(positive_integer, "total_epochs", total_epochs)
        self.backup_dir = path_or_none("backup_dir", backup_dir)
        self.verbose = verbose
        self.log_diagnostics = log_diagnostics
        self._fit: Any = None
        self._written: int | None = None
        self._unfinished: UnfinishedTraining | None = None
        self._annealed: AnnealedTraining | None = None
        self._has_asked = False
        # Others in the list that set the rate, and those that end a fit early.
        self._setters: list[str] = []
        self._may_end_early = False
        self._said: set[str] = set()
        self._epoch: int | None = None
        self._rates_used: dict[str, float] | None = None
        self.history: dict[str, list[float]] = {}
        self.restarts: list[int] = []
        # Each column, how long it was at the last look, and its last number then.
        self._last_numbers: dict[str, tuple[list[float], int, float]] = {}

    def _make_fit(self) -> Fit:
        """Check the built model and return what lives for this fit.

        Called in `on_train_begin`, the earliest place to raise; in the first step if
        the model gets its weights only there. Not called if the model's last fit was
        made from the same: that one is used again, and so is its traced step.
        """
        raise NotImplementedError

    def _columns(self) -> Sequence[str]:
        """Return what `history` has a list for."""
        raise NotImplementedError

    def _columns_to_log(self) -> Sequence[str]:
        """Return the columns whose last number goes into the logs of every epoch.

        The others are diagnostics: they go there if `log_diagnostics` says so.
        """
        return ()

    def _late_columns(self) -> Sequence[str]:
        """Return the columns in which a step records a number of the step before it."""
        return ()

    def _start_factor(self) -> float:
        """Return what the rate of a fresh optimizer is multiplied by at the start."""
        return 1.0

    def _reset(self) -> None:
        """Forget earlier fits. Not called when a fit starts at a later epoch.

        A constructor may call it at its end, so that `history` has its lists at once.
        """
        self.history = {name: [] for name in self._columns()}
        self.restarts = []

    def set_model(self, model: keras.Model) -> None:
        """Attach to a model. Clears up what an interrupted fit left behind."""
        if model is not None and _keras.is_in_another_fit(self, model):
            name = type(self).__name__
            raise ValueError(
                f"`{name}` must be in one fit at a time: it holds the learning rate of "
                f"one model. Received: model={model.name!r}, in the middle of a fit of "
                f"another one with the same callback. Make a `{name}` for each model."
            )
        super().set_model(model)
        step_hook.remove(model, self)
        self._end_fit()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check the optimizer and the model, and wrap the training step."""
        self._require_usable_model()
        if self.backup_dir is not None:
            state_file.require_writable(Path(self.backup_dir))
        if not self.history:
            self._reset()
        self._look_at_companions()
        self._epoch = self._written = None
        restored = _keras.restored_batches(self, self.params["steps"])
        self._length = FitLength(self.params, self.total_epochs, restored)
        self._offset = 0
        if self._unfinished is not None and self._unfinished.is_of(self.model):
            self._fit = self._unfinished.fit
        else:
            self._unfinished = None
            self._fit = self._fit_to_use() if _keras.is_built(self.model) else None
        self._install()

    def _require_usable_model(self) -> None:
        owner = type(self).__name__
        _keras.require_settable_learning_rate(self.model.optimizer, owner)
        _keras.require_single_optimizer(self.model, owner)
        _keras.require_known_executions(self.model, owner)

    def _look_at_companions(self) -> None:
        """Warn of other callbacks that set the learning rate, or refuse them."""
        others = [each for each in _keras.companions(self) if each is not self]
        self._require_only_step(others)
        self._setters = [type(x).__name__ for x in others if isinstance(x, SETTERS)]
        early = keras.callbacks.EarlyStopping
        self._may_end_early = any(isinstance(each, early) for each in others)
        if self._setters:
            name, setters = type(self).__name__, ", ".join(self._setters)
            self._say_once(
                f"`{name}` sets the learning rate in each step, so no other callback "
                f"should. Received: callbacks with `{name}` and {setters}: the last to "
                "write wins. Leave all but one of them out."
            )

    def _require_only_step(self, others: Sequence[Any]) -> None:
        rivals = [each for each in others if isinstance(each, LearningRateCallback)]
        names = [type(each).__name__ for each in rivals if each.takes_step]
        if self.takes_step and names:
            raise ValueError(
                f"`{type(self).__name__}` takes the optimizer's step itself, which only"
                f" one callback of a fit can do. Received: `{type(self).__name__}` and "
                f"{', '.join(names)}. Leave all but one of them out."
            )

    def _warn_of_early_end(self, fit: Fit) -> None:
        if self._may_end_early and fit.rate.is_annealed:
            name = type(self).__name__
            self._say_once(
                f"`{name}` lowers the learning rate to zero over the last part of the "
                "epochs, which never comes if `EarlyStopping` ends the fit before. "
                f"Drop `EarlyStopping`, or pass `anneal=0.0` to `{name}`."
            )

    def _warn_of_foreign_rate(self, fit: Fit) -> None:
        """Warn of a rate that something else has set, unless it is known what."""
        if not self._setters and fit.rate.is_overwritten():
            self._say_once(
                "Something has set the learning rate of the optimizer in the middle of "
                f"the fit. `{type(self).__name__}` sets it in each step, and "
                "overwrites that. Leave one of the two out."
            )

    def _say_once(self, message: str) -> None:
        """Warn, but not in each of many fits."""
        if message not in self._said:
            self._said.add(message)
            _warnings.warn(message)

    def _fit_to_use(self) -> Fit:
        """Return the model's last fit if it was made from the same, else a new one."""
        made_from = ingredients(self.model, self, self.changing)
        for fit in step_hook.reusable_wrappers(self.model):
            if isinstance(fit, Fit) and fit.made_from == made_from:
                return fit
        fit = self._new_fit()
        fit.made_from = made_from
        return fit

    def _new_fit(self) -> Fit:
        fit = self._make_fit()
        fit.trains = what_trains(self.model)
        return fit

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the epoch. Forget the last fit, unless this one continues it."""
        # Only here is the epoch known that `BackupAndRestore` resumes at.
        is_first, self._epoch = self._epoch is None, epoch
        self._rates_used = None
        if is_first and epoch == 0 and self._unfinished is None:
            self._reset()
        if self._fit is not None:
            self._start_epoch(self._fit, epoch, is_first=is_first)

    def _start_epoch(self, fit: Fit, epoch: int, *, is_first: bool) -> None:
        if is_first and self._unfinished is not None:
            self._offset = max(self._unfinished.epochs - epoch, 0)
            fit.proceed()
        elif is_first:
            self._warn_of_early_end(fit)
            self._start(fit, epoch)
            self._ask_for_length(fit, epoch)
            self._look_for_pieces(epoch)
        fit.start_epoch(epoch + self._offset, self._length)

    def _ask_for_length(self, fit: Fit, epoch: int) -> None:
        """Do not anneal in a fit that seems to be a piece of a training; say so."""
        is_piece = self.params["epochs"] == epoch + 1 and self.total_epochs is None
        if not (is_piece and fit.rate.is_annealed and self._has_taken_steps()):
            return
        if _keras.restored_epoch(self.model) == epoch > 0:
            return
        self._length.epochs = math.inf
        if not self._has_asked:
            self._has_asked = True
            _warnings.warn(
                f"`{type(self).__name__}` cannot tell how long the training is that "
                "this fit of one epoch continues, so it does not anneal the learning "
                "rate to zero. Pass `total_epochs`, the number of epochs of all fits "
                "together, and the same callback to each of them."
            )

    def _look_for_pieces(self, epoch: int) -> None:
        """Warn if fits that are annealed one by one seem to be pieces of a training.

        They are if a fit begins at the epoch where the last one ended, or if it is the
        third in a row that continues with the weights of the one before.
        """
        last = self._annealed
        if last is None or self.total_epochs is not None:
            return
        if self._is_restored(epoch) or not last.is_continued_by(self.model):
            self._annealed = None
            return
        is_piece = epoch == last.epochs if epoch > 0 else last.fits > 1
        if is_piece and not self._has_asked:
            self._has_asked = True
            name = type(self).__name__
            _warnings.warn(
                f"`{name}` has lowered the learning rate to zero at the end of the "
                "last fit, which this one continues, and will do so again. If they are "
                "pieces of one training, pass `total_epochs`, the number of epochs of "
                "all fits together, and the same callback to each of them. If there is "
                f"no last fit, pass `anneal=0.0` to `{name}`."
            )

    def _has_taken_steps(self) -> bool:
        optimizer = _keras.leaf_optimizers(self.model.optimizer)[0]
        return _keras.to_float(optimizer.iterations) > 0.0

    def _start(self, fit: Fit, epoch: int) -> None:
        """Start a new training, resume a restored one, or continue at a later epoch."""
        if self._is_restored(epoch):
            fit.resume(epoch, self._length)
            if self.backup_dir is not None:
                fit.read(Path(self.backup_dir), epoch - 1)
        else:
            # A new callback, or a new optimizer, begins a training at any epoch.
            is_continued = any(self.history.values()) and self._has_taken_steps()
            rate = None if epoch > 0 and is_continued else self.initial_learning_rate
            fit.start(rate, self._start_factor())

    def _is_restored(self, epoch: int) -> bool:
        """Return whether `BackupAndRestore` has set model and epoch."""
        is_begun = epoch > 0 or self._length.restored > 0
        return is_begun and _keras.restored_epoch(self.model) == epoch

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Install the step again if another callback removed it or compiled."""
        fit, is_installed = self._fit, step_hook.is_installed(self.model, self)
        # Looked at once in an epoch, and where it decides what the next step does.
        looks = batch == 0 or not is_installed or self.model.run_eagerly
        if fit is not None and looks and fit.trains != what_trains(self.model):
            self._begin_anew(fit)
        elif not is_installed:
            self._install()
        if batch == 0 and self._fit is not None:
            self._warn_of_foreign_rate(self._fit)

    def _begin_anew(self, old: Fit) -> None:
        """Begin with what the model trains now, at this epoch's place in the fit."""
        name = type(self).__name__
        self._say_once(
            "The model was compiled, or layers of it were frozen or unfrozen, in the "
            f"middle of the fit. `{name}` begins anew with the optimizer and the "
            "weights that are trained from here on."
        )
        step_hook.remove(self.model, self)
        self._record(old.fetch(self._length.batches))
        old.release()
        old.forget()
        self._unfinished = None
        self._require_usable_model()
        fit = self._fit = self._fit_to_use()
        self._install()
        fit.start(None, self._start_factor())
        fit.start_epoch((self._epoch or 0) + self._offset, self._length)

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Fetch what the steps recorded, before there is too much of it."""
        self._length.count(batch)
        fit, is_last = self._fit, self._length.is_epoch_complete
        if fit is None:
            return
        if is_last or fit.is_due(self._length.batches):
            is_rolled_back = self._fetch(fit)
            if is_rolled_back and not is_last:
                # The means so far include steps that were rolled back.
                self.model.reset_metrics()
        if is_last:
            self._settle(fit)
            self._write(fit)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Leave the rate without annealing: the validation may be interrupted."""
        if self._fit is not None:
            self._fit.rate.pause()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Set the rate that there was before the validation."""
        if self._fit is not None:
            self._fit.rate.go_on()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the rates that the epoch was trained with, and print the next ones."""
        self._length.end_epoch()
        if self._fit is not None:
            self._fetch(self._fit)
            self._settle(self._fit)
            self._fit.end_epoch()
            self._write(self._fit)
        current = _keras.get_learning_rates(self.model.optimizer)
        if logs is not None:
            logs.update(self._rates_used or current)
            for name in self._columns_to_log():
                logs[name] = self._last_number(name)
            if self.log_diagnostics:
                self._log_diagnostics(logs)
        if self.verbose > 0 and not self._is_over(epoch):
            rates = ", ".join(f"{rate:.6g}" for rate in dict.fromkeys(current.values()))
            _keras.print_message(
                f"\nEpoch {epoch + 1}: {type(self).__name__} setting learning rate to "
                f"{rates}."
            )

    def _log_diagnostics(self, logs: dict[str, Any]) -> None:
        for name in self._columns():
            # Several optimizers have no common rate, and `loss` is Keras's mean.
            if name not in logs and name not in (LEARNING_RATE, "loss"):
                logs[name] = self._last_number(name)

    def _is_over(self, epoch: int) -> bool:
        """Return whether no epoch is known to follow, in this fit or in a later one."""
        is_last = epoch + self._offset + 1 >= self._length.epochs
        return is_last or self.model.stop_training

    def _last_number(self, name: str) -> float:
        """Return the last entry of a column that is not NaN; NaN if there is none."""
        column = self.history[name]
        before, length, last = self._last_numbers.get(name, (column, 0, math.nan))
        if before is not column or length > len(column):
            length, last = 0, math.nan
        # Only what came since the last look: in its annealed part a fit may record
        # nothing but NaN, and would be searched through in each epoch. A late number
        # may have replaced the last entry.
        new = column[max(length - 1, 0) :]
        last = next((x for x in reversed(new) if not math.isnan(x)), last)
        self._last_numbers[name] = column, len(column), last
        return last

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restore the model's own training step."""
        step_hook.remove(self.model, self)
        fit, total, epoch = self._fit, self.total_epochs, self._epoch
        self._unfinished = None
        if fit is not None and total is not None and epoch is not None:
            epochs = epoch + self._offset + 1
            if epochs < total:
                self._unfinished = UnfinishedTraining(self.model, fit, epochs)
        self._end_fit()
        is_annealed = fit is not None and total is None and fit.rate.is_annealed
        before, self._annealed = self._annealed, None
        if is_annealed and epoch is not None and epoch + 1 >= self._length.epochs:
            fits = 1 if before is None else before.fits + 1
            self._annealed = AnnealedTraining(self.model, epoch + 1, fits)

    def _end_fit(self) -> None:
        if self._fit is not None:
            self._release(self._fit)
            if self._unfinished is None:
                self._fit.forget()
        self._fit = None

    def _release(self, fit: Fit) -> None:
        """Leave the optimizer as it should be, after a fit or an interrupted one."""
        fit.release()

    def _settle(self, fit: Fit) -> None:
        """Note the rates of the epoch's last step, and leave those of the next one."""
        if self._rates_used is None and self._epoch is not None:
            self._rates_used = _keras.get_learning_rates(self.model.optimizer)
            epoch = self._epoch + self._offset
            self._record(fit.settle(epoch + 1, self._length))

    def _write(self, fit: Fit) -> None:
        """Write the state, once at the end of each epoch.

        At its last batch if that is known, and so before `BackupAndRestore`: after a
        kill between the two, the state before the last one belongs to the weights.
        """
        if self.backup_dir is not None and self._written != self._epoch:
            self._written = self._epoch
            fit.write(Path(self.backup_dir), self._epoch or 0)

    def _fetch(self, fit: Fit) -> bool:
        """Fetch what the steps recorded; return whether they were rolled back."""
        self._record(fit.fetch(self._length.batches))
        outcome = fit.restart_if_diverged()
        if outcome is not None:
            steps = len(self.history["learning_rate"])
            self.restarts.append(steps)
            _warnings.warn(
                f"`{type(self).__name__}` noticed after {steps} steps that the "
                "training diverges. It rolled weights and optimizer back to the last "
                f"good state and continues with {outcome}."
            )
        remark = fit.remark()
        if remark is not None:
            _warnings.warn(f"`{type(self).__name__}` {remark}")
        return outcome is not None

    def _record(self, rows: dict[str, list[float]]) -> None:
        """Append what was recorded to `history`."""
        late = self._late_columns()
        for name, values in rows.items():
            column = self.history.get(name)
            if column is None or not values:
                continue
            if name in late:
                # The first number belongs to the last step that was recorded before.
                column[-1:] = values if column else values[1:]
                column.append(math.nan)
            else:
                column += values

    def _install(self) -> None:
        if self._fit is not None:
            step_hook.install(self.model, self, self._fit, self._end_fit)
            return

        def wrapper(step: step_hook.Step) -> step_hook.Step:
            def prepared_step(data: Any) -> Any:
                if self._fit is None:
                    _keras.build(self.model, data, step)
                    with _keras.outside_of_trace():
                        self._fit = self._new_fit()
                        if self._epoch is not None:
                            self._start_epoch(self._fit, self._epoch, is_first=True)
                return self._fit.wrapped(step)(data)

            return prepared_step

        step_hook.install(self.model, self, wrapper, self._end_fit)

    to_dataframe = recorded_history.to_dataframe
    to_csv = recorded_history.to_csv
    plot = recorded_history.plot

    def __repr__(self) -> str:
        return constructor_call(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy configuration and history; data is shared, the model is left behind."""
        twin = copy.copy(self)
        memo[id(self)] = twin
        twin.history = copy.deepcopy(self.history, memo)
        twin.restarts = list(self.restarts)
        twin._said = set(self._said)
        twin._last_numbers = {}
        twin._fit = twin._unfinished = twin._annealed = None
        twin._rates_used = None
        twin.params = None
        keras.callbacks.Callback.set_model(twin, None)
        return twin

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without data."""
        directory = self.backup_dir
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "total_epochs": self.total_epochs,
            "backup_dir": None if directory is None else str(directory),
            "verbose": self.verbose,
            "log_diagnostics": self.log_diagnostics,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the callback that `get_config` described."""
        return cls(**config)


SETTERS = (
    LearningRateCallback,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
)
"""Callbacks that set the learning rate; of a user's own nobody knows."""
