"""Does validation data help `MARTHE`?

    python examples/benchmarks/long/validation_data.py

trains with `MARTHE()` on all training rows, and with a tenth of them as its
`validation_data`, which the model then does not train on. Both are judged on the test
rows of the problem. Wrong labels and other noise are in the validation data too: they
are rows of the same set. Adds the runs that are missing in
`results/validation_data.csv`, and prints a table with means and standard errors of the
differences, beside the best of nine cosines in the suites' CSVs, which was picked on
the test rows. `--write` puts it on the page of the method. About half an hour on one
core.
"""

import argparse
import functools
import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from long_plan import CSV as LONG_CSV
from long_problems import EMBEDDED, TrainAndTest
from page import DOCS, markdown, rewrite
from problems import PROBLEMS
from results import CSV as SHORT_CSV
from results import RESULTS, Case, best
from results import read as cells_of
from rows import append, read
from run_suite import VALIDATION_BATCH_SIZE

import keras_lr
from keras_lr.comparison.policy import Policy
from keras_lr.comparison.runner import RunSettings, train

CSV = RESULTS / "validation_data.csv"
PAGE = DOCS / "methods" / "marthe.md"
SCRIPT, FOLDER = "validation_data.py", "long"
LONG = {problem.name: problem for problem in EMBEDDED}
PART = 10
SEEDS = 3
CASES = {
    "label_noise_mnist": ("sgd", "momentum"),
    "regression_friedman": ("sgd", "momentum"),
    "imbalanced_mnist": ("momentum",),
    "regression_diabetes": ("sgd", "momentum", "adam"),
    "logistic_breast_cancer": ("sgd", "momentum", "adam"),
    "mlp_digits": ("sgd", "momentum", "adam"),
}
"""Problems with wrong labels, other noise, rare classes or few rows, of both suites."""
KINDS = WITHOUT, WITH = "without", "with"


class Run(NamedTuple):
    """What identifies a row of the CSV."""

    problem: str
    optimizer: str
    validation: str
    seed: int


def plan() -> Iterator[Run]:
    """Yield every run."""
    for problem, optimizers in CASES.items():
        for optimizer, seed, validation in itertools.product(
            optimizers, range(SEEDS), (WITHOUT, WITH)
        ):
            yield Run(problem, optimizer, validation, seed)


def held_out(data: TrainAndTest) -> tuple[TrainAndTest, tuple]:
    """Return the data without each tenth training row, and these rows."""
    rows, test = data
    is_kept = [index % PART > 0 for index in range(len(rows[0]))]
    kept = tuple(array[is_kept] for array in rows)
    return (kept, test), tuple(array[::PART] for array in rows)


def final_metric(run: Run) -> float:
    """Train once and return the metric of the test rows after the last epoch."""
    problem = LONG.get(run.problem) or PROBLEMS[run.problem]
    data, validation = problem.load(), None
    if run.validation == WITH:
        data, validation = held_out(data)
    record = train(
        functools.partial(build_model, run),
        data,
        Policy("marthe", callbacks=lambda: [keras_lr.MARTHE(validation)]),
        RunSettings(
            problem.epochs,
            problem.batch_size,
            VALIDATION_BATCH_SIZE,
            monitor=problem.metric,
            mode="max",
        ),
        seed=run.seed,
    )
    return 100 * record.final_metric


def build_model(run: Run) -> keras.Model:
    """Return a new compiled model."""
    keras.backend.clear_session()
    problem = LONG.get(run.problem)
    if problem is not None:
        return problem.build_model(problem.make_optimizer(run.optimizer), run.seed)
    return PROBLEMS[run.problem].build_model(run.optimizer)


def metrics(path: Path) -> dict[Run, float]:
    """Return the metric of each run in the CSV."""
    return {
        Run(row["problem"], row["optimizer"], row["validation"], int(row["seed"])): (
            float(row["final_metric"])
        )
        for row in read(path)
    }


def table(found: dict[Run, float]) -> list[list[str]]:
    """Return a line for each case with all its seeds."""
    header = ["problem", "optimizer", "all rows", "a tenth held out", "difference"]
    lines = [[*header, "best cosine"]]
    cosines = best_cosines()
    for problem, optimizers in CASES.items():
        for optimizer in optimizers:
            pairs = [
                [found.get(Run(problem, optimizer, kind, seed)) for kind in KINDS]
                for seed in range(SEEDS)
            ]
            if any(each is None for pair in pairs for each in pair):
                continue
            plain, held = ([pair[i] for pair in pairs] for i in range(2))
            gains = [after - before for before, after in zip(plain, held, strict=True)]
            error = stdev(gains) / math.sqrt(len(gains))
            text = f"{fmean(gains):+.1f} ± {error:.1f}"
            row = [f"{fmean(plain):.1f}", f"{fmean(held):.1f}", text]
            lines.append([problem, optimizer, *row, cosines[problem, optimizer]])
    return lines


def best_cosines() -> dict[Case, str]:
    """Return the metric of the best of nine cosines in each case of both suites."""
    tables = {**cells_of(SHORT_CSV), **cells_of(LONG_CSV)}
    return {
        case: f"{best(policies['cosine_decay']).mean:.1f}"
        for case, policies in tables.items()
        if policies.get("cosine_decay")
    }


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=CSV)
    parser.add_argument("--summary", action="store_true", help="run nothing")
    parser.add_argument("--write", action="store_true", help=f"into docs/{PAGE.name}")
    options = parser.parse_args()
    path = options.output
    finished = metrics(path)
    for run in () if options.summary else plan():
        if run in finished:
            continue
        value = f"{final_metric(run):.6g}"
        append(path, run._asdict() | {"final_metric": value})
    text = markdown(table(metrics(path)))
    print(text)
    if options.write:
        rewrite(PAGE, text, SCRIPT, FOLDER)


if __name__ == "__main__":
    main()
