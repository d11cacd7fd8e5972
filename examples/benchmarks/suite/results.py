"""The raw runs of the suite as cells: a policy at one starting rate in one case."""

import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

RESULTS = Path(__file__).resolve().parents[1] / "results"
CSV = RESULTS / "suite_new_batches.csv"
"""Runs on batches that are new in each epoch."""
SAME_BATCHES = RESULTS / "suite_same_batches.csv"
"""Runs with the same order of batches in each epoch; no script adds to them."""
LOWEST = -100
"""Points below which a number says only that the training broke down."""
CLOSE = 1.0
"""Points from its own best within which a method holds for a starting rate."""
GRIDS = ("constant", "cosine_decay")
"""Policies that are a grid of rates, of which the best one counts."""


@dataclass(frozen=True)
class Cell:
    """A policy at one starting rate on one problem with one optimizer.

    Attributes:
        rate: The starting rate, `None` if it was not chosen.
        metrics: After the last epoch, in points, of each run without an error.
        diverged: How many of them diverged.
        failed: How many others there were.
        seeds: Those of the metrics.
        cost: Gradient evaluations of a run, on average.
    """

    rate: float | None
    metrics: tuple[float, ...]
    diverged: int
    failed: int
    seeds: tuple[int, ...] = ()
    cost: float = math.nan

    @property
    def mean(self) -> float:
        """Mean over seeds, minus infinity if a run has no finite metric."""
        if not self.metrics or not all(map(math.isfinite, self.metrics)):
            return -math.inf
        return fmean(self.metrics)

    @property
    def text(self) -> str:
        """Mean ± standard deviation over seeds."""
        if math.isinf(self.mean):
            return "not finite"
        if self.mean < LOWEST:
            return f"below {LOWEST}"
        spread = f" ± {stdev(self.metrics):.1f}" if len(self.metrics) > 1 else ""
        return f"{self.mean:.1f}{spread}"


Case = tuple[str, str]
Policies = Mapping[str, Sequence[Cell]]
Table = Mapping[Case, Policies]


def read(path: Path, measure: str = "final_metric") -> Table:
    """Return the cells of each (problem, optimizer) and policy, by rising rate.

    Args:
        path: CSV of raw runs.
        measure: Column that becomes the `metrics` of a cell.
    """
    groups: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            keys = ("problem", "optimizer", "policy", "learning_rate")
            groups[tuple(row[key] for key in keys)].append(row)
    table: dict[Case, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    # Problems in the order in which they were first run, optimizers likewise.
    problems = list(dict.fromkeys(key[0] for key in groups))
    optimizers = list(dict.fromkeys(key[1] for key in groups))
    cases = {key[:2] for key in groups}
    ordered = [c for c in itertools.product(problems, optimizers) if c in cases]
    table |= {case: defaultdict(list) for case in ordered}
    for (problem, optimizer, policy, rate), rows in groups.items():
        cell = _cell(float(rate) if rate else None, rows, measure)
        table[problem, optimizer][policy].append(cell)
    for policies in table.values():
        for cells in policies.values():
            cells.sort(key=lambda cell: cell.rate or 0.0)
    return table


def _cell(rate: float | None, rows: Iterable[Mapping[str, str]], measure: str) -> Cell:
    rows = list(rows)
    done = [row for row in rows if not row["error"]]
    costs = [float(row.get("gradient_evaluations") or "nan") for row in done]
    return Cell(
        rate,
        tuple(float(row[measure]) for row in done),
        sum(int(row["diverged"]) for row in done),
        len(rows) - len(done),
        tuple(int(row["seed"]) for row in done),
        fmean(costs) if costs else math.nan,
    )


def best(cells: Sequence[Cell]) -> Cell:
    """Return the cell of the best mean, of those with the most seeds."""
    seeds = max(len(cell.seeds) for cell in cells)
    # Elsewhere a grid may have been run with the first seed only.
    return max((c for c in cells if len(c.seeds) == seeds), key=lambda c: c.mean)


def difference(cell: Cell, reference: Cell) -> float:
    """Return a cell's mean minus another's, over the seeds that both have.

    NaN if there are none, or if the reference has no finite metric there; minus
    infinity if a run of the cell has none.
    """
    metrics, references = (by_seed(each) for each in (cell, reference))
    seeds = metrics.keys() & references.keys()
    if not all(math.isfinite(references[seed]) for seed in seeds) or not seeds:
        return math.nan
    if not all(math.isfinite(metrics[seed]) for seed in seeds):
        return -math.inf
    return fmean(metrics[seed] - references[seed] for seed in seeds)


def by_seed(cell: Cell) -> dict[int, float]:
    """Return the metric of each seed of a cell."""
    return dict(zip(cell.seeds, cell.metrics, strict=True))


def default_or_best(cells: Sequence[Cell]) -> Cell:
    """Return the cell without a starting rate, or else the best one."""
    return next((cell for cell in cells if cell.rate is None), best(cells))


def holding_range(cells: Sequence[Cell]) -> list[float]:
    """Return the neighboring starting rates within `CLOSE` points of the best."""
    cells = [cell for cell in cells if cell.rate is not None]
    if not cells:
        return []
    top = cells.index(best(cells))
    close = [difference(cell, cells[top]) >= -CLOSE for cell in cells]
    low = high = top
    while low > 0 and close[low - 1]:
        low -= 1
    while high < len(cells) - 1 and close[high + 1]:
        high += 1
    return [cell.rate for cell in cells[low : high + 1] if cell.rate is not None]


def score(cells: Sequence[Cell], reference: Sequence[Cell] | None) -> float:
    """Return a policy's metric with defaults minus the reference's best."""
    if not reference:
        return math.nan
    return difference(default_or_best(cells), best(reference))


def of_seed(cell: Cell, seed: int) -> Cell:
    """Return what a cell holds of one seed."""
    metrics = tuple(m for of, m in by_seed(cell).items() if of == seed)
    return replace(cell, metrics=metrics, seeds=(seed,) * len(metrics))


def cases(table: Table, optimizer: str) -> list[Policies]:
    """Return the cases of an optimizer, one for each problem."""
    return [policies for (_, name), policies in table.items() if name == optimizer]


def methods(table: Table) -> list[str]:
    """Return the policies which are no grids of rates, in order of appearance."""
    names = dict.fromkeys(name for policies in table.values() for name in policies)
    return [name for name in names if name not in GRIDS]
