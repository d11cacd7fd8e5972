"""What reads each kind of state file of the package, and what it then does.

A kind has files that were written by the package itself, and a function of a directory
that reads them and uses what it read, in milliseconds. It returns what it came to, and
raises `UsedError` if it works with a rate that is none.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner
import numpy as np
from continued import build

import keras_lr
from keras_lr.comparison import ComparisonResult, Policy
from keras_lr.comparison.records import open_store
from keras_lr.comparison.run_record import RunRecord
from keras_lr.schedules.descent import Descent
from keras_lr.schedules.search import ScheduleSearch

Files = dict[str, bytes]
BATCHES, BATCH_SIZE, EPOCHS, RESUMED = 2, 8, 6, 4
LOW, HIGH, TRIALS = 1e-5, 1.0, 4


class UsedError(Exception):
    """What is not a learning rate, or weights that are not finite, are in use."""


class Kind(NamedTuple):
    """A kind of state files.

    Attributes:
        files: Content of each file, by its path in the directory.
        use: Function of a directory that reads the files, uses what it read, and
            returns what it came to.
    """

    files: Files
    use: Callable[[Path], Any]


def files_in(directory: Path) -> Files:
    """Return the content of all files in a directory, by their paths."""
    paths = sorted(each for each in directory.rglob("*") if each.is_file())
    return {str(each.relative_to(directory)): each.read_bytes() for each in paths}


def write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a directory."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _require_rate(rate: Any, what: str) -> None:
    if not (isinstance(rate, int | float) and 0.0 <= rate < math.inf):
        raise UsedError(f"{what} is {rate!r}")


class _Restores(keras.callbacks.Callback):
    """Does as `BackupAndRestore`, with a backup that is in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.backup: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 == RESUMED and self.backup is None:
            self.backup = [each.numpy() for each in self._variables()]

    def on_train_begin(self, logs: Any = None) -> None:
        if self.backup is not None:
            for variable, value in zip(self._variables(), self.backup, strict=True):
                variable.assign(value)
            self.model._initial_epoch = RESUMED

    def _variables(self) -> list[Any]:
        return [*self.model.weights, *self.model.optimizer.variables]


def callback_kind(make: Callable[[Path], Any]) -> Kind:
    """Return the state of a callback, from which a fit resumes for two epochs.

    Args:
        make: Function of `backup_dir` that makes the callback.
    """
    # Of another path the step would be traced anew.
    temporary = tempfile.TemporaryDirectory()
    folder = Path(temporary.name) / "state"
    callback, model, restores = make(folder), build(), _Restores()
    x = np.random.default_rng(0).normal(size=(BATCHES * BATCH_SIZE, 4))
    y = x[:, :1] - x[:, 1:2]
    arguments = {"batch_size": BATCH_SIZE, "epochs": EPOCHS, "verbose": 0}

    class _Keeps(keras.callbacks.Callback):
        files: Files | None = None

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch + 1 == RESUMED and self.files is None:
                self.files = files_in(folder)

    keeps = _Keeps()
    callbacks = [restores, callback, keeps]
    model.fit(x, y, callbacks=callbacks, shuffle=False, **arguments)

    def use(directory: Path) -> Any:
        own = Path(temporary.name) / "state"
        shutil.rmtree(own)
        shutil.copytree(directory, own)
        model.fit(x, y, callbacks=callbacks[:2], shuffle=False, **arguments)
        for rate in callback.history["learning_rate"][-BATCHES * (EPOCHS - RESUMED) :]:
            _require_rate(rate, "a rate of the fit")
        _require_rate(float(model.optimizer.learning_rate), "the optimizer's rate")
        weights = model.get_weights()
        if not all(np.isfinite(each).all() for each in weights):
            raise UsedError("a weight is not finite")
        return [each.tolist() for each in weights]

    return Kind(keeps.files or {}, use)


class _Bowl:
    """A training whose loss is the squared distance of the schedule from a goal."""

    values, learning_rate, is_fixed = 2, 0.125, True
    goal = np.array([0.5, 0.25])

    def settings(self) -> dict[str, Any]:
        return {"steps": 2, "seed": 0, "layers": ["dense", "softmax"]}

    def loss(self, values: np.ndarray, draw: Any) -> float:
        return 1.0 + float(((values - self.goal) ** 2).sum())

    def gradient(self, values: np.ndarray, draw: Any) -> tuple[float, np.ndarray]:
        return self.loss(values, draw), 2.0 * (values - self.goal)


