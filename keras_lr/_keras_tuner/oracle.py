"""A `keras_tuner.Oracle` that survives: kills, broken files, failures, lost workers.

What KerasTuner 1.4 does differently, and why each method is overridden:

- An exception inside the oracle leaves its lock held: every worker waits forever.
- Files are written in place: a process that is killed leaves a truncated one, which
  cannot be reloaded. A trial whose file and the oracle's disagree is lost or run twice.
- A trial that is run again keeps the metrics of the time before.
- A score that is NaN counts as a crash, and three of them end the search.
- A chief that is started again gives trials away that its workers still run.
- `seed=0` means no seed.

It is imported where it is used, because it loads KerasTuner.
"""

import contextlib
import datetime
import itertools
import math
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.src.distribute import utils as distribution
from keras_tuner.src.engine import metrics_tracking
from keras_tuner.src.engine import oracle as oracle_module
from keras_tuner.src.engine.trial import Trial, TrialStatus

from keras_lr._keras.models import print_message
from keras_lr._keras_tuner.search_files import keep_if_whole, write_json
from keras_lr._keras_tuner.stored_state import require_oracle, require_trial
from keras_lr._sole_writer import SoleWriter

FINISHED = (TrialStatus.COMPLETED, TrialStatus.FAILED)
_JOURNAL = "trial_values"
_OBJECTIVE = "objective"
_ONE_WRITER = (
    "Another search there makes trials of the same numbers, and only what wrote last "
    "can be resumed. Give each search a `project_name` of its own. To let several "
    "processes work on one search, start a chief and workers as KerasTuner documents."
)


def trial_number(trial_id: str) -> int | None:
    """Return the number of a trial, `None` if its name is none of KerasTuner's."""
    return int(trial_id) if trial_id.isascii() and trial_id.isdecimal() else None


def trial_order(trial_id: str) -> tuple[bool, int, str]:
    """Return what to sort trials by: their number, those without one last."""
    number = trial_number(trial_id)
    return number is None, number or 0, trial_id


class _Display(oracle_module.Display):
    """KerasTuner's, which shows a trial as its oracle says."""

    def show_hyperparameter_table(self, trial: Any) -> None:
        super().show_hyperparameter_table(self.oracle.as_shown(trial))
        remark = self.oracle.remark(trial)
        if remark:
            print_message(remark)


