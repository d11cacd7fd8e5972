"""Make the tables of the long suite in docs/benchmarks_long.md.

    python examples/benchmarks/long/make_long_tables.py

They compare with the best of nine cosines. A score is a metric minus that of this
cosine at the same seeds, each at least -100, because one training that breaks down must
not decide a mean. The interval of a mean is that of a bootstrap which draws problems,
and for each of them seeds.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from long_plan import CSV, HALVES, halves
from long_policies import GRIDS, SHAPES
from long_problems import EMBEDDED, keras_rate
from page import markdown, parser, rewrite, signed
from ranking import DRAWS, LEVEL, MARGIN
from results import LOWEST, Case, Cell, Policies, Table, best, read

SCRIPT = "make_long_tables.py"
FOLDER = "long"
REFERENCE = "cosine_decay"

Scores = Mapping[Case, Mapping[int, float]]
"""One score a seed of each case."""


def problem_table() -> list[list[str]]:
    """Return what is trained, for how long, and for what the problem is used."""
    rows = [["problem", "half", "what is trained", "optimizers", "steps"]]
    of_half = halves()
    for problem in sorted(EMBEDDED, key=lambda each: of_half[each.name]):
        name, optimizers = f"`{problem.name}`", ", ".join(problem.optimizers)
        text = f"{problem.description}; batches of {problem.batch_size}"
        rows.append([name, of_half[problem.name], text, optimizers, f"{problem.steps}"])
    return rows


def entries(policies: Policies) -> dict[str, Cell]:
    """Return the cell of each policy at the default rate, and of grids the best one."""
    cells: dict[str, Cell] = {}
    for name, all_cells in policies.items():
        if name in GRIDS:
            # A sweep that is not finished has more seeds of some rates.
            seeds = max(len(cell.seeds) for cell in all_cells)
            whole = [cell for cell in all_cells if len(cell.seeds) == seeds]
            cells[f"best `{name}`"] = best([c for c in whole if c.rate] or whole)
        for cell in all_cells:
            if cell.rate is None:
                cells[f"`{name}`"] = cell
    return cells


def baseline_table(table: Table) -> list[list[str]]:
    """Return the metric of each baseline in each case, and the best rates."""
    names = list(dict.fromkeys(n for case in table.values() for n in entries(case)))
    names = [name for name in names if name.split("`")[1] in SHAPES]
    rows = [["problem", "optimizer", *names]]
    for case, policies in table.items():
        cells = entries(policies)
        rows.append([*case, *(_text(cells.get(name)) for name in names)])
    return rows


def _text(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return cell.text if cell.rate is None else f"{cell.text} at {cell.rate:g}"


def scores(table: Table, entry: str) -> Scores:
    """Return an entry's scores in every case that has them."""
    by_case = {}
    for case, policies in table.items():
        cells = entries(policies)
        reference = cells.get(f"best `{REFERENCE}`")
        if entry in cells and reference is not None:
            ours, theirs = _by_seed(cells[entry]), _by_seed(reference)
            by_case[case] = {
                seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs
            }
    return {case: by_seed for case, by_seed in by_case.items() if by_seed}


def _by_seed(cell: Cell) -> dict[int, float]:
    """Return the metric at each seed; one that is not finite is the lowest."""
    return {
        seed: metric if metric > LOWEST else float(LOWEST)
        for seed, metric in zip(cell.seeds, cell.metrics, strict=True)
    }


def mean_and_interval(scores: Scores) -> tuple[float, float, float]:
    """Return the mean over problems, and the ends of its interval."""
    by_problem = defaultdict(list)
    for (problem, _), by_seed in scores.items():
        by_problem[problem].append(list(by_seed.values()))
    groups = list(by_problem.values())
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(groups), (DRAWS, len(groups)))
    values = np.empty(drawn.shape)
    for index, cases in enumerate(groups):
        is_it = drawn == index
        values[is_it] = _drawn(cases, int(is_it.sum()), rng)
    means = values.mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = fmean(fmean(map(fmean, cases)) for cases in groups)
    return mean, float(low), float(high)


