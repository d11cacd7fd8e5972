"""Make the tables of docs/benchmarks_*.md from the CSV of raw runs.

    python examples/benchmarks/suite/make_tables.py

With `--results examples/benchmarks/results/suite_same_batches.csv`, those of the runs
with the same order of batches in each epoch. The table of `MARTHE`'s defaults in
docs/methods/marthe.md is made too, from `results/marthe_defaults.csv`, whose runs had
that order. Only the text between a page's two markers is replaced.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from page import DOCS, made_from, markdown, parser, rewrite, signed
from results import (
    GRIDS,
    LOWEST,
    RESULTS,
    SAME_BATCHES,
    Cell,
    Table,
    best,
    default_or_best,
    difference,
    holding_range,
    methods,
    read,
    score,
)

VARIANTS_CSV = RESULTS / "marthe_defaults.csv"
VARIANTS_PAGE = DOCS / "methods" / "marthe.md"
SCRIPT = "make_tables.py"


def baseline_table(table: Table) -> list[list[str]]:
    """Return the best constant and cosine, and where they hold, for each case."""
    header = ["problem", "optimizer", "best constant", "at", "holds for"]
    rows = [[*header, "best cosine", "at", "holds for"]]
    for (problem, optimizer), policies in table.items():
        row = [problem, optimizer]
        for name in GRIDS:
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
    cell = default_or_best(cells)
    text = f"{signed(score(cells, reference))} ({cell.text})"
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
    mean = fmean(default_or_best(case[name]).mean for case in cases)
    return [
        f"{mean:.1f}" if mean > LOWEST else f"below {LOWEST}",
        signed(fmean(scores)),
        signed(median(scores)),
        signed(min(scores)),
        f"{sum(value >= -0.5 for value in scores)}/{len(scores)}",
        signed(median(cosine)),
        f"{sum(cell.diverged for cell in cells)}/{runs}",
    ]


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
                    groups[name, decades].append((difference(cell, top), cell))
    if not groups:
        return []
    rows = [["policy", "start, times the best constant rate", "cases"]]
    rows[0] += ["mean - best constant", "worst", "diverged"]
    for (name, decades), pairs in sorted(groups.items()):
        scores = [each for each, _ in pairs]
        runs = sum(len(cell.metrics) for _, cell in pairs)
        diverged = sum(cell.diverged for _, cell in pairs)
        numbers = signed(fmean(scores)), signed(min(scores)), f"{diverged}/{runs}"
        rows.append([f"`{name}`", _decade_text(decades), str(len(pairs)), *numbers])
    return rows


def _decade_text(decades: int) -> str:
    """Return the two rates, half a decade apart, that are counted together."""
    return f"{10 ** (decades - 0.5):.3g} or {10.0**decades:g}"


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
    beside = (*GRIDS, name)
    table = {
        case: {each: suite[case][each] for each in beside} | dict(policies)
        for case, policies in variants.items()
    }
    return markdown(summary_table(table))


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the pages."""
    options = parser(__doc__).parse_args(arguments)
    tables = page_tables(read(options.results))
    rewrite(options.page, tables, made_from(SCRIPT, options.results))
    variants = variants_table(read(SAME_BATCHES), read(VARIANTS_CSV), "marthe")
    rewrite(VARIANTS_PAGE, variants, SCRIPT)


if __name__ == "__main__":
    main()
