"""What share of the slope should a step of the learning-rate walk take away?

`LearningRateWalk()` on the problems of the suite, with other shares than the root of
1 - beta. Points are above the best constant rate of `results/suite_same_batches.csv`,
and so is the column of the walk's default share, of the same seeds.

    python examples/benchmarks/walk/share.py --jobs 2

writes `results/walk_share.csv`, and continues from the rows that are there. About six
minutes for a seed on two cores.
"""

import argparse
import csv
import dataclasses
import itertools
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median

sys.path.append(str(Path(__file__).resolve().parents[1] / "suite"))

import results
from greedy import Row, read, signed
from page import markdown
from plan import Run
from problems import OPTIMIZERS, PROBLEMS
from run_suite import train_once

import keras_lr
from keras_lr.comparison.policies import Policy
from keras_lr.rules import walk
from keras_lr.training.walk.walked_hyperparameter import WalkRule, memory_of

RESULTS = Path(__file__).resolve().parents[1] / "results" / "walk_share.csv"
COLUMNS = ("problem", "optimizer", "share", "seed", "final_metric")
SHARES = (0.1, 0.2, 0.4, 0.5)
WITH_MEMORY = ("momentum", "adam")

Job = tuple[str, str, float, int]


class Walk(keras_lr.LearningRateWalk):
    """The walk to where a step takes away a given share.

    Args:
        share: Share of the slope.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def _rule(self, name: str) -> WalkRule:
        return dataclasses.replace(super()._rule(name), share=self._share)


def train(job: Job) -> Row:
    """Return the row of a training."""
    problem, optimizer, share, seed = job
    policy = Policy("walk", callbacks=lambda context: [Walk(share)])
    record = train_once(Run(problem, optimizer, "walk", "", seed), policy, seed)
    values = problem, optimizer, share, seed, f"{100 * record.final_metric:.6g}"
    return dict(zip(COLUMNS, map(str, values), strict=True))


def run(options: argparse.Namespace) -> None:
    """Train what is not in the CSV yet."""
    done = {tuple(row[key] for key in COLUMNS[:4]) for row in read(options.output)}
    jobs = [
        (problem, optimizer, share, seed)
        for seed, problem, optimizer, share in itertools.product(
            options.seeds, options.problems, WITH_MEMORY, SHARES
        )
        if (problem, optimizer, str(share), str(seed)) not in done
    ]
    is_new = not options.output.exists()
    with (
        options.output.open("a", newline="", encoding="utf-8") as file,
        get_context("spawn").Pool(options.jobs, maxtasksperchild=20) as pool,
    ):
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        for row in pool.imap_unordered(train, jobs):
            writer.writerow(row)
            file.flush()


def default_share(optimizer: str) -> float:
    """Return the share that the walk takes by itself."""
    return walk.share(memory_of(OPTIMIZERS[optimizer]()))


def table(rows: Sequence[Row], optimizer: str) -> list[list[str]]:
    """Return points above the best constant rate, by problem and share."""
    suite = results.read(results.SAME_BATCHES)
    rows = [row for row in rows if row["optimizer"] == optimizer]
    scores: dict[str, dict[float, float]] = {}
    for problem in dict.fromkeys(row["problem"] for row in rows):
        policies = suite[problem, optimizer]
        constant = results.best(policies["constant"]).mean
        mine = [row for row in rows if row["problem"] == problem]
        seeds = {int(row["seed"]) for row in mine}
        metrics: dict[float, list[float]] = {default_share(optimizer): []}
        default = results.default_or_best(policies["walk"])
        for seed, metric in zip(default.seeds, default.metrics, strict=True):
            if seed in seeds:
                metrics[default_share(optimizer)].append(metric)
        for row in mine:
            of_share = metrics.setdefault(float(row["share"]), [])
            of_share.append(float(row["final_metric"]))
        scores[problem] = {
            share: fmean(of_share) - constant for share, of_share in metrics.items()
        }
    shares = sorted(next(iter(scores.values())))
    body = [
        [problem, *(signed(one[share]) for share in shares)]
        for problem, one in scores.items()
    ]
    summaries = {"mean": fmean, "median": median}
    for name, summary in summaries.items():
        means = (summary([one[share] for one in scores.values()]) for share in shares)
        body.append([name, *map(signed, means)])
    return [[optimizer, *(f"{share:.2g}" for share in shares)], *body]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--problems", nargs="+", default=list(PROBLEMS))
    add("--seeds", nargs="+", type=int, default=[0])
    add("--jobs", type=int, default=1)
    add("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    run(options)
    for optimizer in WITH_MEMORY:
        print(markdown(table(read(options.output), optimizer)), end="\n\n")


if __name__ == "__main__":
    main()
