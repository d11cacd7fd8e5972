"""A search in a separate process, to be killed; see `test_zooming_faults.py`.

    python zooming_process.py DIRECTORY TRIALS SECONDS [real] [blie]

A trial takes so many seconds and returns the value of a formula, or with `real` trains
a network.
The search is by `Zooming`, or with `blie` by `BLiE`.
Each that begins or ends is a line of `DIRECTORY/log`.
"""

import math
import os
import random
import sys
import time
from pathlib import Path

import keras_tuner

import keras_lr
from keras_lr._keras_tuner import chief

BEST = 0.01


def build(hp):
    """Return a network that is trained in a moment."""
    import keras

    rate = hp.Float("learning_rate", 1e-5, 1.0, sampling="log")
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), loss="mse", run_eagerly=True)
    return model


class Watched:
    """Says what a search does, and takes its time."""

    def __init__(self, *args, log, seconds, is_real, **kwargs):
        self.log, self.seconds, self.is_real = log, seconds, is_real
        super().__init__(*args, **kwargs)

    def note(self, what, trial):
        """Add a line, which reaches the file before the process can be killed."""
        line = f"{self.tuner_id} {what} {trial.trial_id}\n".encode()
        descriptor = os.open(self.log, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, line)
        os.close(descriptor)

    def run_trial(self, trial, *args, **kwargs):
        """Return a score that depends on the rate and on the seed alone."""
        self.note("begins", trial)
        time.sleep(self.seconds)
        if self.is_real:
            result = super().run_trial(trial, *args, **kwargs)
        else:
            values = trial.hyperparameters.values
            luck = random.Random(values["zooming/seed"]).uniform(-0.01, 0.01)
            rate = values["learning_rate"]
            loss = 0.1 + 0.2 * abs(math.log10(rate / BEST)) + luck
            result = math.nan if rate > 0.2 else loss
        self.note("ends", trial)
        return result


class Zooming(Watched, keras_lr.Zooming):
    """One rate after the other."""


class BLiE(Watched, keras_lr.BLiE):
    """Batches of rates."""


def main(directory, trials, seconds, *options):
    """Search, or continue the search that is there."""
    import numpy as np

    chief.CHIEF_LOOKS_EVERY, chief.WORKER_IS_LATE = 0.5, 5.0
    folder, is_real = Path(directory), "real" in options
    objective = "loss" if is_real else keras_tuner.Objective("score", "min")
    search = BLiE if "blie" in options else Zooming
    tuner = search(
        build,
        None if not is_real else objective,
        int(trials),
        seed=0,
        directory=folder,
        log=folder / "log",
        seconds=float(seconds),
        is_real=is_real,
    )
    x = np.random.default_rng(0).normal(size=(32, 5))
    tuner.search(x, x.sum(axis=1), epochs=3, verbose=0)
    print("finished", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
