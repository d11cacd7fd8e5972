"""Trainings, searches and comparisons that continue where they were killed.

Each is as the documentation tells it, small, and called with a directory of its own. It
returns what it came to, and says by two functions when its work begins and when a part
of it is done.
"""

import hashlib
import os
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_lr

Say = Callable[[], None]
Outcome = dict[str, str]
Rows = tuple[np.ndarray, np.ndarray]

ROWS, FEATURES, BATCH_SIZE, EPOCHS = 48, 4, 8, 16
STEPS = ROWS // BATCH_SIZE
TRIALS = {"Zooming": 5, "BLiE": 6}
BACKUP = "backup"


def data() -> Rows:
    """Return a small regression problem."""
    x = np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype("float32")
    return x, np.tanh(x[:, :1] - x[:, 1:2])


def build(optimizer: keras.optimizers.Optimizer | None = None) -> keras.Model:
    """Return a small compiled network, always the same one."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((FEATURES,)), *layers])
    chosen = optimizer or keras.optimizers.SGD(0.02, momentum=0.9)
    model.compile(chosen, "mse", jit_compile=False)
    return model


def digest(value: Any) -> str:
    """Return what changes if any bit of an array, or of a text, does."""
    plain = value if isinstance(value, bytes) else np.asarray(value).tobytes()
    return hashlib.sha256(plain).hexdigest()[:16]


def digests(values: Mapping[str, Any]) -> Outcome:
    """Return a digest for each value."""
    return {name: digest(value) for name, value in values.items()}


class _Says(keras.callbacks.Callback):
    """Says when the first batch is done, and each epoch."""

    def __init__(self, begins: Say, is_done: Say) -> None:
        super().__init__()
        self.begins, self.is_done = begins, is_done

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.begins()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.is_done()


def trained(
    directory: Path,
    begins: Say,
    is_done: Say,
    *,
    make: Callable[[Path], Any] | None = None,
    optimizer: Callable[[], keras.optimizers.Optimizer] | None = None,
) -> Outcome:
    """Fit with `BackupAndRestore`; return weights, optimizer and the last epoch's logs.

    Args:
        directory: Place of the backup, and of the callback's own one.
        begins: Function to call when the work begins.
        is_done: Function to call after an epoch.
        make: Function of `backup_dir` that makes a callback, or `None`.
        optimizer: Function that makes the optimizer, or `None` for the usual one.
    """
    model = build(None if optimizer is None else optimizer())
    backup = keras.callbacks.BackupAndRestore(str(directory / BACKUP))
    own = [] if make is None else [make(directory / "state")]
    callbacks = [backup, *own, _Says(begins, is_done)]
    x, y = data()
    columns = [] if make is None else ["learning_rate"]
    history = model.fit(
        *(x, y),
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    ).history
    weights = {each.path: each.numpy() for each in model.weights}
    slots = {each.path: each.numpy() for each in model.optimizer.variables}
    # What a step recorded last is not known to a fit that resumes after it.
    logs = {f"logs/{name}": history[name][-1:] for name in ("loss", *columns)}
    return digests(weights | slots | logs)


def _counting_fits(begins: Say, is_done: Say) -> Any:
    plain = keras.Model.fit

    def fit(model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        begins()
        history = plain(model, *args, **kwargs)
        is_done()
        return history

    return mock.patch.object(keras.Model, "fit", fit)


def searched(directory: Path, begins: Say, is_done: Say, *, name: str) -> Outcome:
    """Search a rate; return each trial's rate and score, and the best weights."""

    def built(hp: Any) -> keras.Model:
        rate = hp.Float("learning_rate", 1e-5, 1.0, sampling="log")
        return build(keras.optimizers.SGD(rate))

    tuner = getattr(keras_lr, name)(
        built, "loss", TRIALS[name], seed=0, directory=directory, overwrite=False
    )
    x, y = data()
    with _counting_fits(begins, is_done):
        tuner.search(x, y, epochs=1, verbose=0)
    (model,) = tuner.get_best_models(1)
    trials = {
        f"trial {each.trial_id}": [each.learning_rate, each.score]
        for each in tuner.oracle.trainings()
    }
    weights = {str(i): each for i, each in enumerate(model.get_weights())}
    best = {"best rate": tuner.best_arm().learning_rate}
    return digests(trials | weights | best)