def _drawn(
    cases: Sequence[Sequence[float]], number: int, rng: np.random.Generator
) -> np.ndarray:
    """Return so many means of a problem, with seeds drawn anew in each of its cases."""
    means = [rng.choice(each, (number, len(each))).mean(axis=1) for each in cases]
    return np.mean(means, axis=0)


def summary_table(final: Table, area: Table) -> list[list[str]]:
    """Return one row for each half and entry: scores at the end and on average."""
    header = ["half", "policy", "cases", "final - best cosine", "worst"]
    rows = [[*header, f"within {MARGIN:g}", "area - best cosine", "diverged", "cost"]]
    of_half = halves()
    for half in HALVES:
        of_case = {c: final[c] for c in final if of_half[c[0]] == half}
        for name in dict.fromkeys(n for p in of_case.values() for n in entries(p)):
            row = _summary(name, of_case, area)
            if row and name != f"best `{REFERENCE}`":
                rows.append([half, name, *row])
    return rows


def _summary(name: str, final: Table, area: Table) -> list[str]:
    by_case = scores(final, name)
    if not by_case:
        return []
    means = [fmean(each.values()) for each in by_case.values()]
    cells = [entries(final[case])[name] for case in by_case]
    plain = [entries(final[case])[f"best `{REFERENCE}`"] for case in by_case]
    runs = sum(len(cell.metrics) for cell in cells)
    costs = [ours.cost / theirs.cost for ours, theirs in zip(cells, plain, strict=True)]
    return [
        f"{len(means)}",
        _interval_text(by_case),
        signed(min(means)),
        f"{sum(mean >= -MARGIN for mean in means)}/{len(means)}",
        _interval_text(scores({case: area[case] for case in by_case}, name)),
        f"{sum(cell.diverged for cell in cells)}/{runs}",
        f"{fmean(costs):.2f}",
    ]


def _interval_text(scores: Scores) -> str:
    mean, low, high = mean_and_interval(scores)
    if low == high:
        return f"{mean:+.2f}"
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def case_table(table: Table) -> list[list[str]]:
    """Return the score of each method in each case; nothing if there is no method."""
    names = dict.fromkeys(n for case in table.values() for n in entries(case))
    methods = [name for name in names if name.split("`")[1] not in SHAPES]
    if not methods:
        return []
    by_case = [scores(table, name) for name in methods]
    rows = [["problem", "optimizer", "half", *methods]]
    of_half = halves()
    for case in table:
        each = [method.get(case) for method in by_case]
        texts = [signed(fmean(seeds.values())) if seeds else "" for seeds in each]
        rows.append([*case, of_half[case[0]], *texts])
    return rows


def starts_table(table: Table) -> list[list[str]]:
    """Return how far a method from other rates ends from itself.

    A difference is that of the final metric from the run at Keras's rate, at the seeds
    that both have. The last row is the mean of the column.
    """
    differences = {
        (*case, name): by_factor
        for case, policies in table.items()
        for name, cells in policies.items()
        if name not in SHAPES and (by_factor := _from_starts(case[1], cells))
    }
    if not differences:
        return []
    factors = sorted({factor for each in differences.values() for factor in each})
    columns = [[d[f] for d in differences.values() if f in d] for f in factors]
    rows = [["problem", "optimizer", "method", *(f"{f:g} times" for f in factors)]]
    for (*case, name), by_factor in differences.items():
        texts = (signed(by_factor[f]) if f in by_factor else "" for f in factors)
        rows.append([*case, f"`{name}`", *texts])
    return [*rows, ["mean", "", "", *(signed(fmean(column)) for column in columns)]]


