"""Draw final scores as a function of the rate that a model was compiled with.

    python examples/benchmarks/suite/robustness.py

writes docs/images/robustness.png and the table beside it in docs/benchmarks.md. Rates
are counted from the best constant one of the same problem and optimizer. Between the
rates that were run, scores are interpolated over the logarithm of the rate; a rate is
shown where at least half of the problems have runs on both sides of it.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from page import DOCS, markdown, parser, rewrite, signed
from problems import keras_rate
from ranking import DRAWS, interval, seed_scores
from results import (
    CSV,
    GRIDS,
    Cell,
    Policies,
    Table,
    best,
    by_seed,
    cases,
    default_or_best,
    read,
)

from keras_lr.comparison.policies import NAMED

SCRIPT = "robustness.py"
FIGURE = DOCS / "images" / "robustness.png"
OFFSETS = np.arange(-8, 9) / 2
"""Decades from the best constant rate."""
LOWEST_SHOWN = -40
"""Points at the lower edge of the figure."""
CURVES = {
    "constant": ("constant rate", "#000000"),
    "cosine_decay": ("cosine decay", "#D55E00"),
    "marthe": ("MARTHE", "#0072B2"),
    "walk": ("LearningRateWalk", "#E69F00"),
}
LEVELS = {
    "lipschitz": ("LipschitzLR", "#009E73"),
    "adamo": ("AdaMo", "#CC79A7"),
    "auto_adam": ("AutoAdam", "#CC79A7"),
}
"""What has no rate to start from, or does not look at it."""
TITLES = {"sgd": "SGD", "momentum": "SGD with momentum", "adam": "Adam"}
SHOWN = (-2, -1, 0, 1, 2)
"""Offsets in the table."""

Floats = npt.NDArray[np.float64]


def curves(table: Table, optimizer: str, policy: str) -> Floats:
    """Return scores over `OFFSETS`, `(problems, offsets)`, NaN where none are known."""
    rate = keras_rate(optimizer)
    return np.array(
        [case_curve(case, policy, rate) for case in cases(table, optimizer)]
    )


def case_curve(policies: Policies, policy: str, default: float) -> Floats:
    """Return the scores of one case over `OFFSETS`.

    Args:
        policies: The case.
        policy: One of them.
        default: The rate of the runs that have none in the CSV.
    """
    constant = policies["constant"]
    # Of two cells at one rate, the one with more seeds counts.
    by_seeds = sorted(policies.get(policy, ()), key=lambda cell: len(cell.metrics))
    points = {decades(cell.rate or default, best(constant)): cell for cell in by_seeds}
    if len(points) < 2:
        return np.full(len(OFFSETS), math.nan)
    places = sorted(points)
    scores = [cell_score(points[place], constant) for place in places]
    return np.interp(OFFSETS, places, scores, left=math.nan, right=math.nan)


def decades(rate: float, top: Cell) -> float:
    """Return how far a rate is above the best constant one."""
    return round(math.log10(rate / (top.rate or math.nan)), 2)


def cell_score(cell: Cell, constant: Sequence[Cell]) -> float:
    """Return the mean score over the seeds of a cell."""
    return fmean(seed_scores(by_seed(cell), constant).values())


def levels(table: Table, optimizer: str, policy: str) -> list[float]:
    """Return the scores of a policy without a rate, one for each problem."""
    return [
        cell_score(default_or_best(case[policy]), case["constant"])
        for case in cases(table, optimizer)
        if case.get(policy)
    ]


def mean_and_band(scores: Floats, draws: int = DRAWS) -> tuple[Floats, Floats]:
    """Return the mean over problems, and the ends of its 95 % interval.

    Args:
        scores: `(problems, offsets)`. Where fewer than half of the problems have a
            score, the mean is NaN.
        draws: How often problems are drawn, with replacement.
    """
    problems = len(scores)
    mean, low, high = (np.full(scores.shape[1], math.nan) for _ in range(3))
    rng = np.random.default_rng(0)
    for place, column in enumerate(scores.T):
        known = column[np.isfinite(column)]
        if len(known) < problems / 2:
            continue
        sampled = rng.choice(known, (draws, len(known))).mean(1)
        mean[place] = known.mean()
        low[place], high[place] = interval(sampled)
    return mean, np.array([low, high])


def draw(table: Table) -> Any:
    """Return the figure: a panel for each optimizer, a curve for each method."""
    figure, axes = plt.subplots(
        1, 3, figsize=(12, 4.6), sharey=True, layout="constrained"
    )
    for ax, (optimizer, title) in zip(axes, TITLES.items(), strict=True):
        draw_optimizer(ax, table, optimizer)
        ax.set_title(title, fontsize=10)
    figure.suptitle("What a wrong learning rate costs", fontsize=12, weight="bold")
    axes[0].set_ylabel("final score above the best\nconstant rate's, in points")
    axes[1].set_xlabel("compiled learning rate, times the best constant one")
    handles = {
        text: line
        for ax in axes
        for line, text in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=7, fontsize=10
    )
    return figure


def draw_optimizer(ax: Any, table: Table, optimizer: str) -> Any:
    """Draw the curves of one optimizer."""
    rates = 10.0**OFFSETS
    for policy, (label, color) in CURVES.items():
        mean, (low, high) = mean_and_band(curves(table, optimizer, policy))
        if np.isfinite(mean).any():
            width = 1.5 if policy in GRIDS else 2.5
            ax.plot(rates, mean, color=color, label=label, linewidth=width)
            ax.fill_between(rates, low, high, color=color, alpha=0.15, linewidth=0)
    for policy, (label, color) in LEVELS.items():
        scores = levels(table, optimizer, policy)
        if scores and optimizer in NAMED[policy].optimizers:
            ax.axhline(fmean(scores), color=color, linestyle="--", label=label)
    ax.set_xscale("log")
    ax.set_ylim(LOWEST_SHOWN, 5)
    ax.axhline(0, color="black", linewidth=0.5)
    ax.grid(linewidth=0.3)
    return ax


def page_table(table: Table) -> str:
    """Return the means that the figure shows, at whole decades."""
    shown = [int(np.flatnonzero(offset == OFFSETS)[0]) for offset in SHOWN]
    times = [f"{10.0**offset:g} times" for offset in SHOWN]
    rows = [["optimizer", "method", *times]]
    for optimizer in TITLES:
        for policy, (label, _) in CURVES.items():
            mean, _ = mean_and_band(curves(table, optimizer, policy), draws=1)
            if np.isfinite(mean).any():
                rows.append([optimizer, label, *map(signed, mean[shown])])
        for policy, (label, _) in LEVELS.items():
            scores = levels(table, optimizer, policy)
            if scores and optimizer in NAMED[policy].optimizers:
                rows.append([optimizer, label, *[signed(fmean(scores))] * len(SHOWN)])
    return markdown(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the table and the figure."""
    command_line = parser(__doc__, CSV)
    command_line.add_argument("--figure", type=Path, default=FIGURE)
    options = command_line.parse_args(arguments)
    table = read(options.results)
    rewrite(options.page, page_table(table), SCRIPT)
    draw(table).savefig(options.figure, dpi=120)


if __name__ == "__main__":
    main()