def compared(directory: Path, begins: Say, is_done: Say) -> Outcome:
    """Compare policies; return all that is in the records except the time."""
    policies = ["default", "cosine_decay"]
    x, y = data()
    with _counting_fits(begins, is_done):
        result = keras_lr.compare_policies(
            build,
            ((x, y), (x, y)),
            policies,
            seeds=3,
            epochs=2,
            directory=directory,
            verbose=0,
        )
    records = {}
    for each in result.records:
        values = {k: v for k, v in each.to_dict().items() if k != "seconds"}
        records[f"{each.policy}, seed {each.seed}"] = repr(values).encode()
    return digests(records)


def commanded(directory: Path, begins: Say, is_done: Say) -> Outcome:
    """Run the command line; return the tables that it writes, except the time."""
    options = ["--data", "iris", "--policies", "default", "cosine_decay"]
    options += ["--epochs", "2", "--seeds", "3", "--output", str(directory)]
    with (
        _counting_fits(begins, is_done),
        mock.patch.object(sys, "argv", ["keras_lr", *options]),
    ):
        try:
            runpy.run_module("keras_lr", run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
    tables = {}
    for name in ("table.csv", "runs.csv"):
        lines = (directory / name).read_text(encoding="utf-8").splitlines()
        cells = [line.split(",") for line in lines]
        columns = [i for i, title in enumerate(cells[0]) if "seconds" not in title]
        tables[name] = repr([[row[i] for i in columns] for row in cells]).encode()
    pictures = sorted(each.name for each in directory.iterdir() if each.is_file())
    return digests(tables | {"files": repr(pictures).encode()})


def optimized(directory: Path, begins: Say, is_done: Say) -> Outcome:
    """Optimize a schedule; return it, and the search without its time."""
    from keras_lr.schedules.search import ScheduleSearch

    plain = ScheduleSearch.step

    def step(search: ScheduleSearch) -> None:
        plain(search)
        begins()
        is_done()

    x, y = data()
    with mock.patch.object(ScheduleSearch, "step", step):
        result = keras_lr.optimize_schedule(
            build,
            (x, y),
            (x, y),
            steps=16,
            batch_size=BATCH_SIZE,
            outer_steps=40,
            backup_dir=directory,
            verbose=0,
        )
    history = {name: x for name, x in result.history.items() if name != "seconds"}
    best = {"schedule": result.schedule.values, "objective": result.objective}
    return digests(history | best)


def _with(make: Callable[[Path], Any]) -> Callable[..., Outcome]:
    def case(directory: Path, begins: Say, is_done: Say) -> Outcome:
        return trained(directory, begins, is_done, make=make)

    return case


def _adamo(directory: Path, begins: Say, is_done: Say) -> Outcome:
    return trained(directory, begins, is_done, optimizer=keras_lr.AdaMo)


def _zooming(directory: Path, begins: Say, is_done: Say) -> Outcome:
    return searched(directory, begins, is_done, name="Zooming")


def _blie(directory: Path, begins: Say, is_done: Say) -> Outcome:
    return searched(directory, begins, is_done, name="BLiE")


CASES: dict[str, Callable[[Path, Say, Say], Outcome]] = {
    "Keras alone": trained,
    "LipschitzLR": _with(lambda folder: keras_lr.LipschitzLR()),
    "MARTHE": _with(lambda folder: keras_lr.MARTHE(backup_dir=folder)),
    "RTHO": _with(lambda folder: keras_lr.RTHO(backup_dir=folder)),
    "HypergradientDescent": _with(
        lambda folder: keras_lr.HypergradientDescent(backup_dir=folder)
    ),
    "LearningRateWalk": _with(
        lambda folder: keras_lr.LearningRateWalk(backup_dir=folder)
    ),
    "AdaMo": _adamo,
    "Zooming": _zooming,
    "BLiE": _blie,
    "compare_policies": compared,
    "python -m keras_lr": commanded,
    "optimize_schedule": optimized,
}
"""What is killed, by name; `Keras alone` is what the callbacks are measured by."""
