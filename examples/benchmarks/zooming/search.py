"""Searches of the learning rate, end to end: `Zooming` and KerasTuner's own tuners.

    python examples/benchmarks/zooming/search.py

Two real tasks, an MLP on digits and one on breast cancer. Each search may train so many
times; what it recommends is then trained anew with five other seeds, and the mean score
of these counts. So luck of a single training is no merit. Every search of a task has
the same range of rates, and the same batches: new ones in each epoch, in the orders of
the seed. The rows in the CSV are of an older form, in which each training had the same
batches in every epoch. `Hyperband` trains for parts of the epochs; it gets as many
epochs in all as the others.

Rows are added to `results/zooming_search.csv`, one for each search, and those that are
there are not run again. `--summary` prints the table.
"""

import argparse
import contextlib
import csv
import functools
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import keras
import keras_tuner
import numpy as np
from sklearn import datasets

import keras_lr
from keras_lr.comparison.batches import shuffled_batches

RESULTS = Path(__file__).resolve().parents[1] / "results" / "zooming_search.csv"
HEADER = (
    *("task", "tuner", "trials", "seed", "learning_rate"),
    *("score", "trainings", "epochs_trained", "diverged"),
)
LOW, HIGH, EPOCHS, JUDGED = 1e-6, 10.0, 10, 5
BATCH_SIZE = 32


