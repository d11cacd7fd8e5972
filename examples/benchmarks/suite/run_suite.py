"""Run the suite: problems x optimizers x policies x seeds -> one CSV of raw runs.

    python examples/benchmarks/suite/run_suite.py --quick
    python examples/benchmarks/suite/run_suite.py --jobs 2
    python examples/benchmarks/suite/run_suite.py --policies "lipschitz:bound='strict'"

The first takes a few minutes and prints a table. The second is the suite of the
documentation, hours of it; the third is a selection. Runs that are in the CSV already
are skipped, so an interrupted suite continues where it stopped and a new method adds
only its rows.
"""

import csv
import fcntl
import functools
import itertools
import math
import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

# Before TensorFlow is imported, here and in the workers that inherit them.
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from make_tables import summary_table
from model_pool import fresh_model
from page import markdown
from plan import Run, nine_rates, parse, plan
from policies import BASELINES, FROM_EACH_RATE, make_policy
from problems import PROBLEMS
from results import read
from search import SEARCHES, search

from keras_lr.comparison.policies import Policy
from keras_lr.comparison.runner import RunRecord, RunSettings, train

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
Execute = Callable[[Run], dict[str, object]]


def execute(run: Run) -> dict[str, object]:
    """Return the row of a run; an exception becomes the row's `error`."""
    row: dict[str, object] = run._asdict()
    try:
        record = train_or_search(run)
    except Exception as error:
        return row | {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    return row | outcome(record)


def outcome(record: RunRecord) -> dict[str, object]:
    """Return what a row says of a training."""
    return {
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


def train_or_search(run: Run) -> RunRecord:
    """Train once, or as often as a search does."""
    if run.policy not in SEARCHES:
        rate = float(run.learning_rate) if run.learning_rate else None
        return train_once(run, make_policy(run.policy, rate), run.seed)
    return search(
        run.policy,
        lambda rate, seed: train_once(run, make_policy("constant", rate), seed),
        nine_rates(run.optimizer),
        run.seed,
    )


def train_once(run: Run, policy: Policy, seed: int) -> RunRecord:
    """Train the model of a run with a policy."""
    problem = PROBLEMS[run.problem]
    build = fresh_model if policy.name in BASELINES else build_model
    return train(
        functools.partial(build, run.problem, run.optimizer),
        problem.load(),
        policy,
        RunSettings(
            problem.epochs,
            problem.batch_size,
            VALIDATION_BATCH_SIZE,
            monitor=problem.metric,
            mode="max",
        ),
        seed=seed,
    )


def build_model(problem: str, optimizer: str) -> keras.Model:
    """Return a new compiled model."""
    keras.backend.clear_session()
    return PROBLEMS[problem].build_model(optimizer)


def _text(value: float) -> str:
    return f"{value:.6g}"


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
    """Append one row under a lock, so that several suites may share the file.

    Columns that only this suite has come last.
    """
    columns = [*COLUMNS, *(key for key in row if key not in COLUMNS)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0, os.SEEK_END)
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def execute_group(
    runs: list[Run], path: Path, execute_one: Execute
) -> list[dict[str, object]]:
    """Run in this process, write each row as it comes, and return the rows."""
    rows = []
    for run in runs:
        rows.append(execute_one(run))
        append(path, rows[-1])
    return rows


def run_all(
    runs: list[Run], path: Path, jobs: int, execute_one: Execute = execute
) -> int:
    """Train in spawned processes and return the number of failed runs."""
    failed = done = 0
    start = time.perf_counter()
    groups = [
        list(group) for _, group in itertools.groupby(runs, lambda r: (r.seed, *r[:2]))
    ]
    execute_here = functools.partial(execute_group, path=path, execute_one=execute_one)
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


def main() -> None:
    """Run what is selected and not yet done."""
    selected = parse((__doc__ or "").partition("\n")[0])
    finished = finished_runs(selected.output)
    runs = [run for run in plan(selected) if run not in finished]
    for spec in selected.policies:
        if spec not in SEARCHES:
            make_policy(spec, 0.1 if spec in FROM_EACH_RATE else None)
    print(f"{len(runs)} runs to do, {len(finished)} in {selected.output.name}.")
    failed = run_all(runs, selected.output, selected.jobs)
    print(f"Done, {failed} failed.")
    if selected.quick:
        print(markdown(summary_table(read(selected.output))))


if __name__ == "__main__":
    main()
