"""`LearningRateWalk` beside optimizers of PyTorch that poll for their learning rate.

The package `efficient-polling-lr-scheduler` tries several rates on a batch, decades
apart, and steps by the best one: `PollingSGD` in each step, and the two others ever
more seldom. Theirs are the defaults, and so is `LearningRateWalk()`; the other walk is
of the form in which it was published, of 1 % in each step.

    pip install "keras_lr[peers]"
    python examples/benchmarks/peers/polling.py

All start from the same weights and see the same batches of a seed. They may take as
many gradients as SGD takes in the epochs of the problem. A trial's pass forward counts
a third of one, a slope one; so does the pass forward of a step that a peer leaves out.
The walk is given the steps that it can take if there are trials until the end, although
with annealing there are not. A peer stops when there is no gradient left.

`sgd` is PyTorch's at a constant rate; that both frameworks train alike is checked in
`learning_rate_free.py`. A run is a row of `results/walk_polling.csv`; what is there
already is not run again. About ten minutes on one core.
"""

import argparse
import csv
import functools
import itertools
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

# Before TensorFlow is imported; PyTorch gets one thread below.
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).resolve().parents[1] / "suite"))

import efficient_polling_lr_scheduler as polling
import keras
import numpy as np
import tensorflow as tf
import torch
from learning_rate_free import batch_orders, initial_twin, judge, torch_twin, train_rows
from page import markdown
from problems import PROBLEMS, Problem
from results import Cell
from run_suite import build_model
from torch import nn

import keras_lr

Row = dict[str, Any]
Trained = tuple[nn.Sequential, int, float]
"""A network, the steps that were taken, and what they cost in gradients."""

RESULTS = Path(__file__).resolve().parents[1] / "results" / "walk_polling.csv"
COLUMNS = (
    *("problem", "method", "learning_rate", "seed"),
    *("steps", "gradients", "final_metric", "final_loss", "diverged", "seconds"),
)
CLASSIFICATIONS = ("mlp_digits", "wide_mlp_mnist")
RATES = ("0.0001", "0.001", "0.01", "0.1")
FORWARD = 1 / 3
"""What a pass forward costs, in gradients."""
TRIAL = {"loss": 2 * FORWARD, "slope": 1.0}

PEERS: dict[str, Callable[..., polling.PollingOptimizer]] = {
    "PollingSGD": polling.PollingSGD,
    "EfficientPollingSGD": polling.EfficientPollingSGD,
    "EfficientRelativePollingSGD": polling.EfficientRelativePollingSGD,
}
WALKS: dict[str, Callable[[], keras_lr.LearningRateWalk]] = {
    "LearningRateWalk()": keras_lr.LearningRateWalk,
    "LearningRateWalk, published": functools.partial(
        keras_lr.LearningRateWalk,
        1.01,
        every=1,
        probe="loss",
        smoothing=0.0,
        anneal=0.0,
    ),
}


def batches(problem: Problem, seed: int) -> np.ndarray:
    """Return the training rows of each step of SGD, `(steps, batch)`."""
    return batch_orders(problem, seed).reshape(-1, problem.batch_size)


