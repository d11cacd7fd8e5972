"""What do the callbacks and optimizers do with data and models at the extremes?

    python examples/benchmarks/reliability/extremes.py --write

trains a small network under each condition, with each callback and each optimizer of
the package, and with Keras alone: the same optimizer without a callback, or Keras's own
in the place of ours. Allowed are: finite weights and a finite rate, with a warning or
without; a `ValueError` of ours; and whatever Keras alone does too, an exception of the
same kind or weights that are not finite. Anything else is a fault. The rows are in
`results/extremes.csv`; those that are there are not run again. Some 10 minutes on one
core.
"""

import argparse
import functools
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).resolve().parents[1] / "guard"))

import keras
import numpy as np
import runs
from corruptions import is_of_ours
from keras import ops
from runs import append, read

import keras_lr

PAGE = runs.DOCS / "reliability.md"
ROWS, FEATURES, CLASSES, BATCH_SIZE, EPOCHS = 24, 4, 3, 8, 3
Data = dict[str, Any]
CALLBACKS = (
    *("LipschitzLR", "LearningRateWalk"),
    *("HypergradientDescent", "RTHO", "MARTHE"),
)
OPTIMIZERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "AdaMo": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "AdaptiveRMSprop": keras.optimizers.RMSprop,
    "AutoAdam": keras.optimizers.Adam,
}
"""Our optimizers, and the one of Keras that each is measured by."""
METHODS = (*CALLBACKS, *OPTIMIZERS)


def usual() -> Data:
    """Return rows of a regression without noise."""
    x = np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype("float32")
    return {"x": x, "y": x[:, :1] - x[:, 1:2]}


def classes() -> Data:
    """Return rows of three classes."""
    return usual() | {"y": np.arange(ROWS) % CLASSES}


def network(
    outputs: int = 1,
    loss: Any = "mse",
    *,
    weight: float | None = None,
    dtype: Any = None,
    learning_rate: float = 0.01,
    trainable: bool = True,
) -> Callable[[Any], keras.Model]:
    """Return a function of an optimizer that builds and compiles a network.

    Args:
        outputs: Number of outputs; with more than one, a softmax.
        loss: Loss to compile with.
        weight: Value of all weights at first; `None` for Keras's.
        dtype: Policy of the layers.
        learning_rate: Rate of an optimizer that has one.
        trainable: Whether the weights are trained.
    """

    def build(optimizer: Any) -> keras.Model:
        keras.utils.set_random_seed(0)
        layers = [
            keras.layers.Dense(8, "tanh", dtype=dtype),
            keras.layers.Dense(outputs, dtype=dtype),
        ]
        if outputs > 1:
            layers.append(keras.layers.Softmax(dtype="float32"))
        model = keras.Sequential([keras.Input((FEATURES,)), *layers])
        if weight is not None:
            model.set_weights([np.full_like(x, weight) for x in model.get_weights()])
        model.trainable = trainable
        is_plain = isinstance(optimizer, keras.optimizers.SGD)
        if learning_rate != 0.01 and is_plain:
            optimizer.learning_rate = learning_rate
        model.compile(optimizer, loss, jit_compile=False)
        return model

    return build


def _with(name: str, value: Any, where: Any = ()) -> Callable[[], Data]:
    """Return a function that gives the usual rows, with other numbers in some place."""

    def make() -> Data:
        data = usual()
        data[name] = np.array(data[name])
        data[name][where] = value
        return data

    return make


def _scaled(name: str, factor: float) -> Callable[[], Data]:
    return lambda: usual() | {name: usual()[name] * np.float32(factor)}


