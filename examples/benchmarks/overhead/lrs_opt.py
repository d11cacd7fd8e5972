"""What does the gradient with respect to a whole schedule cost, in time and memory?

    python examples/benchmarks/overhead/lrs_opt.py

takes one for trainings of 64 to 2048 steps of section 5's network, an MLP of
784-500x3-10 with batches of 100 digits, each in a new process: with all states kept,
and with the fewest that will do. The ratios are to plain `fit` of as many steps, right
before and right after, in seconds and in seconds of the processor. The peak is by how
much the process grew meanwhile, in states: copies of the weights, and of what the
optimizer keeps for them. A row for each is in `results/lrs_opt_cost.csv`. Linux only;
the longest trainings keep 7 gigabytes.
"""

import argparse
import csv
import ctypes
import gc
import itertools
import os
import resource
import threading
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
from paired_epochs import PROBLEMS, markdown

from keras_lr.rules.lrs_opt import smallest_capacity
from keras_lr.training.schedule import schedule_gradient
from keras_lr.training.schedule.final_loss import FinalLoss
from keras_lr.training.schedule.minibatches import ArrayBatches
from keras_lr.training.schedule.training_step import TrainingStep

RESULTS = Path(__file__).resolve().parents[1] / "results" / "lrs_opt_cost.csv"
BATCH_SIZE, WARM_UP = 100, 8
STEPS = (64, 128, 256, 512, 1024, 2048)
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05),
    "adam": lambda: keras.optimizers.Adam(1e-4),
}
COLUMNS = (
    *("optimizer", "states", "steps", "capacity", "state_mib", "fit_seconds"),
    *("gradient_seconds", "ratio", "fit_cpu", "gradient_cpu", "cpu_ratio"),
    *("peak_mib", "peak_states"),
)

Row = dict[str, Any]


def _measured(function: Callable[[], Any]) -> np.ndarray:
    """Return the seconds that pass, and those of the processor."""
    before = time.perf_counter(), time.process_time()
    function()
    return np.subtract((time.perf_counter(), time.process_time()), before)


def _resident() -> float:
    """Return the memory of this process in mebibytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


class _Growth:
    """By how many mebibytes this process grows at most, looked at all the time."""

    def __enter__(self) -> "_Growth":
        gc.collect()
        # What was freed before must not hide what is needed now.
        ctypes.CDLL(None).malloc_trim(0)
        self._start = self._highest = _resident()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._is_over.wait(0.005):
            self._highest = max(self._highest, _resident())

    def __exit__(self, *args: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def mebibytes(self) -> float:
        return self._highest - self._start


def _gradient(
    step: TrainingStep, final_loss: FinalLoss, batches: Any, steps: int, capacity: int
) -> None:
    rates = step.rates(np.full(steps, float(step.model.optimizer.learning_rate)))
    schedule_gradient.reverse(
        step, final_loss, step.state(), rates, batches, capacity=capacity
    )


def measure(optimizer: str, states: str, steps: int) -> Row:
    """Return a row of the table, measured in this process."""
    problem = PROBLEMS["mlp"]
    x, y = problem.load(None)
    keras.utils.set_random_seed(0)
    model = problem.make_model()
    model.compile(
        OPTIMIZERS[optimizer](),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    drawn = ArrayBatches((x, y), BATCH_SIZE, steps)
    batches = drawn.draw(np.random.default_rng(0))
    step = TrainingStep(model, drawn.example, "lrs_opt_cost")
    final_loss = FinalLoss(step, (x[:700], y[:700]), BATCH_SIZE)
    # Not arrays of as many rows, which would hide the peak of the states.
    rows = tf.data.Dataset.from_tensor_slices((x, y)).repeat().batch(BATCH_SIZE)

    def fit() -> None:
        model.fit(rows, steps_per_epoch=steps, verbose=0)

    # Traces all that is measured.
    fit()
    _gradient(step, final_loss, batches, WARM_UP, smallest_capacity(WARM_UP))
    capacity = steps if states == "all" else smallest_capacity(steps)
    before = _measured(fit)
    with _Growth() as growth:
        reverse = _measured(
            lambda: _gradient(step, final_loss, batches, steps, capacity)
        )
    peak = growth.mebibytes
    plain = (before + _measured(fit)) / 2.0
    mib = step.nbytes / 2**20
    ratio, cpu_ratio = reverse / plain
    numbers = (mib, plain[0], reverse[0], ratio, plain[1], reverse[1], cpu_ratio)
    numbers += (peak, peak / mib)
    texts = [f"{number:.4g}" for number in numbers]
    head = (optimizer, states, steps, capacity)
    return dict(zip(COLUMNS, (*head, *texts), strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the rows as they come, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--steps", type=int, nargs="+", default=STEPS)
    add("--optimizers", nargs="+", choices=OPTIMIZERS, default=["sgd"])
    add("--states", nargs="+", choices=("all", "least"), default=["all", "least"])
    add("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    rows = []
    with options.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for task in itertools.product(
            options.optimizers, options.states, options.steps
        ):
            with get_context("spawn").Pool(1) as pool:
                rows.append(pool.apply(measure, task))
            writer.writerow(rows[-1])
            file.flush()
    print(markdown([COLUMNS, *(tuple(map(str, row.values())) for row in rows)]))


if __name__ == "__main__":
    main()
