"""Make the tables of docs/benchmarks.md from the CSV of raw runs.

    python examples/benchmarks/make_tables.py

The table of `MARTHE`'s defaults in docs/methods/marthe.md is made too, from
`results/marthe_defaults.csv`. Only the text between a page's two markers is replaced.
"""

import argparse
import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev

HERE = Path(__file__).resolve().parent
CSV = HERE / "results" / "suite.csv"
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
VARIANTS_CSV = HERE / "results" / "marthe_defaults.csv"
VARIANTS_PAGE = HERE.parents[1] / "docs" / "methods" / "marthe.md"
BEGIN = "<!-- begin of the tables made by examples/benchmarks/make_tables.py -->"
END = "<!-- end of the tables -->"
LOWEST = -100
"""Points below which a number says only that the training broke down."""
CLOSE = 1.0
"""Points from its own best within which a method holds for a starting rate."""


@dataclass(frozen=True)
class Cell:
    """A policy at one starting rate on one problem with one optimizer."""

    rate: float | None
    metrics: tuple[float, ...]
    diverged: int
    failed: int

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
Table = Mapping[Case, Mapping[str, Sequence[Cell]]]


def read(path: Path) -> Table:
    """Return the cells of each (problem, optimizer) and policy, by rising rate."""
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
        cell = _cell(float(rate) if rate else None, rows)
        table[problem, optimizer][policy].append(cell)
    for policies in table.values():
        for cells in policies.values():
            cells.sort(key=lambda cell: cell.rate or 0.0)
    return table


def _cell(rate: float | None, rows: Iterable[Mapping[str, str]]) -> Cell:
    rows = list(rows)
    done = [row for row in rows if not row["error"]]
    return Cell(
        rate,
        tuple(float(row["final_metric"]) for row in done),
        sum(int(row["diverged"]) for row in done),
        len(rows) - len(done),
    )


def best(cells: Sequence[Cell]) -> Cell:
    """Return the cell of the best mean."""
    return max(cells, key=lambda cell: cell.mean)


def own(cells: Sequence[Cell]) -> Cell:
    """Return what a policy does without a starting rate, or else with its best."""
    return next((cell for cell in cells if cell.rate is None), best(cells))


def holding_range(cells: Sequence[Cell]) -> list[float]:
    """Return the neighboring starting rates within `CLOSE` points of the best."""
    cells = [cell for cell in cells if cell.rate is not None]
    if not cells:
        return []
    top = cells.index(best(cells))
    close = [cell.mean >= cells[top].mean - CLOSE for cell in cells]
    low = high = top
    while low > 0 and close[low - 1]:
        low -= 1
    while high < len(cells) - 1 and close[high + 1]:
        high += 1
    return [cell.rate for cell in cells[low : high + 1] if cell.rate is not None]


def score(cells: Sequence[Cell], reference: Sequence[Cell] | None) -> float:
    """Return the metric of an untouched policy minus the best of the reference's."""
    if not reference:
        return math.nan
    return own(cells).mean - best(reference).mean


def methods(table: Table) -> list[str]:
    """Return the policies which are no grids of rates, in order of appearance."""
    names = dict.fromkeys(name for policies in table.values() for name in policies)
    return [name for name in names if name not in {"constant", "cosine_decay"}]


def baseline_table(table: Table) -> list[list[str]]:
    """Return the best constant and cosine, and where they hold, for each case."""
    header = ["problem", "optimizer", "best constant", "at", "holds for"]
    rows = [[*header, "best cosine", "at", "holds for"]]
    for (problem, optimizer), policies in table.items():
        row = [problem, optimizer]
        for name in ("constant", "cosine_decay"):
            cells = policies.get(name, [])
            if not cells:
                row += ["", "", ""]
                continue
            top = best(cells)
            row += [top.text, f"{top.rate:g}", _range_text(holding_range(cells))]
        rows.append(row)
    return rows


def score_table(table: Table, reference: str) -> list[list[str]]:
    """Return each method's metric minus the best of the reference, case by case."""
    names = methods(table)
    rows = [["problem", "optimizer", *(f"`{name}`" for name in names)]]
    for case, policies in table.items():
        row = [
            _score_text(policies.get(name), policies.get(reference)) for name in names
        ]
        rows.append([*case, *row])
    return rows


def _score_text(cells: Sequence[Cell] | None, reference: Sequence[Cell] | None) -> str:
    if not cells or not reference:
        return ""
    cell = own(cells)
    text = f"{_signed(score(cells, reference))} ({cell.text})"
    if cell.diverged:
        text += f", {cell.diverged}/{len(cell.metrics)} diverged"
    if cell.failed:
        text += f", {cell.failed} failed"
    return text


def range_table(table: Table) -> list[list[str]]:
    """Return the starting rates that each method with such rates holds for."""
    names = [
        name
        for name in methods(table)
        if any(holding_range(policies.get(name, [])) for policies in table.values())
    ]
    if not names:
        return []
    rows = [["problem", "optimizer", *(f"`{name}`" for name in names)]]
    for case, policies in table.items():
        ranges = [holding_range(policies.get(name, [])) for name in names]
        rows.append([*case, *map(_range_text, ranges)])
    return rows


