"""What does a search cost beyond its trainings?

Seven trials of `keras_lr.Zooming` on digits, and the same seven trainings by plain
Keras: the same rates, seeds and numbers of epochs, one after the other.

    python examples/benchmarks/overhead/zooming.py

writes `results/zooming_overhead.csv`, a row for each round, and prints the medians and
quartiles of the ratios. In each round the search and the trainings alone take turns, in
a random order, so that what slows the machine down for a while hits both. Both start
each training as KerasTuner does, with an empty session.
"""

import argparse
import csv
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import keras_tuner
import numpy as np
from sklearn.datasets import load_digits

import keras_lr

RESULTS = Path(__file__).resolve().parents[1] / "results" / "zooming_overhead.csv"
HEADER = ("round", "search_seconds", "alone_seconds", "search_cpu", "alone_cpu")
TRIALS = 7

Plan = list[tuple[float, int, int]]


def data() -> tuple[np.ndarray, ...]:
    """Return 1000 digits to train on and 797 to judge by."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype("float32"), y[order]
    return x[:1000], y[:1000], x[1000:], y[1000:]


def model_at(learning_rate: float) -> keras.Model:
    """Return a compiled network of two hidden layers."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(learning_rate, momentum=0.9),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def build(hp: keras_tuner.HyperParameters) -> keras.Model:
    """Return the model of a trial."""
    return model_at(hp.Float("learning_rate", 1e-5, 10.0, sampling="log"))


def search(epochs: int, checkpoint: str) -> Plan:
    """Search, and return rate, seed and number of epochs of each training."""
    x, y, x_validation, y_validation = data()
    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_lr.Zooming(
            build,
            "val_accuracy",
            TRIALS,
            seed=0,
            checkpoint=checkpoint,
            directory=folder,
        )
        tuner.search(
            x,
            y,
            validation_data=(x_validation, y_validation),
            epochs=epochs,
            verbose=0,
        )
        return [
            (
                trial.hyperparameters.get("learning_rate"),
                trial.hyperparameters.values["zooming/seed"],
                int(trial.metrics.get_last_value("zooming/epochs")),
            )
            for trial in tuner.oracle.trials.values()
        ]


def alone(plan: Plan) -> None:
    """Do the same trainings without a search."""
    x, y, x_validation, y_validation = data()
    for rate, seed, epochs in plan:
        keras.backend.clear_session()
        gc.collect()
        keras.utils.set_random_seed(seed)
        model_at(rate).fit(
            x,
            y,
            validation_data=(x_validation, y_validation),
            epochs=epochs,
            verbose=0,
        )


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return wall and processor seconds."""
    start, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - cpu


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write a row for each round, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--checkpoint", default="all", choices=("all", "best", "none"))
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    # Once before, untimed: what is loaded and traced for the first time.
    plan = search(options.epochs, options.checkpoint)
    alone(plan)
    ratios = []
    with options.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number in range(options.rounds):
            runs = {
                "search": lambda: search(options.epochs, options.checkpoint),
                "alone": lambda: alone(plan),
            }
            order = np.random.default_rng(number).permutation(list(runs))
            times = {name: timed(runs[name]) for name in order}
            seconds = [times[name][i] for i in (0, 1) for name in ("search", "alone")]
            writer.writerow([number, *(f"{each:.4f}" for each in seconds)])
            file.flush()
            ratios.append((seconds[0] / seconds[1], seconds[2] / seconds[3]))
            print(number, *(f"{each:.3f}" for each in ratios[-1]), flush=True)
    for name, column in zip(
        ("time", "CPU time"), zip(*ratios, strict=True), strict=True
    ):
        lower, median, upper = np.quantile(column, [0.25, 0.5, 0.75])
        print(f"{name}: {median:.3f} ({lower:.3f} to {upper:.3f}) of trainings alone")


if __name__ == "__main__":
    main()
