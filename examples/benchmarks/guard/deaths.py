"""How many trainings die? A hundred seeds of three tiny problems.

A training has died if it ends at chance: its accuracy on its own training rows is not
better than that of always saying the commonest class, or a weight is not finite. Each
is started from Keras's default rate, from a hundredth and from ten times of it, with
batches that are new in each epoch.

    python examples/benchmarks/guard/deaths.py --policies marthe walk
    python examples/benchmarks/guard/deaths.py --policies marthe_unguarded
    python examples/benchmarks/guard/deaths.py --summary

adds the trainings that are missing in `results/deaths.csv`, and prints the table. With
`_validation`, each fifth row is `validation_data` of the callback, and none of the
training. With `_unguarded`, the guard watches but rolls nothing back. The model of a
case is built and traced once for all its seeds; a seed sets new weights. About a second
for a training on one core.
"""

import argparse
import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).resolve().parents[1] / "suite"))

import keras
import numpy as np
from policies import ONLY_WITH, make_policy
from problems import OPTIMIZERS, keras_rate
from runs import append, parser, publish, read

from keras_lr._keras import set_learning_rate
from keras_lr.comparison.batches import shuffled_batches
from keras_lr.comparison.policy import Policy, RunContext
from keras_lr.training.fit.divergence import DivergenceGuard

SEEDS = range(100)
STARTS = (1.0, 0.01, 10.0)
UNGUARDED, VALIDATION = "_unguarded", "_validation"
HELD_OUT = 5
POLICIES = (
    "marthe",
    "marthe_unguarded",
    "marthe_validation",
    "marthe_validation_unguarded",
    "walk",
)
Rows = tuple[np.ndarray, np.ndarray]


class Run(NamedTuple):
    """What identifies a row of the CSV."""

    problem: str
    policy: str
    optimizer: str
    start: float
    seed: int


class Tiny(NamedTuple):
    """A tiny problem.

    Attributes:
        load: Function which returns features and classes.
        widths: Widths of the hidden ReLU layers.
        batch_size: Rows of a batch.
        epochs: Number of epochs.
    """

    load: Callable[[], Rows]
    widths: tuple[int, ...]
    batch_size: int
    epochs: int