@dataclass(frozen=True)
class Task:
    """Data, the width of a network, and an optimizer."""

    load: Callable[[], tuple[np.ndarray, np.ndarray]]
    width: int
    optimizer: Callable[[float], keras.optimizers.Optimizer]

    def data(self) -> tuple[np.ndarray, ...]:
        """Return standardized data, two thirds to train on, one third to judge by."""
        x, y = self.load(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(x))
        x, y = x[order], y[order].astype("int32")
        part = 2 * len(x) // 3
        x = (x - x[:part].mean(0)) / (x[:part].std(0) + 1e-3)
        return (
            x[:part].astype("float32"),
            y[:part],
            x[part:].astype("float32"),
            y[part:],
        )

    def model(self, learning_rate: float) -> keras.Model:
        """Return a compiled network of two hidden layers."""
        classes = int(self.data()[1].max()) + 1
        hidden = [keras.layers.Dense(self.width, "relu") for _ in range(2)]
        head = keras.layers.Dense(classes, "softmax")
        model = keras.Sequential([*hidden, head])
        model.compile(
            self.optimizer(learning_rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    def arguments(self, seed: int) -> dict[str, Any]:
        """Return what `fit` and a search are given: batches in the orders of a seed."""
        x, y, *validation = self.data()
        return {
            "x": shuffled_batches((x, y), BATCH_SIZE, seed),
            "shuffle": False,  # They are.
            "epochs": EPOCHS,
            "validation_data": tuple(validation),
            "verbose": 0,
        }

    def fit(self, model: keras.Model, seed: int) -> float:
        """Train, and return the accuracy of the best epoch, as KerasTuner counts it."""
        history = model.fit(**self.arguments(seed))
        return max(history.history["val_accuracy"])


SGD = functools.partial(keras.optimizers.SGD, momentum=0.9)
TASKS = {
    "digits": Task(datasets.load_digits, 64, SGD),
    "breast_cancer": Task(datasets.load_breast_cancer, 32, keras.optimizers.Adam),
}


class EpochCount(keras.callbacks.Callback):
    """Counts epochs and trainings, in copies of itself too."""

    epochs = trainings = diverged = 0

    def __deepcopy__(self, memo):
        return self

    def on_train_begin(self, logs=None):
        """Count a training."""
        self.trainings += 1

    def on_epoch_end(self, epoch, logs=None):
        """Count an epoch."""
        self.epochs += 1
        self.diverged += not math.isfinite(logs["loss"])


def hyperband(build: Callable[..., keras.Model], trials: int, **kwargs) -> object:
    """Return a `Hyperband` whose brackets have about `trials` times all epochs."""
    return keras_tuner.Hyperband(build, max_epochs=EPOCHS, factor=3, **kwargs)


def of_trials(cls: type, build: Callable[..., keras.Model], trials: int, **kwargs):
    """Return a tuner with so many trials."""
    return cls(build, max_trials=trials, **kwargs)


TUNERS = {
    "Zooming": functools.partial(of_trials, keras_lr.Zooming),
    "BLiE": functools.partial(of_trials, keras_lr.BLiE),
    "BayesianOptimization": functools.partial(
        of_trials, keras_tuner.BayesianOptimization
    ),
    "RandomSearch": functools.partial(of_trials, keras_tuner.RandomSearch),
    "Hyperband": hyperband,
}


class Budget(keras.callbacks.Callback):
    """Ends the trainings of `Hyperband` when its epochs are used up."""

    def __init__(self, count: EpochCount, epochs: int) -> None:
        super().__init__()
        self.count, self.epochs = count, epochs

    def __deepcopy__(self, memo):
        return self

    def on_train_begin(self, logs=None):
        """End the search once there is nothing left."""
        if self.count.epochs >= self.epochs:
            raise keras_tuner.errors.FatalError("The budget is used up.")


def run(task: Task, tuner: str, trials: int, seed: int) -> dict[str, float]:
    """Search, train what is recommended, and return the row."""
    count = EpochCount()

    def build(hp):
        return task.model(hp.Float("learning_rate", LOW, HIGH, sampling="log"))

    with tempfile.TemporaryDirectory() as folder:
        # KerasTuner takes seed 0 for none, and draws each rate with the next seed:
        # searches with seeds beside each other would share rates.
        search = TUNERS[tuner](
            build,
            trials,
            objective="val_accuracy",
            seed=1000 * seed + 1,
            directory=folder,
        )
        keras.utils.set_random_seed(seed)
        with contextlib.suppress(keras_tuner.errors.FatalError):
            search.search(
                **task.arguments(seed),
                callbacks=[Budget(count, trials * EPOCHS), count],
            )
        rate = search.get_best_hyperparameters()[0].get("learning_rate")
    scores = []
    for judged in range(JUDGED):
        keras.backend.clear_session()
        keras.utils.set_random_seed(10_000 + judged)
        scores.append(task.fit(task.model(rate), 10_000 + judged))
    return {
        "learning_rate": rate,
        "score": fmean(scores),
        "trainings": count.trainings,
        "epochs_trained": count.epochs,
        "diverged": count.diverged,
    }


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows that are there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def summary(rows: Sequence[dict[str, str]]) -> str:
    """Return a table in Markdown: mean score and standard error for each search."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        key = row["task"], row["tuner"], row["trials"]
        groups.setdefault(key, []).append(100 * float(row["score"]))
    lines = [
        "| task | tuner | trials | accuracy | worst | searches |",
        "|" + "---|" * 6,
    ]
    for (task, tuner, trials), scores in sorted(groups.items()):
        error = stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else 0.0
        lines.append(
            f"| {task} | {tuner} | {trials} | {fmean(scores):.2f} ± {error:.2f} "
            f"| {min(scores):.2f} | {len(scores)} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS])
    parser.add_argument("--tuners", nargs="+", choices=TUNERS, default=[*TUNERS])
    parser.add_argument("--trials", nargs="+", type=int, default=[5, 7])
    parser.add_argument("--seeds", nargs="+", type=int, default=[*range(5)])
    parser.add_argument("--summary", action="store_true", help="only print the table")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    done = {
        (row["task"], row["tuner"], int(row["trials"]), int(row["seed"]))
        for row in read(options.output)
    }
    cases = [
        (task, tuner, trials, seed)
        for seed in options.seeds
        for trials in options.trials
        for task in options.tasks
        for tuner in options.tuners
    ]
    for case in [] if options.summary else cases:
        if case in done:
            continue
        task, tuner, trials, seed = case
        row = dict(zip(HEADER, case, strict=False))
        row |= run(TASKS[task], tuner, trials, seed)
        is_new = not options.output.exists()
        with options.output.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, HEADER)
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)
    print(summary(read(options.output)))


if __name__ == "__main__":
    main()