def endless_batches(
    problem: Problem, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield inputs and targets, from the first batch again after the last."""
    x, y = train_rows(problem)
    for rows in itertools.cycle(torch.from_numpy(batches(problem, seed))):
        yield x[rows], y[rows]


def train_sgd(problem: Problem, rate: float, seed: int) -> Trained:
    """Train at a constant rate."""
    twin, steps = initial_twin(problem, seed), len(batches(problem, seed))
    optimizer = torch.optim.SGD(twin.parameters(), lr=rate)
    for x, y in itertools.islice(endless_batches(problem, seed), steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(twin(x), y).backward()
        optimizer.step()
    return twin, steps, float(steps)


def train_peer(name: str, problem: Problem, rate: float, seed: int) -> Trained:
    """Train with a peer until the gradients are used up."""
    twin, budget = initial_twin(problem, seed), len(batches(problem, seed))
    optimizer = PEERS[name](twin, lr=rate)
    steps, spent = 0, 0.0
    for x, y in endless_batches(problem, seed):
        if spent + 1.0 > budget:
            break
        closure = polling.make_closure(twin, nn.functional.cross_entropy, x, y)
        spent += cost(optimizer.step(closure))
        steps += 1
    return twin, steps, spent


def cost(step: polling.StepInfo) -> float:
    """Return the gradients that a step of a peer took."""
    if step.rolled_back:
        return FORWARD
    # One step for each candidate, and the one that is taken.
    return 1.0 + FORWARD * (step.optimizer_steps - 1)


def train_walk(name: str, problem: Problem, rate: float, seed: int) -> Trained:
    """Train with a walk for the steps that the gradients are sure to suffice for."""
    walk, order = WALKS[name](), batches(problem, seed)
    steps = math.floor(
        len(order) / (1.0 + TRIAL[walk.probe_used] / walk.steps_per_trial)
    )
    x, y = problem.load()[0]
    keras.utils.set_random_seed(seed)
    model = build_model(problem.name, "sgd")
    model.optimizer.learning_rate = rate
    rows = tf.data.Dataset.from_tensor_slices(order[:steps])
    model.fit(
        rows.map(lambda rows: (tf.gather(x, rows), tf.gather(y, rows))),
        callbacks=[walk],
        shuffle=False,
        verbose=0,
    )
    outcomes = walk.history["slope" if walk.probe_used == "slope" else "raised_loss"]
    trials = np.count_nonzero(~np.isnan(outcomes))
    return torch_twin(model), steps, steps + float(trials * TRIAL[walk.probe_used])


TRAININGS: dict[str, Callable[[Problem, float, int], Trained]] = {
    "sgd": train_sgd,
    **{name: functools.partial(train_peer, name) for name in PEERS},
    **{name: functools.partial(train_walk, name) for name in WALKS},
}


def read(path: Path) -> list[Row]:
    """Return the rows of the CSV."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_missing(path: Path, problems: Sequence[str], seeds: Sequence[int]) -> None:
    """Train what is not in the CSV, and write each row as it comes."""
    rows = read(path)
    done = {tuple(row[key] for key in COLUMNS[:4]) for row in rows}
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not rows:
            writer.writerow(COLUMNS)
        for seed, *names in itertools.product(seeds, problems, TRAININGS, RATES):
            if (*names, str(seed)) in done:
                continue
            problem, train = PROBLEMS[names[0]], TRAININGS[names[1]]
            start = time.perf_counter()
            twin, steps, spent = train(problem, float(names[2]), seed)
            seconds = f"{time.perf_counter() - start:.2f}"
            judged = judge(problem, seed, twin)
            writer.writerow((*names, seed, steps, f"{spent:.6g}", *judged, seconds))
            file.flush()


def table(rows: Iterable[Row], problem: str) -> list[list[str]]:
    """Return mean ± standard deviation of the accuracy from each initial rate."""
    groups: Any = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["problem"] == problem:
            groups[row["method"]][row["learning_rate"]].append(row)
    lines = [[f"`{problem}`", *RATES, "mean", "steps", "gradients"]]
    for method in (name for name in TRAININGS if name in groups):
        cells = [_cell(groups[method][rate]) for rate in RATES]
        all_rows = [*itertools.chain(*groups[method].values())]
        mean = f"{np.mean([cell.mean for cell in cells]):.1f}"
        totals = (_mean(all_rows, key) for key in ("steps", "gradients"))
        lines.append([method, *(cell.text for cell in cells), mean, *totals])
    return lines


def _mean(rows: Sequence[Row], key: str) -> str:
    return f"{np.mean([float(row[key]) for row in rows]):.0f}"


def _cell(rows: Sequence[Row]) -> Cell:
    metrics = tuple(float(row["final_metric"]) for row in rows)
    return Cell(None, metrics, sum(int(row["diverged"]) for row in rows), failed=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--problems", nargs="+", default=CLASSIFICATIONS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--summary", action="store_true", help="only print the tables")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if not options.summary:
        run_missing(options.output, options.problems, options.seeds)
    rows = read(options.output)
    for problem in options.problems:
        print(markdown(table(rows, problem)), end="\n\n")


if __name__ == "__main__":
    main()
