"""How good is the best rate of each step, judged by the batch of the step?

That is what `LearningRateWalk` walks after. Here each step tries 33 rates, a quarter of
a decade apart, and takes the one that leaves the lowest loss of the same batch: no walk
can follow it more closely. The rate falls to 0 over the last part of the training, as
the walk's does. Beside it are the best constant rate and the walk, from
`results/suite_same_batches.csv`.

    python examples/benchmarks/walk/greedy.py

writes `results/walk_greedy.csv`, and continues from the rows that are there. About
fifteen minutes.
"""

import argparse
import csv
import itertools
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).resolve().parents[1] / "suite"))

import keras
import numpy as np
import results
import tensorflow as tf
from page import markdown
from problems import OPTIMIZERS, PROBLEMS, Problem

from keras_lr import _keras
from keras_lr.callbacks.walk import ANNEAL
from keras_lr.rules.annealing import annealing

RESULTS = Path(__file__).resolve().parents[1] / "results" / "walk_greedy.csv"
COLUMNS = ("problem", "optimizer", "seed", "final_metric")
RATES = tuple(10.0 ** (exponent / 4) for exponent in range(-24, 9))

Row = dict[str, Any]


class GreedyStep:
    """A training step at the rate that leaves the lowest loss of its batch.

    Args:
        model: A compiled model, built, with its optimizer.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._pure = _keras.PureStep(model.optimizer, model.trainable_variables)
        self._take = tf.function(self._step, autograph=False)

    def __call__(self, x: Any, y: Any, factor: float) -> None:
        """Take a step at the best rate times a factor."""
        self._take(tf.constant(x), tf.constant(y), tf.constant(factor, tf.float32))

    def _step(self, x: Any, y: Any, factor: Any) -> None:
        model, data = self.model, (x, y, None)
        others = [tf.identity(each.value) for each in model.non_trainable_variables]
        with tf.GradientTape() as tape:
            loss = _keras.training_loss(model, data)
        weights = [each.value for each in model.trainable_variables]
        gradients = [
            tf.convert_to_tensor(each) for each in tape.gradient(loss, weights)
        ]
        slots = [tf.identity(each.value) for each in self._pure.variables.slots]
        state = _keras.StepState([tf.identity(each) for each in weights], slots)
        variables = [*model.trainable_variables, *model.non_trainable_variables]

        def loss_after(rate: Any) -> Any:
            tried = self._pure(state, gradients, rate).weights
            with _keras.leaving_no_trace(variables, [*tried, *others]):
                return _keras.training_loss(model, data)

        losses = tf.map_fn(loss_after, tf.constant(RATES, tf.float32))
        losses = tf.where(tf.math.is_finite(losses), losses, math.inf)
        best = tf.gather(tf.constant(RATES, tf.float32), tf.argmin(losses))
        model.optimizer.learning_rate.assign(best * factor)
        model.optimizer.apply(gradients, model.trainable_variables)


def train(problem: Problem, optimizer: str, seed: int) -> float:
    """Return the final metric in points after a greedy training."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = problem.build_model(optimizer)
    (x, y), test = problem.load()
    model.optimizer.build(model.trainable_variables)
    step = GreedyStep(model)
    total = problem.epochs * -(-len(x) // problem.batch_size)
    generator, number = np.random.default_rng(seed), 0
    for _ in range(problem.epochs):
        order = generator.permutation(len(x))
        for rows in np.array_split(
            order, range(problem.batch_size, len(x), problem.batch_size)
        ):
            step(x[rows], y[rows], annealing(1.0 - number / total, ANNEAL))
            number += 1
    return 100.0 * model.evaluate(*test, batch_size=1000, verbose=0)[1]


def read(path: Path) -> list[Row]:
    """Return the rows of the CSV."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(options: argparse.Namespace) -> None:
    """Train what is not in the CSV yet."""
    done = {tuple(row[key] for key in COLUMNS[:3]) for row in read(options.output)}
    for seed, name, optimizer in itertools.product(
        options.seeds, options.problems, OPTIMIZERS
    ):
        if (name, optimizer, str(seed)) in done:
            continue
        metric = train(PROBLEMS[name], optimizer, seed)
        row = dict(zip(COLUMNS, (name, optimizer, seed, f"{metric:.6g}"), strict=True))
        is_new = not options.output.exists()
        with options.output.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Return points above the best constant rate, greedy and by the walk.

    A mean counts less than `LOWEST` as that.
    """
    suite = results.read(results.SAME_BATCHES)
    metrics: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        case = row["problem"], row["optimizer"]
        metrics.setdefault(case, []).append(float(row["final_metric"]))
    scores: dict[str, list[float]] = {}
    for problem in dict.fromkeys(problem for problem, _ in metrics):
        scores[problem] = []
        for optimizer in OPTIMIZERS:
            policies = suite[problem, optimizer]
            constant = results.best(policies["constant"]).mean
            greedy = fmean(metrics[problem, optimizer])
            walk = results.default_or_best(policies["walk"]).mean
            scores[problem] += [greedy - constant, walk - constant]
    lowest = float(results.LOWEST)
    columns = zip(*scores.values(), strict=True)
    scores["mean"] = [fmean(max(each, lowest) for each in one) for one in columns]
    names = itertools.product(OPTIMIZERS, ("best of each step", "walk"))
    header = ["problem", *(f"{optimizer}: {name}" for optimizer, name in names)]
    body = [
        [problem, *(signed(each) for each in values)]
        for problem, values in scores.items()
    ]
    return [header, *body]


def signed(score: float) -> str:
    """Return points with their sign."""
    lowest = results.LOWEST
    return f"{score:+.1f}" if score > lowest else f"below {lowest}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    run(options)
    print(markdown(table(read(options.output))))


if __name__ == "__main__":
    main()
