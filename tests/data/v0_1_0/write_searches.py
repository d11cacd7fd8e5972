"""Write the searches of this folder.

To be run with version 0.1.0 of keras_lr, whose files they are:

    python tests/data/v0_1_0/write_searches.py

Each search is stopped while a trial runs. The JSON file beside it says what 0.1.0 reads
from it and recommends, and how 0.1.0 continues.
"""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np

import keras_lr

FOLDER = Path(__file__).parent
TUNERS = {"zooming": keras_lr.Zooming, "blie": keras_lr.BLiE}
MAX_TRIALS = 7
STOPPED_IN = "4"


class Stopped(BaseException):
    """Ends a search as a signal does: KerasTuner does not handle it."""


def build(hp):
    """Return a network that is trained in a moment."""
    rate = hp.Float("learning_rate", 1e-4, 1e2, sampling="log")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), loss="mse", run_eagerly=True)
    return model


def open_search(name, directory):
    """Return the tuner of a search, with the trials that are in the directory."""
    return TUNERS[name](
        build,
        "val_loss",
        MAX_TRIALS,
        seed=0,
        checkpoint="none",
        directory=directory,
        project_name=name,
    )


def run(tuner):
    """Search, or continue a search."""
    x = np.random.default_rng(0).normal(size=(24, 4))
    y = x.sum(axis=1)
    tuner.search(x, y, batch_size=8, epochs=4, validation_data=(x, y), verbose=0)


def content(tuner):
    """Return the trials of a search, and the learning rate that it recommends."""
    trials = tuner.oracle.trainings()
    return {
        "trial_ids": [each.trial_id for each in trials],
        "learning_rates": [each.learning_rate for each in trials],
        "scores": [each.score for each in trials],
        "signals": [each.signal for each in trials],
        "recommended": tuner.best_arm().learning_rate,
    }


def write(name):
    """Search until a trial is stopped, and note how the search continues in a copy."""
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    tuner = open_search(name, FOLDER)
    run_trial = tuner.run_trial

    def stopped(trial, *args, **kwargs):
        if trial.trial_id == STOPPED_IN:
            raise Stopped
        return run_trial(trial, *args, **kwargs)

    tuner.run_trial = stopped
    with contextlib.suppress(Stopped):
        run(tuner)
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(FOLDER / name, Path(copy) / name)
        reopened = open_search(name, copy)
        expected = {"stopped": content(reopened)}
        run(reopened)
        expected["continued"] = content(reopened)
    (FOLDER / f"{name}.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    for search in TUNERS:
        write(search)