class DurableOracle(keras_tuner.Oracle):
    """Base of our oracles: everything except what to try next.

    Args:
        objective: Metric to optimize, or a `keras_tuner.Objective`.
        max_trials: Number of trials.
        seed: Seed of the search. 0 is a seed too.
        **kwargs: More arguments of `keras_tuner.Oracle`.

    Attributes:
        stop_reason: Why no more trials are given out, `None` if they are.
    """

    def __init__(
        self, objective: Any, max_trials: int, *, seed: int | None = None, **kwargs: Any
    ) -> None:
        # JSON takes no numbers of NumPy.
        seed = None if seed is None else int(seed)
        super().__init__(
            objective=objective, max_trials=max_trials, seed=seed, **kwargs
        )
        self.stop_reason: str | None = None
        self._display = _Display(oracle=self)
        self._given_seed = seed
        if seed is not None:
            self.seed = self._seed_state = seed
        self._last_heard: dict[str, float] = {}
        self._began: dict[str, float] = {}
        self._longest = 0.0
        self._writer = SoleWriter(_ONE_WRITER)

    def as_shown(self, trial: Any) -> Any:
        """Return a trial to print: it may leave out values that are not searched."""
        return trial

    def remark(self, trial: Any) -> str:
        """Return what to print below the values of a trial, or nothing."""
        return ""

    def create_trial(self, tuner_id: str) -> Any:
        """Give a worker its trial, without metrics from a run that was cut off."""
        with _releasing_lock(self):
            return self._create(tuner_id)

    @keras_tuner.synchronized
    def _create(self, tuner_id: str) -> Any:
        self._last_heard[tuner_id] = time.monotonic()
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.RUNNING:
            self._began[trial.trial_id] = time.monotonic()
            self.tuner_ids.add(tuner_id)
            self._note_start(trial.trial_id)
            if trial.metrics.metrics or trial.message:
                trial.metrics = metrics_tracking.MetricsTracker()
                trial.score = trial.message = None
                self._save_trial(trial)
        return trial

    def update_trial(self, trial_id: str, metrics: Any, step: int = 0) -> Any:
        """Record metrics; NaN as infinity, of the worse sign for the objective."""
        with _releasing_lock(self):
            return self._update(trial_id, metrics, step)

    @keras_tuner.synchronized
    def _update(self, trial_id: str, metrics: Any, step: int) -> Any:
        if trial_id in self.end_order:
            return self.trials[trial_id]
        metrics = {
            name: self.worst(name) if math.isnan(value) else float(value)
            for name, value in metrics.items()
        }
        return super().update_trial(trial_id, metrics, step=step)

    def worst(self, metric: str) -> float:
        """Return the worst value that a metric can have."""
        is_maximized = (
            metric == self.objective.name and self.objective.direction == "max"
        )
        return -math.inf if is_maximized else math.inf

    def end_trial(self, trial: Any) -> None:
        """End a trial; a second report of the same one changes nothing."""
        with _releasing_lock(self):
            self._end(trial)

    @keras_tuner.synchronized
    def _end(self, trial: Any) -> None:
        if trial.trial_id not in self.trials or trial.trial_id in self.end_order:
            return
        now = time.monotonic()
        for tuner_id, ongoing in self.ongoing_trials.items():
            if ongoing.trial_id == trial.trial_id:
                self._last_heard[tuner_id] = now
                # A chief that was started again has forgotten who is there.
                self.tuner_ids.add(tuner_id)
        self._longest = max(self._longest, now - self._began.pop(trial.trial_id, now))
        self._note_start(trial.trial_id)
        super().end_trial(trial)
        # KerasTuner has written that the trial is still at its worker.
        self.save()

    def _note_start(self, trial_id: str) -> None:
        """Let the display know of a trial that began before a restart."""
        now = datetime.datetime.now()
        display = self._display
        display.search_start = display.search_start or now
        display.trial_start.setdefault(trial_id, now)
        number = trial_number(trial_id)
        place = len(self.trials) if number is None else number + 1
        display.trial_number.setdefault(trial_id, place)

    def _record_values(self, trial: Any) -> None:
        values = dict(trial.hyperparameters.values)
        super()._record_values(trial)
        # KerasTuner drops a value if the name is also there under another condition.
        trial.hyperparameters.values = values | trial.hyperparameters.values

    def _check_consecutive_failures(self) -> None:
        failed = itertools.takewhile(
            lambda trial_id: self.trials[trial_id].status == TrialStatus.FAILED,
            reversed(self.end_order),
        )
        failures = list(failed)
        if len(failures) >= self.max_consecutive_failed_trials:
            message = self.trials[failures[0]].message or ""
            self.stop_reason = f"{len(failures)} trials in a row failed.\n{message}"

    def get_state(self) -> dict[str, Any]:
        """Return the state; with the values of all trials, if their files get lost."""
        values = {
            trial_id: trial.hyperparameters.values
            for trial_id, trial in self.trials.items()
        }
        return super().get_state() | {_JOURNAL: values, _OBJECTIVE: str(self.objective)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore the state, except for what the constructor was given.

        Raises:
            ValueError: If the scores are those of another objective.
        """
        self._require_objective(state.get(_OBJECTIVE))
        space = keras_tuner.HyperParameters.from_config(state["hyperparameters"])
        for trial_id, values in state.get(_JOURNAL, {}).items():
            if trial_id not in self.trials:
                hyperparameters = space.copy()
                hyperparameters.values = dict(values)
                self.trials[trial_id] = Trial(hyperparameters, trial_id)
        known = {
            key: [trial_id for trial_id in state[key] if trial_id in self.trials]
            for key in ("start_order", "end_order", "retry_queue")
        }
        ongoing = {
            tuner_id: trial_id
            for tuner_id, trial_id in state["ongoing_trials"].items()
            if trial_id in self.trials
        }
        super().set_state(state | known | {"ongoing_trials": ongoing})
        if self._given_seed is not None:
            self.seed = self._seed_state = self._given_seed

    def _require_objective(self, written: str | None) -> None:
        """Raise if trials were scored by another objective than this one.

        Args:
            written: What the file says; 0.1.0 did not write it.
        """
        if written is None and all(map(self._is_scored_by_objective, self.trials)):
            return
        if written == str(self.objective):
            return
        raise ValueError(
            "`objective` must be the one that the search was begun with, because its "
            f"trials are scored by it. Received: objective={self.objective}, and "
            f"{written or 'scores of another one'} in {self._project_dir}. Pass "
            "`overwrite=True`, or another `project_name`, to search by this one."
        )

    def _is_scored_by_objective(self, trial_id: str) -> bool:
        trial, name = self.trials[trial_id], self.objective.name
        if trial.status != TrialStatus.COMPLETED:
            return True
        metrics = trial.metrics
        if not metrics.exists(name):
            return False
        if metrics.get_direction(name) != self.objective.direction:
            return False
        # A loss that is not finite makes the score infinite, whatever the metric.
        is_finite = trial.score is not None and math.isfinite(trial.score)
        return not is_finite or trial.score == metrics.get_best_value(name)

    def save(self) -> None:
        """Write `oracle.json`. Only the process that gives the trials out does so."""
        with _releasing_lock(self):
            self._write_state()

    @keras_tuner.synchronized
    def _write_state(self) -> None:
        path = self._get_oracle_fname()
        with self._writer.writing(Path(path)):
            write_json(path, self.get_state())

    def _save_trial(self, trial: Any) -> None:
        path = f"{self._get_trial_dir(trial.trial_id)}/trial.json"
        write_json(path, trial.get_state())

    def reload(self) -> None:
        """Read the files of a search, and correct what they disagree on."""
        import tensorflow as tf

        self._writer.start_over()
        trials = {}
        for path in tf.io.gfile.glob(f"{self._project_dir}/trial_*/trial.json"):
            folder = os.path.basename(os.path.dirname(path))
            trial_id = folder.removeprefix("trial_")
            if keep_if_whole(path, partial(require_trial, trial_id=trial_id)):
                trials[trial_id] = Trial.load(path)
        if not keep_if_whole(
            self._get_oracle_fname(), partial(require_oracle, journal=_JOURNAL)
        ):
            self._write_state_of(trials)
        super().reload()
        self._settle()

    def _write_state_of(self, trials: dict[str, Any]) -> None:
        """Write an `oracle.json` that agrees with the files of the trials."""
        self.trials = trials
        self._require_objective(None)
        for trial in trials.values():
            self.hyperparameters.merge(trial.hyperparameters, overwrite=False)
        self.save()

    def _settle(self) -> None:
        """Give each trial its place: ended, at a worker, or to be run.

        A process may have been killed after it wrote the file of a trial, and before
        it wrote `oracle.json`.
        """
        order = sorted(self.trials, key=trial_order)
        ended = [i for i in order if self.trials[i].status in FINISHED]
        if distribution.is_chief_oracle():
            # The workers may be alive. KerasTuner has queued their trials.
            state = self._ongoing_in_file()
            self.ongoing_trials = {
                tuner_id: self.trials[trial_id]
                for tuner_id, trial_id in state.items()
                if trial_id in self.trials and trial_id not in ended
            }
        held = {trial.trial_id for trial in self.ongoing_trials.values()}
        self.tuner_ids.update(self.ongoing_trials)
        self._began |= dict.fromkeys(held, time.monotonic())
        self.start_order += [i for i in order if i not in self.start_order]
        self.end_order = [i for i in self.end_order if i in ended]
        self.end_order += [i for i in ended if i not in self.end_order]
        # The last one is given out first.
        waiting = [i for i in order if i not in held and i not in ended]
        self._retry_queue = waiting[::-1]

    def _ongoing_in_file(self) -> dict[str, str]:
        from keras_tuner.src import utils

        return utils.load_json(self._get_oracle_fname())["ongoing_trials"]

    @keras_tuner.synchronized
    def overdue(self, least: float) -> dict[str, tuple[str, float]]:
        """Return the workers that take long: the trial of each, and the seconds.

        Args:
            least: Seconds that are not long. Three times the longest trial is not
                either.
        """
        now = time.monotonic()
        return {
            tuner_id: (trial.trial_id, now - self._began.get(trial.trial_id, now))
            for tuner_id, trial in self.ongoing_trials.items()
            if now - self._began.get(trial.trial_id, now)
            > max(least, 3 * self._longest)
        }

    @keras_tuner.synchronized
    def dismiss_silent(self, seconds: float) -> list[str]:
        """Forget workers that asked for no other trial, and return their names."""
        now = time.monotonic()
        idle = self.tuner_ids - set(self.ongoing_trials)
        silent = [i for i in idle if now - self._last_heard.get(i, 0.0) > seconds]
        self.tuner_ids.difference_update(silent)
        return silent


@contextlib.contextmanager
def _releasing_lock(oracle: DurableOracle) -> Iterator[None]:
    """Release the lock that an exception would leave held."""
    name = threading.current_thread().name
    is_outer = oracle_module.THREADS[oracle] != name
    try:
        yield
    except BaseException:
        if is_outer and oracle_module.THREADS[oracle] == name:
            oracle_module.THREADS[oracle] = None
            oracle_module.LOCKS[oracle].release()
        raise