def schedule_kind() -> Kind:
    """Return the file of `optimize_schedule`, which continues for three steps."""

    def search(directory: Path, steps: int) -> ScheduleSearch:
        training: Any = _Bowl()
        descent = Descent(keras.optimizers.Adam(0.05), 2)
        made = ScheduleSearch(training, descent, directory)
        for _ in range(steps):
            made.step()
        return made

    def use(directory: Path) -> Any:
        best = search(directory, 3).best()
        for rate in best.values:
            _require_rate(rate, "a rate of the schedule")
        if not math.isfinite(best.objective):
            raise UsedError(f"the objective is {best.objective}")
        return best.values.tolist(), best.objective

    with tempfile.TemporaryDirectory() as name:
        search(Path(name), 3)
        return Kind(files_in(Path(name)), use)


def records_kind() -> Kind:
    """Return the records of a comparison, from which its result is made again."""
    policies = [Policy("constant", 0.1), Policy("constant", 0.01), Policy("own")]
    fingerprint = {
        "epochs": 3,
        "batch_size": 8,
        "weights": [[4, 1], [1]],
        "loss": "mse",
    }

    def made(policy: Policy, seed: int) -> RunRecord:
        losses = [1.0, 0.5, 0.25 + 0.1 * seed]
        logs = {"loss": losses, "val_loss": losses, "learning_rate": [0.1] * 3}
        return RunRecord(
            *(policy.label, seed, "val_loss", "min", logs, [0.1] * 3, 2.0),
            seconds=1.0,
            steps=18,
            gradient_evaluations=18.0,
            start=policy.learning_rate,
            code=policy.code,
            validation_rows=8,
        )

    def records(directory: Path) -> list[RunRecord]:
        store = open_store(directory, lambda: fingerprint)
        found = []
        for policy in policies:
            for seed in range(2):
                record = store.load(policy, seed)
                if record is None:
                    record = made(policy, seed)
                    store.save(record)
                found.append(record)
        return found

    def use(directory: Path) -> Any:
        result = ComparisonResult(records(directory))
        for row in result.table:
            for rate in () if row.start is None else (row.start,):
                _require_rate(rate, "the start of a policy")
        return str(result), result.advice, [repr(row) for row in result.table]

    with tempfile.TemporaryDirectory() as name:
        records(Path(name))
        return Kind(files_in(Path(name)), use)


def _loss(rate: float) -> float:
    return 0.1 + 0.2 * abs(math.log10(rate / 0.01))


def search_kind(name: str) -> Kind:
    """Return the files of a search, which continues with two more trials.

    Args:
        name: `"Zooming"` or `"BLiE"`.
    """

    class _Formula(getattr(keras_lr, name)):  # type: ignore[misc]  # One of ours.
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
            rate = trial.hyperparameters.get("learning_rate")
            _require_rate(rate, "the rate of a trial")
            if not LOW <= rate <= HIGH:
                raise UsedError(f"the rate of a trial is {rate}")
            return {"score": _loss(rate)}

    def search(directory: Path, trials: int) -> Any:
        space = keras_tuner.HyperParameters()
        space.Float("learning_rate", LOW, HIGH, sampling="log")
        tuner = _Formula(
            objective=keras_tuner.Objective("score", "min"),
            max_trials=trials,
            seed=0,
            hyperparameters=space,
            directory=directory,
        )
        tuner.oracle.verbose = 0
        tuner.search(verbose=0)
        return tuner

    def use(directory: Path) -> Any:
        tuner = search(directory, TRIALS + 2)
        tuner.results_summary()
        best = tuner.best_arm()
        _require_rate(best.learning_rate, "the recommended rate")
        if not LOW <= best.learning_rate <= HIGH:
            raise UsedError(f"the recommended rate is {best.learning_rate}")
        return [(x.learning_rate, x.score) for x in tuner.oracle.trainings()]

    with tempfile.TemporaryDirectory() as folder:
        search(Path(folder), TRIALS)
        return Kind(files_in(Path(folder)), use)


KINDS: dict[str, Callable[[], Kind]] = {
    "MARTHE": lambda: callback_kind(
        lambda folder: keras_lr.MARTHE(discount="adaptive", backup_dir=folder)
    ),
    "HypergradientDescent": lambda: callback_kind(
        lambda folder: keras_lr.HypergradientDescent(backup_dir=folder)
    ),
    "LearningRateWalk": lambda: callback_kind(
        lambda folder: keras_lr.LearningRateWalk(smoothing=0.5, backup_dir=folder)
    ),
    "optimize_schedule": schedule_kind,
    "compare_policies": records_kind,
    "Zooming": lambda: search_kind("Zooming"),
    "BLiE": lambda: search_kind("BLiE"),
}