def summary_table(table: Table) -> list[list[str]]:
    """Return one row a policy and optimizer: scores over the problems."""
    header = ["policy", "optimizer", "mean", "mean - best constant", "median", "worst"]
    rows = [[*header, "within 0.5", "median - best cosine", "diverged"]]
    optimizers = list(dict.fromkeys(optimizer for _, optimizer in table))
    for name in methods(table):
        for optimizer in optimizers:
            cases = [
                policies
                for (_, case_optimizer), policies in table.items()
                if case_optimizer == optimizer and name in policies
            ]
            if cases:
                rows.append([name, optimizer, *_summary(cases, name)])
    return rows


def _summary(cases: Sequence[Mapping[str, Sequence[Cell]]], name: str) -> list[str]:
    scores = [score(case[name], case.get("constant")) for case in cases]
    cosine = [score(case[name], case.get("cosine_decay")) for case in cases]
    cells = [cell for case in cases for cell in case[name]]
    runs = sum(len(cell.metrics) for cell in cells)
    mean = fmean(own(case[name]).mean for case in cases)
    return [
        f"{mean:.1f}" if mean > LOWEST else f"below {LOWEST}",
        _signed(fmean(scores)),
        _signed(median(scores)),
        _signed(min(scores)),
        f"{sum(value >= -0.5 for value in scores)}/{len(scores)}",
        _signed(median(cosine)),
        f"{sum(cell.diverged for cell in cells)}/{runs}",
    ]


def _signed(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:+.1f}" if value > LOWEST else f"below {LOWEST}"


def _range_text(rates: Sequence[float]) -> str:
    if not rates:
        return ""
    if len(rates) == 1:
        return f"{rates[0]:g}"
    return f"{rates[0]:g} to {rates[-1]:g}"


def start_table(table: Table) -> list[list[str]]:
    """Return how methods do from starts below and above the best constant rate."""
    groups: dict[tuple[str, int], list[tuple[float, Cell]]] = defaultdict(list)
    for policies in table.values():
        if not policies.get("constant"):
            continue
        top = best(policies["constant"])
        for name in methods(table):
            for cell in policies.get(name, []):
                if cell.rate is not None and top.rate is not None:
                    decades = math.ceil(math.log10(cell.rate / top.rate) - 0.25)
                    groups[name, decades].append((cell.mean - top.mean, cell))
    if not groups:
        return []
    rows = [["policy", "start, times the best constant rate", "cases"]]
    rows[0] += ["mean - best constant", "worst", "diverged"]
    for (name, decades), pairs in sorted(groups.items()):
        scores = [each for each, _ in pairs]
        runs = sum(len(cell.metrics) for _, cell in pairs)
        diverged = sum(cell.diverged for _, cell in pairs)
        numbers = _signed(fmean(scores)), _signed(min(scores)), f"{diverged}/{runs}"
        rows.append([f"`{name}`", _decade_text(decades), str(len(pairs)), *numbers])
    return rows


def _decade_text(decades: int) -> str:
    """Return the two rates, half a decade apart, that are counted together."""
    return f"{10 ** (decades - 0.5):.3g} or {10.0**decades:g}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first row is the header."""
    header, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([header, "|---" * len(rows[0]) + "|", *body])


def page_tables(table: Table) -> str:
    """Return all tables with their headings."""
    parts = [
        "### Summary over the problems",
        markdown(summary_table(table)),
        "### Best constant rate and best cosine decay",
        markdown(baseline_table(table)),
        "### Minus the best constant rate",
        markdown(score_table(table, "constant")),
        "### Minus the best cosine decay",
        markdown(score_table(table, "cosine_decay")),
    ]
    starts = start_table(table)
    if starts:
        heading = "### From rates below and above the best constant one"
        parts[2:2] = [heading, markdown(starts)]
    ranges = range_table(table)
    if ranges:
        parts += ["### Starting rates that a method holds for", markdown(ranges)]
    return "\n\n".join(parts)


def variants_table(suite: Table, variants: Table, name: str) -> str:
    """Return the summary of variants of a method, and of itself on the same cases."""
    beside = ("constant", "cosine_decay", name)
    table = {
        case: {each: suite[case][each] for each in beside} | dict(policies)
        for case, policies in variants.items()
    }
    return markdown(summary_table(table))


def replace_tables(page: str, tables: str) -> str:
    """Return the page with new text between its markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"The page must hold the lines {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def rewrite(page: Path, tables: str) -> None:
    """Put tables between the markers of a page."""
    text = page.read_text(encoding="utf-8")
    page.write_text(replace_tables(text, tables), encoding="utf-8")


def main() -> None:
    """Rewrite the pages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=CSV)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    suite = read(arguments.results)
    rewrite(arguments.page, page_tables(suite))
    rewrite(VARIANTS_PAGE, variants_table(suite, read(VARIANTS_CSV), "marthe"))


if __name__ == "__main__":
    main()