def _weighted(*weights: float) -> Callable[[], Data]:
    parts = [np.full(ROWS // len(weights), each) for each in weights]
    return lambda: usual() | {"sample_weight": np.concatenate(parts)}


def _first(rows: int, **options: Any) -> Callable[[], Data]:
    return lambda: {name: x[:rows] for name, x in usual().items()} | options


def _as(dtype: str) -> Callable[[], Data]:
    return lambda: usual() | {"x": (4 * usual()["x"]).astype(dtype)}


def _labels(make: Callable[[np.ndarray], np.ndarray]) -> Callable[[], Data]:
    return lambda: classes() | {"y": make(classes()["y"])}


class Condition(NamedTuple):
    """A condition: a network, by its name in `NETWORKS`, and data."""

    network: str
    data: Callable[[], Data] = usual


NETWORKS: dict[str, Callable[[Any], keras.Model]] = {
    "regression": network(),
    "classes": network(CLASSES, "sparse_categorical_crossentropy"),
    "constant": network(loss=lambda y, p: 1.0 + 0.0 * ops.mean(p, axis=-1)),
    "zero": network(loss=lambda y, p: 0.0 * ops.mean(p, axis=-1)),
    "negative": network(loss=lambda y, p: ops.mean(ops.square(y - p), axis=-1) - 9.0),
    "nan": network(loss=lambda y, p: ops.mean(p, axis=-1) * math.nan),
    "mixed": network(dtype="mixed_float16"),
    "float64": network(dtype="float64"),
    "zeros": network(weight=0.0),
    "huge": network(weight=1e20),
    "broken": network(weight=math.nan),
    "frozen": network(trainable=False),
    "slow": network(learning_rate=1e-30),
    "fast": network(learning_rate=1e10),
}
CONDITIONS: dict[str, Condition] = {
    "usual": Condition("regression"),
    "a NaN in x": Condition("regression", _with("x", math.nan, (3, 1))),
    "all of x NaN": Condition("regression", _with("x", math.nan)),
    "infinity in x": Condition("regression", _with("x", math.inf, (3, 1))),
    "a NaN in y": Condition("regression", _with("y", math.nan, 3)),
    "all of y NaN": Condition("regression", _with("y", math.nan)),
    "infinity in y": Condition("regression", _with("y", math.inf, 3)),
    "x times 1e20": Condition("regression", _scaled("x", 1e20)),
    "x times 1e37": Condition("regression", _scaled("x", 1e37)),
    "x times 1e-30": Condition("regression", _scaled("x", 1e-30)),
    "x all 0": Condition("regression", _with("x", 0.0)),
    "y times 1e5": Condition("regression", _scaled("y", 1e5)),
    "y times 1e10": Condition("regression", _scaled("y", 1e10)),
    "y times 1e30": Condition("regression", _scaled("y", 1e30)),
    "y times 1e-30": Condition("regression", _scaled("y", 1e-30)),
    "y all 0": Condition("regression", _with("y", 0.0)),
    "y all 3": Condition("regression", _with("y", 3.0)),
    "one feature of 1e8": Condition("regression", _with("x", 1e8, (slice(None), 0))),
    "one target of 1e6": Condition("regression", _with("y", 1e6, 5)),
    "all rows the same": Condition(
        "regression", lambda: {k: np.repeat(v[:1], ROWS, 0) for k, v in usual().items()}
    ),
    "sample weights 0": Condition("regression", _weighted(0.0)),
    "the first batch of weight 0": Condition("regression", _weighted(0.0, 1.0, 1.0)),
    "sample weights 1e20": Condition("regression", _weighted(1e20)),
    "sample weights -1": Condition("regression", _weighted(-1.0)),
    "whole numbers": Condition("regression", _as("int32")),
    "bytes": Condition("regression", _as("uint8")),
    "float16": Condition("regression", _as("float16")),
    "float64": Condition("regression", _as("float64")),
    "no row": Condition("regression", _first(0)),
    "one row": Condition("regression", _first(1)),
    "a last batch of one row": Condition("regression", _first(17)),
    "batches of one row": Condition("regression", _first(6, batch_size=1)),
    "one class": Condition("classes", _labels(np.zeros_like)),
    "a class that never comes": Condition("classes", _labels(lambda y: y % 2)),
    "a class too many": Condition("classes", _labels(lambda y: y + 1)),
    "features of 1e4, classes": Condition(
        "classes", lambda: classes() | {"x": 1e4 * usual()["x"]}
    ),
    "a constant loss": Condition("constant"),
    "a loss of 0": Condition("zero"),
    "a negative loss": Condition("negative"),
    "a loss of NaN": Condition("nan"),
    "mixed precision": Condition("mixed"),
    "a float64 model": Condition("float64"),
    "weights of 0": Condition("zeros"),
    "weights of 1e20": Condition("huge"),
    "weights of NaN": Condition("broken"),
    "nothing to train": Condition("frozen"),
    "a compiled rate of 1e-30": Condition("slow"),
    "a compiled rate of 1e10": Condition("fast"),
}
OUTCOMES = {
    "finite": "finite",
    "warned": "warned",
    "refused": "refused in our words",
    "as Keras": "as Keras alone",
}


class Trained(NamedTuple):
    """What came of a training.

    Attributes:
        error: The exception, or `None`.
        said: Warnings.
        is_finite: Whether weights and learning rate are finite.
    """

    error: Exception | None
    said: list[str]
    is_finite: bool


@functools.lru_cache(maxsize=2)
def compiled(name: str, method: str, is_plain: bool) -> tuple[keras.Model, list[Any]]:
    """Return a model and its first state; it is traced once for all conditions."""
    plain = OPTIMIZERS.get(method, OPTIMIZERS["AdaMo"])
    is_ours = method in OPTIMIZERS and not is_plain
    model = NETWORKS[name](getattr(keras_lr, method)() if is_ours else plain())
    model.optimizer.build(model.trainable_variables)
    variables = [*model.weights, *model.optimizer.variables]
    return model, [each.numpy() for each in variables]


def train(condition: Condition, method: str, is_plain: bool) -> Trained:
    """Train under a condition, with a method or with Keras alone."""
    model, state = compiled(condition.network, method, is_plain)
    variables = [*model.weights, *model.optimizer.variables]
    for variable, value in zip(variables, state, strict=True):
        variable.assign(value)
    has_callback = method in CALLBACKS and not is_plain
    callbacks = [getattr(keras_lr, method)()] if has_callback else []
    data = {"batch_size": BATCH_SIZE} | condition.data()
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(
                **data, epochs=EPOCHS, callbacks=callbacks, shuffle=False, verbose=0
            )
        except Exception as raised:
            error = raised
    said = [str(each.message) for each in caught if each.category is UserWarning]
    ours = [text for text in said if any(name in text for name in METHODS)]
    values = [*model.get_weights(), np.asarray(float(model.optimizer.learning_rate))]
    return Trained(error, ours, all(np.isfinite(each).all() for each in values))


def outcome(with_method: Trained, plain: Trained) -> tuple[str, str]:
    """Return what came of it, in a word, and a remark."""
    error = with_method.error
    if error is not None:
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, ValueError) and is_of_ours(error):
            return "refused", text
        is_alike = type(error) is type(plain.error)
        return ("as Keras" if is_alike else "fault"), text
    if plain.error is not None:
        return "fault", f"Keras alone raises {type(plain.error).__name__}"
    if with_method.is_finite and with_method.said:
        return "warned", with_method.said[0]
    if with_method.is_finite:
        return "finite", "" if plain.is_finite else "Keras alone: not finite"
    return ("fault" if plain.is_finite else "as Keras"), "not finite"


def table(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """Return what each method did under each condition, and how often in all."""
    methods = [name for name in METHODS if any(r["method"] == name for r in rows)]
    lines = [["condition", *(f"`{name}`" for name in methods), "Keras alone"]]
    for name in dict.fromkeys(row["condition"] for row in rows):
        group = {row["method"]: row for row in rows if row["condition"] == name}
        words = [group[each]["outcome"] if each in group else "" for each in methods]
        plain = dict.fromkeys(row["plain"] for row in group.values())
        lines.append([name, *words, " or ".join(plain)])
    for word in (*OUTCOMES, "fault"):
        counts = [
            sum(r["method"] == name and r["outcome"] == word for r in rows)
            for name in methods
        ]
        lines.append([f"**{word}**, in all", *map(str, counts), ""])
    return lines


def plan(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield methods and conditions, such that models are used again."""
    for method in names:
        for network_name in NETWORKS:
            for name, condition in CONDITIONS.items():
                if condition.network == network_name:
                    yield method, name


def run(options: argparse.Namespace) -> None:
    """Train what has not been trained."""
    done = {(row["method"], row["condition"]) for row in read(options.output)}
    for method, name in plan(options.methods):
        if (method, name) in done:
            continue
        plain = train(CONDITIONS[name], method, is_plain=True)
        word, remark = outcome(train(CONDITIONS[name], method, is_plain=False), plain)
        alone = "finite" if plain.is_finite else "not finite"
        if plain.error is not None:
            alone = type(plain.error).__name__
        row = {"method": method, "condition": name, "outcome": word, "plain": alone}
        append(options.output, row | {"remark": " ".join(remark.split())[:100]})


def main(arguments: Any = None) -> None:
    """Train what is missing, and print the table."""
    command_line = runs.parser(__doc__, "extremes.csv", PAGE)
    command_line.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    options = command_line.parse_args(arguments)
    if not options.summary:
        run(options)
    lines = table(read(options.output))
    runs.publish(options, lines, "extremes.py", PAGE, "reliability")


if __name__ == "__main__":
    main()
