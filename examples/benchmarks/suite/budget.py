"""What do N gradient evaluations buy? Scores of methods beside what they cost.

    python examples/benchmarks/suite/budget.py

writes the table in docs/benchmarks_same_batches.md from the runs with the same order of
batches in each epoch, which have three seeds. Grids of constant rates and of cosine
decays are replayed from them as one would search: with one training at each rate, with
a different seed from the one that is reported. So a grid of nine costs ten trainings,
as the search with `Zooming` costs six.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean, median

from page import markdown, parser, rewrite, signed
from ranking import AS_IN_PAPERS, floor, seed_scores
from results import (
    SAME_BATCHES,
    Cell,
    Policies,
    Table,
    by_seed,
    cases,
    default_or_best,
    methods,
    read,
)

SCRIPT = "budget.py"
OPTIMIZERS = ("sgd", "momentum", "adam")
GRIDS = {
    "constant, 3 rates": ("constant", (1, 4, 7)),
    "constant, 5 rates": ("constant", (0, 2, 4, 6, 8)),
    "constant, 9 rates": ("constant", tuple(range(9))),
    "cosine decay, 3 rates": ("cosine_decay", (1, 4, 7)),
    "cosine decay, 5 rates": ("cosine_decay", (0, 2, 4, 6, 8)),
    "cosine decay, 9 rates": ("cosine_decay", tuple(range(9))),
}
"""Searches that are replayed: a policy, and which of its nine rates."""


def replay(cells: Sequence[Cell], places: Sequence[int]) -> dict[int, float]:
    """Return the metric of each seed, at the rate that the seed before it picks."""
    runs = [by_seed(cells[place]) for place in places]
    seeds = sorted(set.intersection(*map(set, runs)))
    metrics: dict[int, float] = {}
    for place, seed in enumerate(seeds):
        judged = [floor(run[seeds[place - 1]]) for run in runs]
        metrics[seed] = runs[judged.index(max(judged))][seed]
    return metrics


def grid_scores(table: Table, optimizer: str, grid: str) -> list[float]:
    """Return the score of a replayed search in each case of an optimizer."""
    policy, places = GRIDS[grid]
    return [
        _mean_score(replay(case[policy], places), case)
        for case in cases(table, optimizer)
    ]


def method_scores(table: Table, optimizer: str, name: str) -> list[float]:
    """Return the score of a method in each case of an optimizer where it was run."""
    return [
        _mean_score(by_seed(default_or_best(case[name])), case)
        for case in cases(table, optimizer)
        if case.get(name)
    ]


def _mean_score(metrics: Mapping[int, float], case: Policies) -> float:
    return fmean(seed_scores(metrics, case["constant"]).values())


def cost(table: Table, name: str) -> float:
    """Return a method's gradient evaluations, in plain trainings; the median case."""
    return median(
        default_or_best(case[name]).cost / default_or_best(case["default"]).cost
        for case in table.values()
        if case.get(name)
    )


def page_table(table: Table) -> str:
    """Return a row for each method and search, the cheapest first."""
    names = [name for name in methods(table) if name not in AS_IN_PAPERS]
    priced = [
        (cost(table, name), f"`{name}`", method_scores, name) for name in names
    ] + [
        (len(places) + 1.0, grid, grid_scores, grid)
        for grid, (_, places) in GRIDS.items()
    ]
    rows = [["method", "trainings", *(f"{name}: mean, worst" for name in OPTIMIZERS)]]
    for price, text, scores, name in sorted(priced, key=lambda each: each[0]):
        columns = [_text(scores(table, optimizer, name)) for optimizer in OPTIMIZERS]
        rows.append([text, f"{price:.2f}", *columns])
    return markdown(rows)


def _text(scores: Sequence[float]) -> str:
    return f"{signed(fmean(scores))}, {signed(min(scores))}" if scores else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the table."""
    options = parser(__doc__, SAME_BATCHES).parse_args(arguments)
    rewrite(options.page, page_table(read(options.results)), SCRIPT)


if __name__ == "__main__":
    main()
