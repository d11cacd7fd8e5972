"""Rank the methods of the suite, and say how sure the ranking is.

    python examples/benchmarks/suite/rank.py

writes the tables of the ranking in docs/benchmarks*.md and docs/images/ranking.png from
the CSV of raw runs. `--page` and `--figure` write elsewhere. With

    --results examples/benchmarks/results/suite_same_batches.csv
    --figure docs/images/ranking_same_batches.png

it writes those of the runs with the same order of batches in each epoch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from page import DOCS, made_from, markdown, parser, rewrite, signed
from ranking import (
    AS_IN_PAPERS,
    BEST,
    Ranked,
    Scores,
    baseline_seeds,
    compare,
    rank,
    scores,
)
from results import LOWEST, Table, read

SCRIPT = "rank.py"
FIGURE = DOCS / "images" / "ranking.png"
SAME_BATCHES_FIGURE = DOCS / "images" / "ranking_same_batches.png"
REFERENCES = ("default", *BEST.values())
"""What wins and losses are counted against."""
BASELINES = (*REFERENCES, "reduce_on_plateau")
GROUPS = {
    "All three optimizers": ("sgd", "momentum", "adam"),
    "SGD": ("sgd",),
    "SGD with momentum": ("momentum",),
    "Adam": ("adam",),
}
COLORS = {
    "keras_lr, with defaults": "#0072B2",
    "as in its paper": "#999999",
    "baseline": "#D55E00",
}
TICKS = (-100, -30, -10, -3, -1, 0, 1, 3)
LINEAR = 1.0
"""Points around 0 in which the axis of the figure is linear; beyond, logarithmic."""


def page_tables(table: Table) -> str:
    """Return the seeds, and a table of each group of optimizers with its heading."""
    seeds = ", ".join(map(str, baseline_seeds(table.values())))
    parts = [f"Seeds of the baselines: {seeds}."]
    for heading, optimizers in GROUPS.items():
        parts += [f"### {heading}", markdown(ranking_table(scores(table, optimizers)))]
    return "\n\n".join(parts)


def ranking_table(scored: Scores) -> list[list[str]]:
    """Return a row for each method, those of the best mean rank first."""
    others = [name for name in REFERENCES if name in scored.names]
    header = ["method", "mean rank", "mean score", *(f"against {o}" for o in others)]
    return [header, *(_row(scored, each, others) for each in rank(scored))]


def _row(scored: Scores, ranked: Ranked, others: Sequence[str]) -> list[str]:
    low, high = ranked.rank_interval
    worst, best = map(signed, ranked.score_interval)
    return [
        f"`{ranked.name}`" if ranked.name not in BEST.values() else ranked.name,
        f"{ranked.rank:.1f} ({low:.1f} to {high:.1f})",
        f"{signed(ranked.score)} ({worst} to {best})",
        *("/".join(map(str, compare(scored, ranked.name, other))) for other in others),
    ]


def draw(table: Table) -> Any:
    """Return the figure: a panel for each group, a line for each method."""
    groups = {name: rank(scores(table, each)) for name, each in GROUPS.items()}
    figure, axes = plt.subplots(2, 2, figsize=(11, 8.5), layout="constrained")
    for ax, (name, ranking) in zip(axes.flat, groups.items(), strict=True):
        draw_group(ax, ranking)
        ax.set_title(name, fontsize=10)
    for kind, color in COLORS.items():
        axes[0, 0].plot([], [], "o-", color=color, label=kind)
    axes[0, 0].legend(loc="lower right", fontsize=8)
    figure.supxlabel("points above the best constant rate, mean and 95 % interval")
    return figure


def draw_group(ax: Any, ranking: Sequence[Ranked]) -> Any:
    """Draw the mean score of each method with its interval, the best at the top."""
    ordered = sorted(ranking, key=lambda each: each.score)
    for place, each in enumerate(ordered):
        color = COLORS[kind(each.name)]
        ax.plot(each.score_interval, [place, place], color=color, linewidth=2)
        ax.plot(each.score, place, "o", color=color, markersize=5)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xscale("symlog", linthresh=LINEAR, linscale=1.0)
    ax.set_xlim(LOWEST, 5)
    ax.set_xticks(TICKS, [f"{tick:+g}" if tick else "0" for tick in TICKS])
    ax.set_yticks(range(len(ordered)), [each.name for each in ordered], fontsize=8)
    ax.grid(axis="x", linewidth=0.3)
    return ax


def kind(name: str) -> str:
    """Return which color a method has."""
    if name in BASELINES:
        return "baseline"
    return "as in its paper" if name in AS_IN_PAPERS else "keras_lr, with defaults"


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the tables and the figure."""
    command_line = parser(__doc__)
    command_line.add_argument("--figure", type=Path, default=FIGURE)
    options = command_line.parse_args(arguments)
    table = read(options.results)
    rewrite(options.page, page_tables(table), made_from(SCRIPT, options.results))
    draw(table).savefig(options.figure, dpi=120)


if __name__ == "__main__":
    main()