def digits() -> Rows:
    """Return 1000 of scikit-learn's digits, in [0, 1]."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(x))[:1000]
    return (x[rows] / 16).astype("float32"), y[rows].astype("int32")


def moons() -> Rows:
    """Return two interleaving half circles, 400 points."""
    from sklearn.datasets import make_moons

    x, y = make_moons(400, noise=0.1, random_state=0)
    return x.astype("float32"), y.astype("int32")


def wine() -> Rows:
    """Return 178 wines with 13 standardized features, of three kinds."""
    from sklearn.datasets import load_wine

    x, y = load_wine(return_X_y=True)
    return ((x - x.mean(0)) / x.std(0)).astype("float32"), y.astype("int32")


TINY = {
    "digits": Tiny(digits, (64, 64), 20, 10),
    "moons": Tiny(moons, (16, 16, 16), 20, 25),
    "wine": Tiny(wine, (32, 32), 10, 20),
}


def make_model(tiny: Tiny) -> keras.Model:
    """Return a fresh network."""
    x, y = tiny.load()
    hidden = [
        keras.layers.Dense(width, "relu", kernel_initializer="he_normal")
        for width in tiny.widths
    ]
    head = keras.layers.Dense(int(y.max()) + 1, "softmax")
    return keras.Sequential([keras.Input(x.shape[1:]), *hidden, head])


def is_guarded(policy: str) -> bool:
    """Return whether the guard rolls back."""
    return not policy.endswith(UNGUARDED)


def has_validation(policy: str) -> bool:
    """Return whether some rows are held out for the callback."""
    return VALIDATION in policy


def policy_of(policy: str) -> Policy:
    """Return what a name without `_validation` and `_unguarded` stands for."""
    return make_policy(policy.removesuffix(UNGUARDED).removesuffix(VALIDATION), None)


@functools.lru_cache(maxsize=1)
def training_and_validation(problem: str, policy: str) -> tuple[Rows, Rows | None]:
    """Return the rows to train on and those that are held out, the same each time."""
    x, y = TINY[problem].load()
    if not has_validation(policy):
        return (x, y), None
    is_held = np.arange(len(x)) % HELD_OUT == 0
    return (x[~is_held], y[~is_held]), (x[is_held], y[is_held])


@functools.lru_cache(maxsize=1)
def compiled(
    problem: str, policy: str, optimizer: str
) -> tuple[keras.Model, Policy, list[np.ndarray]]:
    """Return a model, what trains it, and the optimizer's state before its steps."""
    keras.backend.clear_session()
    model = make_model(TINY[problem])
    made = policy_of(policy)
    own = made.optimizer or OPTIMIZERS[optimizer]
    model.compile(own(), "sparse_categorical_crossentropy", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model, made, [each.numpy() for each in model.optimizer.variables]


def rolling_nothing_back() -> AbstractContextManager[Any]:
    """Return a context in which no training counts as diverged."""
    return mock.patch.object(DivergenceGuard, "has_diverged", return_value=False)


def train(run: Run) -> dict[str, Any]:
    """Return the row of a training."""
    tiny = TINY[run.problem]
    model, policy, state = compiled(run.problem, run.policy, run.optimizer)
    keras.utils.set_random_seed(run.seed)
    model.set_weights(make_model(tiny).get_weights())
    for variable, value in zip(model.optimizer.variables, state, strict=True):
        variable.assign(value)
    if policy.optimizer is None:
        set_learning_rate(model.optimizer, run.start * keras_rate(run.optimizer))
    rows, held = training_and_validation(run.problem, run.policy)
    steps = -(-len(rows[0]) // tiny.batch_size) * tiny.epochs
    context = RunContext(rows, rows, tiny.epochs, tiny.batch_size, steps, run.seed)
    callbacks = policy.make_callbacks(context)
    if held is not None:
        callbacks = [type(each)(held) for each in callbacks]
    keras.utils.set_random_seed(run.seed)
    with nullcontext() if is_guarded(run.policy) else rolling_nothing_back():
        model.fit(
            shuffled_batches(rows, tiny.batch_size, run.seed),
            epochs=tiny.epochs,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    restarts = sum(len(getattr(each, "restarts", [])) for each in callbacks)
    accuracy = float(np.mean(model(rows[0]).numpy().argmax(1) == rows[1]))
    chance = np.bincount(rows[1]).max() / len(rows[1])
    is_finite = all(np.isfinite(each).all() for each in model.get_weights())
    has_died = int(not (is_finite and accuracy > chance + 0.02))
    row = {"accuracy": f"{accuracy:.4f}", "has_died": has_died, "restarts": restarts}
    return run._asdict() | row


def plan(options: argparse.Namespace) -> Iterator[Run]:
    """Yield the trainings, all seeds of a case together."""
    for policy, problem, optimizer in itertools.product(
        options.policies, options.problems, options.optimizers
    ):
        if optimizer not in ONLY_WITH.get(policy, OPTIMIZERS):
            continue
        has_start = policy_of(policy).optimizer is None
        for start in options.starts if has_start else (1.0,):
            for seed in range(options.seeds):
                yield Run(problem, policy, optimizer, start, seed)


def table(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """Return deaths, and trainings that were rolled back, of each policy."""
    header = ["policy", "optimizer", "start", "trainings", "died", "rolled back"]
    lines = [[*header, "median accuracy"]]
    names = ("policy", "optimizer", "start")
    for key in dict.fromkeys(tuple(row[n] for n in names) for row in rows):
        group = [row for row in rows if tuple(row[n] for n in names) == key]
        died = sum(int(row["has_died"]) for row in group)
        rolled = sum(int(row["restarts"]) > 0 for row in group)
        median = np.median([float(row["accuracy"]) for row in group])
        numbers = map(str, (len(group), died, rolled))
        lines.append([f"`{key[0]}`", key[1], f"{key[2]} x", *numbers, f"{median:.3f}"])
    return lines


def main(arguments: Any = None) -> None:
    """Train what is missing, and print the table."""
    command_line = parser(__doc__, "deaths.csv")
    command_line.add_argument("--policies", nargs="+", default=POLICIES)
    command_line.add_argument("--problems", nargs="+", default=list(TINY))
    command_line.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    command_line.add_argument("--starts", nargs="+", type=float, default=STARTS)
    command_line.add_argument("--seeds", type=int, default=len(SEEDS))
    options = command_line.parse_args(arguments)
    done = {tuple(row[n] for n in Run._fields) for row in read(options.output)}
    for run in () if options.summary else plan(options):
        if tuple(map(str, run)) not in done:
            append(options.output, train(run))
    publish(options, table(read(options.output)), "deaths.py")


if __name__ == "__main__":
    main()
