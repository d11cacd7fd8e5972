"""Compare searchers of learning rates on tables of trainings.

    python -m pip install ".[peers]"
    python examples/benchmarks/zooming/regret.py

adds the replays that are missing in `results/zooming_regret.csv` and prints the tables:
the mean regret after 3, 5, 7, 10 and 20 trainings, with its standard error, and how
many of the trainings diverged. Regret is how much worse the recommended rate is than
the best one of the table, both by their means over the table's seeds, in percent of the
difference between the best one and no training.

`results/zooming_tables.npz` holds the trainings of twelve tasks on data of
scikit-learn; `--make-tables` trains them again, in a few minutes. `--tables FILE.npz
--output FILE.csv` takes others.
"""

import argparse
import csv
import itertools
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, variance

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from rate_tables import TASKS, Table, load, make_table, save
from replay import ANYTIME, OF_BUDGET, Replay, Search

RESULTS = Path(__file__).resolve().parents[1] / "results"
BUDGETS = (3, 5, 7, 10, 20)
COLUMNS = (
    *("task", "searcher", "seed"),
    *(f"regret_{budget}" for budget in BUDGETS),
    *(f"diverged_{budget}" for budget in BUDGETS),
)
ORDER = (
    *("random", "log grid", "HyperOpt TPE", "HyperOpt TPE, startup 3"),
    *("Optuna TPE", "Optuna TPE, startup 3", "Optuna GP, startup 3"),
    *("KerasTuner BayesianOptimization", "KerasTuner Hyperband"),
    *("Zooming, r as printed", "Zooming, r/10", "BLiE", "Zooming"),
)

Row = dict[str, str]


def anytime(searcher: str) -> Search:
    """Return a search that is read at each budget on its way."""
    if searcher in ANYTIME:
        return ANYTIME[searcher]
    # The peers need not be installed for the rest.
    from searchers import PEERS

    return PEERS[searcher]


def replay_row(table: Table, searcher: str, seed: int) -> list[object]:
    """Return the row of one searcher with one seed on one table."""
    truth, regrets, diverged = table.truth(), [], []
    replay = Replay(table, seed)
    if searcher not in OF_BUDGET:
        anytime(searcher)(replay, BUDGETS[-1], seed)
    for budget in BUDGETS:
        if searcher in OF_BUDGET:
            replay = Replay(table, seed)
            OF_BUDGET[searcher](replay, budget, seed)
        regrets.append(f"{truth[replay.place(replay.best(budget))]:.2f}")
        diverged.append(replay.diverged(budget))
    return [table.name, searcher, seed, *regrets, *diverged]


def read(path: Path) -> list[Row]:
    """Return the rows of a CSV, none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(
    tables: Iterable[Table], searchers: Sequence[str], seeds: range, path: Path
) -> None:
    """Append the rows of all replays that are missing."""
    rows = read(path)
    done = {(row["task"], row["searcher"], int(row["seed"])) for row in rows}
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not rows:
            writer.writerow(COLUMNS)
        for searcher, table, seed in itertools.product(searchers, tables, seeds):
            if (table.name, searcher, seed) not in done:
                writer.writerow(replay_row(table, searcher, seed))
                file.flush()


def mean_and_error(cells: Iterable[Sequence[float]]) -> tuple[float, float]:
    """Return the mean over tasks of their means over replays, and its standard error.

    The tasks are taken as they are; the error is that of the replays.
    """
    cells = list(cells)
    errors = [variance(cell) / len(cell) for cell in cells if len(cell) > 1]
    mean = fmean(fmean(cell) for cell in cells)
    return mean, math.sqrt(sum(errors)) / len(cells)


def markdown(rows: Iterable[Row], column: str) -> str:
    """Return a table of searchers and budgets; replays are averaged, then tasks."""
    cells: dict[tuple[str, int], dict[str, list[float]]]
    cells = defaultdict(lambda: defaultdict(list))
    for row, budget in itertools.product(rows, BUDGETS):
        key = row["searcher"], budget
        cells[key][row["task"]].append(float(row[f"{column}_{budget}"]))
    names = {searcher for searcher, _ in cells}
    known = [name for name in ORDER if name in names]
    lines = [
        "| after | " + " | ".join(map(str, BUDGETS)) + " | replays |",
        "|---|" + "---|" * (len(BUDGETS) + 1),
    ]
    for name in [*known, *sorted(names - set(known))]:
        texts = [
            "{:.2f} ± {:.2f}".format(*mean_and_error(cells[name, budget].values()))
            for budget in BUDGETS
        ]
        replays = min(map(len, cells[name, BUDGETS[0]].values()))
        lines.append(f"| {name} | " + " | ".join(texts) + f" | {replays} |")
    return "\n".join(lines)


def by_task(rows: Iterable[Row], budget: int) -> str:
    """Return a table of tasks and searchers, of the mean regret after `budget`."""
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        cells[row["task"], row["searcher"]].append(float(row[f"regret_{budget}"]))
    tasks = sorted({task for task, _ in cells})
    names = [name for name in ORDER if any((task, name) in cells for task in tasks)]
    lines = ["| task | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for task in tasks:
        texts = [
            f"{fmean(cells[task, name]):.1f}" if cells[task, name] else "-"
            for name in names
        ]
        lines.append(f"| {task} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", type=Path, default=RESULTS / "zooming_tables.npz")
    parser.add_argument("--output", type=Path, default=RESULTS / "zooming_regret.csv")
    parser.add_argument("--seeds", type=int, default=100, help="replays of each task")
    parser.add_argument("--searchers", nargs="*", default=ORDER)
    parser.add_argument("--make-tables", action="store_true")
    parser.add_argument("--only-print", action="store_true", help="run nothing")
    return parser.parse_args()


def main() -> None:
    """Make what is missing, and print."""
    options = arguments()
    if options.make_tables:
        with np.errstate(all="ignore"):
            made = itertools.starmap(make_table, TASKS.items())
            save(options.tables, list(made))
    if not options.only_print:
        tables = load(options.tables)
        run(tables, options.searchers, range(options.seeds), options.output)
    rows = read(options.output)
    print("Mean regret in %", markdown(rows, "regret"), sep="\n\n")
    print("\nDiverged trainings", markdown(rows, "diverged"), sep="\n\n")
    for budget in (5, 20):
        print(
            f"\nRegret of each task after {budget}", by_task(rows, budget), sep="\n\n"
        )


if __name__ == "__main__":
    main()