def _from_starts(optimizer: str, cells: Sequence[Cell]) -> dict[float, float]:
    """Return the differences from the cell at Keras's rate, by the factor."""
    plain = [_by_seed(cell) for cell in cells if cell.rate is None]
    differences = {}
    for cell in cells if plain else ():
        if cell.rate is not None:
            ours = _by_seed(cell)
            pairs = [ours[seed] - plain[0][seed] for seed in ours if seed in plain[0]]
            if pairs:
                factor = float(f"{cell.rate / keras_rate(optimizer):.3g}")
                differences[factor] = fmean(pairs)
    return differences


def loss_table(losses: Table) -> list[list[str]]:
    """Return the training loss of each method, and the lowest of all cosines.

    On average over the seeds that a method shares with all cosines. The last row counts
    the cases in which a method is below the lowest.
    """
    names = dict.fromkeys(n for case in losses.values() for n in entries(case))
    methods = [name for name in names if name.split("`")[1] not in SHAPES]
    if not methods:
        return []
    of_half = halves()
    rows, below, counts = [], dict.fromkeys(methods, 0), dict.fromkeys(methods, 0)
    for case, policies in losses.items():
        cells, texts = entries(policies), []
        for name in methods:
            pair = _loss_and_lowest(cells.get(name), policies.get(REFERENCE, []))
            if pair is None:
                texts += ["", ""]
                continue
            below[name] += pair[0] < pair[1]
            counts[name] += 1
            texts += [f"{each:.3g}" for each in pair]
        rows.append([*case, of_half[case[0]], *texts])
    header = [text for name in methods for text in (name, "lowest of the cosines")]
    counted = [text for n in methods for text in (f"below: {below[n]}/{counts[n]}", "")]
    return [["problem", "optimizer", "half", *header], *rows, ["", "", "", *counted]]


def _loss_and_lowest(
    ours: Cell | None, cosines: Sequence[Cell]
) -> tuple[float, float] | None:
    """Return the mean loss of a cell and the lowest of all cosines at their seeds."""
    if ours is None or not cosines:
        return None
    seeds = set(ours.seeds).intersection(*(cell.seeds for cell in cosines))
    if not seeds:
        return None
    own, *others = (_mean_loss(cell, seeds) for cell in (ours, *cosines))
    return own, min(others)


def _mean_loss(cell: Cell, seeds: Collection[int]) -> float:
    """Return the mean over these seeds, infinite if a training broke down."""
    pairs = zip(cell.seeds, cell.metrics, strict=True)
    losses = [loss for seed, loss in pairs if seed in seeds]
    return fmean(losses) if all(map(math.isfinite, losses)) else math.inf


def page_tables(path: Path) -> str:
    """Return all tables with their headings."""
    final, area = read(path), read(path, "area")
    seeds = {
        seed
        for policies in final.values()
        for cells in policies.values()
        for cell in cells
        for seed in cell.seeds
    }
    parts = [
        f"Seeds: {', '.join(map(str, sorted(seeds)))}.",
        "## The problems",
        markdown(problem_table()),
        "## Minus the best cosine",
        markdown(summary_table(final, area)),
    ]
    for kind, table in (("final metric", final), ("area", area)):
        if rows := case_table(table):
            heading = f"## {kind.capitalize()} minus the best cosine, by case"
            parts += [heading, markdown(rows)]
    if rows := starts_table(final):
        heading = "## From other rates than Keras's"
        parts += [heading, markdown(rows)]
    if rows := loss_table(read(path, "final_loss")):
        parts += ["## Training loss of the last epoch", markdown(rows)]
    heading = "## Baselines"
    return "\n\n".join([*parts, heading, markdown(baseline_table(final))])


def quick_table(path: Path) -> list[list[str]]:
    """Return the summary of a CSV."""
    return summary_table(read(path), read(path, "area"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the page."""
    options = parser(__doc__, CSV).parse_args(arguments)
    rewrite(options.page, page_tables(options.results), SCRIPT, FOLDER)


if __name__ == "__main__":
    main()
