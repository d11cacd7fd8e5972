"""What stays in memory after a fit, and does a long fit get slower?

    python examples/benchmarks/overhead/refits.py

fits one small model 200 times for each callback, in a process of its own, and prints
the megabytes that a fit leaves behind: the slope of the resident memory over the second
half, after a collection of garbage. Each callback is used as one object, and as a new
one with the same arguments in each fit. `traced` is the number of refits that traced
the model anew, `seconds_first` the time of the first fit, `seconds_later` the median of
the others. The rows
are in `results/refits.csv`; those that are there are not measured again. Some 20
minutes on one core.

    python examples/benchmarks/overhead/refits.py --steps 200000

trains one fit of as many steps for each callback, in 100 epochs, and prints the
processor's time of a step in the last tenth over that in the first one, without the
epoch in which the step is traced. The rows are in `results/long_fits.csv`. Linux only.
"""

import argparse
import csv
import ctypes
import gc
import itertools
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from paired_epochs import markdown

import keras_lr

RESULTS = Path(__file__).resolve().parents[1] / "results"
ROWS, FEATURES, BATCH_SIZE, EPOCHS = 64, 8, 32, 100
# To collect all garbage takes longer than such a fit.
LOOK_EVERY = 10
COLUMNS = ("callback", "objects", "refits", "mb_per_refit", "traced")
COLUMNS += ("seconds_first", "seconds_later")
LONG_COLUMNS = ("callback", "steps", "last_over_first", "microseconds_per_step")

Row = dict[str, Any]
Make = Callable[[], list[keras.callbacks.Callback]]

CALLBACKS: dict[str, Make] = {
    "plain": lambda: [],
    "MARTHE": lambda: [keras_lr.MARTHE()],
    "MARTHE with data": lambda: [keras_lr.MARTHE(VALIDATION)],
    "RTHO": lambda: [keras_lr.RTHO()],
    "HypergradientDescent": lambda: [keras_lr.HypergradientDescent()],
    "LearningRateWalk, slope": lambda: [keras_lr.LearningRateWalk()],
    "LearningRateWalk, loss": lambda: [keras_lr.LearningRateWalk(probe="loss")],
    "LipschitzLR": lambda: [keras_lr.LipschitzLR()],
}


def _data() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype("float32")
    return x, x[:, :1]


VALIDATION = _data()


def _model(activation: Callable[[Any], Any] = keras.activations.relu) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, activation), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((FEATURES,)), *layers])
    model.compile(keras.optimizers.SGD(momentum=0.9), loss="mse", jit_compile=False)
    return model


def _resident() -> float:
    """Return the megabytes of this process, without garbage."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def refits(callback: str, objects: str, number: int) -> Row:
    """Return a row about refits, measured in this process."""
    tf.get_logger().setLevel("ERROR")
    calls = []

    def counted_relu(inputs: Any) -> Any:
        calls.append(None)
        return keras.activations.relu(inputs)

    make, model, (x, y) = CALLBACKS[callback], _model(counted_relu), _data()
    callbacks = make()
    sizes, seconds, calls_after = [], [], []
    for index in range(number + 1):
        if objects == "new":
            callbacks = make()
        start = time.perf_counter()
        model.fit(x, y, batch_size=BATCH_SIZE, verbose=0, callbacks=callbacks)
        seconds.append(time.perf_counter() - start)
        calls_after.append(len(calls))
        if index % LOOK_EVERY == 0:
            sizes.append((index, _resident()))
    slope = np.polyfit(*zip(*sizes[len(sizes) // 2 :], strict=True), 1)[0]
    later = statistics.median(seconds[1:])
    traced = int(np.count_nonzero(np.diff(calls_after)))
    numbers = f"{slope:.3f}", traced, f"{seconds[0]:.2f}", f"{later:.2f}"
    return dict(zip(COLUMNS, (callback, objects, number, *numbers), strict=True))


class _Clock(keras.callbacks.Callback):
    """Notes the processor's time at the end of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.times.append(time.process_time())


def long_fit(callback: str, steps: int) -> Row:
    """Return a row about one long fit, measured in this process."""
    model, clock = _model(), _Clock()
    batches = tf.data.Dataset.from_tensor_slices(_data()).repeat().batch(BATCH_SIZE)
    model.fit(
        batches,
        steps_per_epoch=steps // EPOCHS,
        epochs=EPOCHS,
        verbose=0,
        callbacks=[*CALLBACKS[callback](), clock],
    )
    epochs = np.diff(clock.times)
    tenth = len(epochs) // 10
    first, last = np.median(epochs[:tenth]), np.median(epochs[-tenth:])
    microseconds = 1e6 * np.median(epochs) / (steps // EPOCHS)
    row = (callback, steps, f"{last / first:.3f}", f"{microseconds:.0f}")
    return dict(zip(LONG_COLUMNS, row, strict=True))


def measure(
    function: Callable[..., Row],
    tasks: Sequence[tuple[Any, ...]],
    columns: Sequence[str],
    path: Path,
) -> list[Row]:
    """Return the rows of all tasks; measure those that are not in the file."""
    rows: list[Row] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    keys = columns[: len(tasks[0])]
    for task in tasks:
        if [str(each) for each in task] in [[row[key] for key in keys] for row in rows]:
            continue
        with get_context("spawn").Pool(1) as pool:
            row = pool.apply(function, task)
        rows.append({name: str(value) for name, value in row.items()})
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the rows as they come, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--callbacks", nargs="+", choices=CALLBACKS, default=list(CALLBACKS))
    add("--refits", type=int, default=200)
    add("--steps", type=int, help="Steps of one long fit, in place of refits.")
    add("--output", type=Path, help="The file of the rows.")
    options = parser.parse_args(arguments)
    if options.steps is None:
        tasks = list(
            itertools.product(options.callbacks, ("same", "new"), [options.refits])
        )
        output = options.output or RESULTS / "refits.csv"
        rows, columns = measure(refits, tasks, COLUMNS, output), COLUMNS
    else:
        tasks = [(name, options.steps) for name in options.callbacks]
        output = options.output or RESULTS / "long_fits.csv"
        rows, columns = measure(long_fit, tasks, LONG_COLUMNS, output), LONG_COLUMNS
    print(markdown([columns, *(tuple(row.values()) for row in rows)]))


if __name__ == "__main__":
    main()
