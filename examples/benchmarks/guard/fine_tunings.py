"""Does the guard leave healthy fine-tuning alone?

A model is trained by Adam for some epochs, and continued for 300 steps by a callback,
with batches that are new in each epoch. Counted are the times that the training was
rolled back; a fine-tuning is healthy if it ends with a lower loss of all training rows
than it began with. `Keras alone` is the same optimizer at its own rate, without a
callback: what these steps do to the loss anyway.

    python examples/benchmarks/guard/fine_tunings.py

writes `results/guard_fine_tunings.csv`, adds the runs that are missing, and prints the
table. About ten minutes for a callback on one core.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from runs import append, parser, publish, read

import keras_lr
from keras_lr.comparison.batches import shuffled_batches

ALONE = "Keras alone"
CALLBACKS = ("MARTHE", "LearningRateWalk", ALONE)
DATA = ("digits", "breast_cancer")
STEPS = 300
OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "momentum": lambda: keras.optimizers.SGD(momentum=0.9),
    "adam": keras.optimizers.Adam,
}


class Run(NamedTuple):
    """What identifies a row of the CSV."""

    callback: str
    data: str
    optimizer: str
    epochs: int
    batch_size: int
    seed: int


def plan(callbacks: Sequence[str]) -> Iterator[Run]:
    """Yield a hundred runs of each callback, of each batch size some."""
    kinds = itertools.product(DATA, OPTIMIZERS, (5, 20), (1, 4, 16, 64))
    each = list(kinds)
    for name in callbacks:
        for number in range(100):
            yield Run(name, *each[number % len(each)], seed=number // len(each))


def rows_of(data: str) -> tuple[np.ndarray, np.ndarray]:
    """Return standardized features, and classes."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    x = (x - x.mean(0)) / (x.std(0) + 1e-8)
    return x.astype("float32"), y.astype("int32")


def train(run: Run) -> dict[str, Any]:
    """Return the row of a run."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(run.seed)
    x, y = rows_of(run.data)
    hidden = [keras.layers.Dense(64, "relu") for _ in range(2)]
    head = keras.layers.Dense(int(y.max()) + 1, "softmax")
    model = keras.Sequential([keras.Input(x.shape[1:]), *hidden, head])
    loss = "sparse_categorical_crossentropy"
    model.compile("adam", loss)
    model.fit(shuffled_batches((x, y), 32, run.seed), epochs=run.epochs, **QUIET)
    model.compile(OPTIMIZERS[run.optimizer](), loss, jit_compile=False)
    before = model.evaluate(x, y, batch_size=500, verbose=0)
    is_alone = run.callback == ALONE
    callbacks = [] if is_alone else [getattr(keras_lr, run.callback)()]
    steps_per_epoch = -(-len(x) // run.batch_size)
    epochs = max(STEPS // steps_per_epoch, 1)
    batches = shuffled_batches((x, y), run.batch_size, run.seed + 1)
    if steps_per_epoch > STEPS:
        batches = batches.take(STEPS)
    model.fit(batches, epochs=epochs, callbacks=callbacks, **QUIET)
    after = model.evaluate(x, y, batch_size=500, verbose=0)
    losses = {"loss_before": f"{before:.6g}", "loss_after": f"{after:.6g}"}
    restarts = sum(len(each.restarts) for each in callbacks)
    return {**run._asdict(), "restarts": restarts, **losses}


QUIET = {"shuffle": False, "verbose": 0}


def table(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """Return what happened to the fine-tunings of each callback and batch size."""
    lines = [["callback", "batch size", "fine-tunings", "rolled back", "end lower"]]
    keys = dict.fromkeys((row["callback"], row["batch_size"]) for row in rows)
    for name, size in keys:
        group = [r for r in rows if (r["callback"], r["batch_size"]) == (name, size)]
        rolled = sum(int(row["restarts"]) > 0 for row in group)
        lower = sum(float(r["loss_after"]) < float(r["loss_before"]) for r in group)
        shown = name if name == ALONE else f"`{name}`"
        lines.append([shown, size, *map(str, (len(group), rolled, lower))])
    return lines


def main(arguments: Any = None) -> None:
    """Train what is missing, and print the table."""
    command_line = parser(__doc__, "guard_fine_tunings.csv")
    command_line.add_argument("--callbacks", nargs="+", default=CALLBACKS)
    options = command_line.parse_args(arguments)
    keys = {tuple(row[name] for name in Run._fields) for row in read(options.output)}
    for run in () if options.summary else plan(options.callbacks):
        if tuple(map(str, run)) not in keys:
            append(options.output, train(run))
    publish(options, table(read(options.output)), "fine_tunings.py")


if __name__ == "__main__":
    main()
