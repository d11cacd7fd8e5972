"""Run the suite: problems x optimizers x policies x seeds -> one CSV of raw runs.

    python examples/benchmarks/run_suite.py --jobs 2
    python examples/benchmarks/run_suite.py --policies "lipschitz:bound='strict'"

Runs that are in the CSV already are skipped, so an interrupted suite goes on where it
stopped and a new method adds its own rows only.
"""

import argparse
import csv
import fcntl
import functools
import itertools
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
# Before TensorFlow is imported, here and in the workers that inherit them.
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from model_pool import fresh_model
from problems import OPTIMIZERS, PROBLEMS
from suite_policies import BASELINES, FROM_EACH_RATE, ONLY_WITH, make_policy

from keras_lr.comparison.policies import default_rates
from keras_lr.comparison.runner import RunSettings, train

COLUMNS = (
    "problem",
    "optimizer",
    "policy",
    "learning_rate",
    "seed",
    "final_metric",
    "best_metric",
    "final_loss",
    "final_val_loss",
    "diverged",
    "seconds",
    "gradient_evaluations",
    "epochs",
    "steps",
    "last_learning_rate",
    "error",
)
VALIDATION_BATCH_SIZE = 1000


class Run(NamedTuple):
    """What identifies a row of the CSV."""

    problem: str
    optimizer: str
    policy: str
    learning_rate: str
    seed: int


def execute(run: Run) -> dict[str, object]:
    """Train once and return the row; an exception becomes the row's `error`."""
    problem = PROBLEMS[run.problem]
    build = fresh_model if run.policy in BASELINES else build_model
    rate = float(run.learning_rate) if run.learning_rate else None
    row: dict[str, object] = run._asdict()
    try:
        record = train(
            functools.partial(build, run.problem, run.optimizer),
            problem.load(),
            make_policy(run.policy, rate),
            RunSettings(
                problem.epochs,
                problem.batch_size,
                VALIDATION_BATCH_SIZE,
                monitor=problem.metric,
                mode="max",
            ),
            seed=run.seed,
        )
    except Exception as error:
        return row | {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    return row | {
        "final_metric": _text(100 * record.final_metric),
        "best_metric": _text(100 * record.best_metric),
        "final_loss": _text(record.final("loss")),
        "final_val_loss": _text(record.final("val_loss")),
        "diverged": int(record.diverged),
        "seconds": f"{record.seconds:.2f}",
        "gradient_evaluations": f"{record.gradient_evaluations:g}",
        "epochs": len(record.learning_rates),
        "steps": record.steps,
        "last_learning_rate": _text(record.learning_rates[-1]),
        "error": "",
    }


def build_model(problem: str, optimizer: str) -> keras.Model:
    """Return a new compiled model."""
    keras.backend.clear_session()
    return PROBLEMS[problem].build_model(optimizer)


def _text(value: float) -> str:
    return f"{value:.6g}"


def plan(arguments: argparse.Namespace) -> Iterator[Run]:
    """Yield every run of the selection, all of one seed before the next seed."""
    for seed, name, optimizer, spec in itertools.product(
        arguments.seeds, arguments.problems, arguments.optimizers, arguments.policies
    ):
        if optimizer not in ONLY_WITH.get(spec, OPTIMIZERS):
            continue
        rates: Sequence[float | None] = [None]
        if arguments.from_each_rate or spec in FROM_EACH_RATE:
            rates = arguments.rates or default_rates(OPTIMIZERS[optimizer]())
        for rate in rates:
            text = "" if rate is None else f"{rate:.3g}"
            yield Run(name, optimizer, spec, text, seed)


def finished_runs(path: Path) -> set[Run]:
    """Return the runs that are in the CSV."""
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {
            Run(*(row[key] for key in COLUMNS[:4]), int(row["seed"]))
            for row in csv.DictReader(file)
        }


def append(path: Path, row: dict[str, object]) -> None:
    """Append one row under a lock, so that several suites may share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0, os.SEEK_END)
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def execute_group(runs: list[Run], path: Path) -> list[dict[str, object]]:
    """Run in this process, write each row as it comes, and return the rows."""
    rows = []
    for run in runs:
        rows.append(execute(run))
        append(path, rows[-1])
    return rows


def run_all(runs: list[Run], path: Path, jobs: int) -> int:
    """Train in spawned processes and return the number of failed runs."""
    failed = done = 0
    start = time.perf_counter()
    groups = [
        list(group) for _, group in itertools.groupby(runs, lambda r: (r.seed, *r[:2]))
    ]
    execute_here = functools.partial(execute_group, path=path)
    # Not `concurrent.futures`: Python 3.11's hangs when it replaces its last process.
    with get_context("spawn").Pool(jobs, maxtasksperchild=20) as pool:
        for rows in pool.imap_unordered(execute_here, groups):
            done += len(rows)
            failed += sum(bool(row["error"]) for row in rows)
            _report(rows[-1], done, len(runs), time.perf_counter() - start)
    return failed


def _report(row: dict[str, object], done: int, total: int, elapsed: float) -> None:
    remaining = math.ceil(elapsed / done * (total - done) / 60)
    name = " ".join(str(row[key]) for key in COLUMNS[:5])
    outcome = row["error"] or f"{row['final_metric']} in {row['seconds']} s"
    print(f"{done}/{total}, {remaining} min left: {name}: {outcome}", flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    parser.add_argument("--policies", nargs="+", default=list(BASELINES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--from-each-rate",
        action="store_true",
        help="start every policy from each of the nine rates, not from Keras's",
    )
    parser.add_argument("--rates", nargs="+", type=float, help="instead of the nine")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "suite.csv")
    return parser.parse_args(arguments)


def main() -> None:
    """Run what is selected and not yet done."""
    arguments = parse()
    finished = finished_runs(arguments.output)
    runs = [run for run in plan(arguments) if run not in finished]
    for spec in arguments.policies:
        make_policy(spec, 0.1 if spec in FROM_EACH_RATE else None)
    print(f"{len(runs)} runs to do, {len(finished)} in {arguments.output.name}.")
    failed = run_all(runs, arguments.output, arguments.jobs)
    print(f"Done, {failed} failed.")


if __name__ == "__main__":
    main()
