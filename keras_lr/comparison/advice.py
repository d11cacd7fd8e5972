"""What a comparison says, in sentences."""

import math
from collections import Counter
from collections.abc import Sequence

from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.summary import (
    PolicySummary,
    not_distinguished,
    robustness_curves,
)

_SAME_COST = 1.02
# MARTHE and the walk start at a hundredth of the rate and end at zero.
_SHORT = 100
_MOST_NAMES = 6


def advice(table: Sequence[PolicySummary], mode: str) -> list[str]:
    """Return what the table says, in sentences.

    Args:
        table: Rows of `summarize`, the best first.
        mode: `"max"` or `"min"`: the direction of the metric.
    """
    ranked = [row for row in table if row.is_sound]
    if not ranked:
        return [*_on_nothing(table), *_on_failures(table)]
    return [
        *_on_best(ranked),
        *_on_ties(ranked),
        *_on_constants(table),
        *_on_default(ranked, mode),
        *_on_cost(table),
        *_on_divergence(table),
        *_on_failures(table),
    ]


def robustness_advice(records: Sequence[RunRecord], mode: str) -> list[str]:
    """Return the worst end of each method over its starting rates, in sentences."""
    curves = robustness_curves(records)
    pick = min if mode == "max" else max
    worst = {
        name: pick(means.values())
        if all(map(math.isfinite, means.values()))
        else math.nan
        for name, means in curves.items()
    }
    if not worst:
        return []
    starts = sorted({start for means in curves.values() for start in means})
    ends = ", ".join(f"{name} {value:.4g}" for name, value in worst.items())
    return [f"The worst end over rates from {starts[0]:g} to {starts[-1]:g}: {ends}."]


def _value(row: PolicySummary) -> str:
    if math.isnan(row.final_metric_std):
        return f"{row.final_metric:.4g}"
    return f"{row.final_metric:.4g} ± {row.final_metric_std:.2g}"


def _names(rows: Sequence[PolicySummary]) -> str:
    names = [row.policy for row in rows]
    if len(names) > _MOST_NAMES:
        names[_MOST_NAMES - 1 :] = [f"{len(names) - _MOST_NAMES + 1} more"]
    return ", ".join(names)


def _on_nothing(table: Sequence[PolicySummary]) -> list[str]:
    if any(math.isfinite(row.final_metric) for row in table):
        diverged = " ".join(_on_divergence(table))
        return [f"No policy is recommended. {diverged} Try smaller rates."]
    if not any(row.runs for row in table):
        return ["No policy finished."]
    return ["No policy finished with a finite metric: look at the model or data."]


def _on_best(ranked: Sequence[PolicySummary]) -> list[str]:
    """Say which policy did best, and if the metric can tell it from the others."""
    best, *others = [row for row in ranked if row.rank == 1]
    if not others:
        return [f"{best.policy} did best: {_value(best)}."]
    said = [
        f"{len(others) + 1} policies cannot be told apart, {_value(best)}: "
        f"{_names([best, *others])}."
    ]
    if best.validation_loss < others[0].validation_loss:
        said.append(f"The first of them has the lowest validation loss: {best.policy}.")
    elif best.gradient_evaluations < others[0].gradient_evaluations:
        said.append(f"The first of them costs least: {best.policy}.")
    return said


def _on_ties(ranked: Sequence[PolicySummary]) -> list[str]:
    """Say which policies can't be told from the best by so few seeds."""
    best = ranked[0]
    if math.isnan(best.final_metric_std):
        return ["With one seed, small differences mean nothing: use three or more."]
    ties = not_distinguished(ranked)
    further = [row for row in ties if row.rank != best.rank]
    said = [f"Within twice its spread over seeds: {_names(further)}."]
    return [
        *(said if further else []),
        *_on_picking(best, ties),
        *_on_cheaper(best, ties),
    ]


def _on_picking(best: PolicySummary, ties: Sequence[PolicySummary]) -> list[str]:
    """Say what is as good as a rate that these very data have picked."""
    untuned = [row for row in ties if row.kind != "constant"]
    if not best.note or not untuned:
        return []
    return [
        f"The rate of {best.policy} was picked by these very data; "
        f"{untuned[0].policy} picks none."
    ]


def _on_cheaper(best: PolicySummary, ties: Sequence[PolicySummary]) -> list[str]:
    """Say which of those that are as good costs less."""
    least = min((row.gradient_evaluations for row in ties), default=math.inf)
    if not least * _SAME_COST < best.gradient_evaluations:
        return []
    cheapest = next(row for row in ties if row.gradient_evaluations == least)
    return [
        f"{cheapest.policy} costs less than {best.policy}: {least:.0f} gradient "
        f"evaluations in place of {best.gradient_evaluations:.0f}."
    ]


def _on_constants(table: Sequence[PolicySummary]) -> list[str]:
    grid = [row for row in table if row.kind == "constant" and row.start is not None]
    if len(grid) < 2 or not grid[0].is_sound:
        return []
    best, worst = grid[0], grid[-1]
    rates = sorted(float(row.start or 0) for row in grid if row.rank == best.rank)
    if worst.rank == best.rank:
        return [f"Constant rates from {rates[0]:.3g} to {rates[-1]:.3g} are as good."]
    lost = f"ends at {worst.final_metric:.4g}"
    if math.isnan(worst.final_metric):
        lost = "ends without a finite metric"
    elif worst.diverged:
        lost = "diverged"
    are_best = "is best" if len(rates) == 1 else "are best"
    return [
        f"Among constant rates, {', '.join(f'{rate:.3g}' for rate in rates)} "
        f"{are_best} ({_value(best)}); the worst, {worst.start:.3g}, {lost}."
    ]


def _on_default(ranked: Sequence[PolicySummary], mode: str) -> list[str]:
    default = next((row for row in ranked if row.kind == "default"), None)
    if default is None or default.rank == ranked[0].rank:
        return []
    gap = abs(ranked[0].final_metric - default.final_metric)
    word = "below" if mode == "max" else "above"
    return [
        f"The rate that the model was compiled with ends {gap:.4g} {word} the best."
    ]


def _on_cost(table: Sequence[PolicySummary]) -> list[str]:
    """Say which policies cost more gradients than most of them, and how many."""
    costs = [row.gradient_evaluations for row in table if row.gradient_evaluations > 0]
    if not costs:
        return []
    usual = Counter(costs).most_common(1)[0][0]
    costlier = [
        f"{row.policy} {row.gradient_evaluations:.0f}"
        for row in table
        if row.gradient_evaluations > _SAME_COST * usual
    ]
    cost = ", ".join(costlier)
    sentences = [
        f"A run cost {usual:.0f} gradient evaluations" + (f"; {cost}." if cost else ".")
    ]
    if usual < _SHORT:
        sentences.append(
            "That is short: train longer before you judge methods that raise the rate."
        )
    return sentences


def _on_divergence(table: Sequence[PolicySummary]) -> list[str]:
    diverged = [
        f"{row.policy} in {row.diverged} of {row.runs} runs"
        for row in table
        if row.diverged
    ]
    return [f"Diverged: {', '.join(diverged)}." if diverged else "No run diverged."]


def _on_failures(table: Sequence[PolicySummary]) -> list[str]:
    """Say each exception once, with the policies and the number of runs that had it."""
    by_error: dict[str, list[PolicySummary]] = {}
    for row in table:
        if row.failed:
            by_error.setdefault(row.error, []).append(row)
    return [
        f"{_names(rows)} failed in {sum(row.failed for row in rows)} runs: {error}"
        for error, rows in by_error.items()
    ]
