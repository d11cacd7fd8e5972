"""From records of runs to a ranked table and advice in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from keras_lr.comparison.runner import RunRecord


@dataclass(frozen=True)
class PolicySummary:
    """One row of a comparison's table: a policy over its seeds.

    Attributes:
        policy: Label of the policy.
        note: `"best"` or `"worst"` of the constant rates, or empty.
        final_metric: Mean over seeds of the metric after the last epoch; NaN if one
            of them is not finite.
        final_metric_std: Standard deviation over seeds (n - 1), NaN for one seed.
        best_metric: Mean over seeds of the best epoch's metric.
        gradient_evaluations: Mean cost of a run, in gradients of a batch.
        seconds: Mean wall time of `fit`.
        runs: Number of runs that did not fail.
        diverged: Number of runs whose loss or weights became non-finite, or whose
            last training loss is above the first.
        failed: Number of runs that an exception ended.
        error: The first such exception, or empty.
    """

    policy: str
    note: str
    final_metric: float
    final_metric_std: float
    best_metric: float
    gradient_evaluations: float
    seconds: float
    runs: int
    diverged: int
    failed: int
    error: str


def summarize(records: Sequence[RunRecord]) -> list[PolicySummary]:
    """Return one row a policy, the best first, those without a metric last."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.policy, []).append(record)
    sign = -1.0 if records and records[0].mode == "max" else 1.0

    def rank(group: list[RunRecord]) -> tuple[bool, float]:
        mean = _mean([r.final_metric for r in group if r.error is None])
        return math.isnan(mean), sign * mean

    ranked = sorted(groups.values(), key=rank)
    constants = [g[0].policy for g in ranked if g[0].policy.startswith("constant ")]
    notes = {}
    if len(constants) > 1:
        notes = {constants[0]: "best", constants[-1]: "worst"}
    return [_summarize_policy(group, notes) for group in ranked]


def _summarize_policy(
    group: Sequence[RunRecord], notes: dict[str, str]
) -> PolicySummary:
    runs = [record for record in group if record.error is None]
    finals = [record.final_metric for record in runs]
    errors = [record.error for record in group if record.error is not None]
    return PolicySummary(
        policy=group[0].policy,
        note=notes.get(group[0].policy, ""),
        final_metric=_mean(finals),
        final_metric_std=_spread(finals),
        best_metric=_mean([record.best_metric for record in runs]),
        gradient_evaluations=_mean([record.gradient_evaluations for record in runs]),
        seconds=_mean([record.seconds for record in runs]),
        runs=len(runs),
        diverged=sum(record.diverged for record in runs),
        failed=len(errors),
        error=errors[0] if errors else "",
    )


def _mean(values: Sequence[float]) -> float:
    if not values or not all(map(math.isfinite, values)):
        return math.nan
    return fmean(values)


def _spread(values: Sequence[float]) -> float:
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return math.nan
    return stdev(values)


def advice(table: Sequence[PolicySummary], mode: str) -> list[str]:
    """Return what the table says, in sentences.

    Args:
        table: Rows of `summarize`, the best first.
        mode: `"max"` or `"min"`: the direction of the metric.
    """
    ranked = [row for row in table if math.isfinite(row.final_metric)]
    if not ranked:
        return ["No policy finished with a finite metric: look at the model or data."]
    best = ranked[0]
    sentences = [f"{best.policy} did best: {_value(best)}."]
    sentences += _on_ties(ranked)
    by_note = {row.note: row for row in table if row.note}
    if "best" in by_note and "worst" in by_note:
        sentences.append(_on_constants(by_note))
    default = next((row for row in ranked if row.policy == "default"), None)
    if default is not None and default is not best:
        gap = abs(best.final_metric - default.final_metric)
        word = "below" if mode == "max" else "above"
        sentences.append(
            f"The rate that the model was compiled with ends {gap:.4g} {word} the best."
        )
    sentences += [
        f"{row.policy} diverged in {row.diverged} of {row.runs} runs."
        for row in table
        if row.diverged
    ]
    sentences += [
        f"{row.policy} failed in {row.failed} runs: {row.error}"
        for row in table
        if row.failed
    ]
    return sentences


def _value(row: PolicySummary) -> str:
    if math.isnan(row.final_metric_std):
        return f"{row.final_metric:.4g}"
    return f"{row.final_metric:.4g} ± {row.final_metric_std:.2g}"


def _on_ties(ranked: Sequence[PolicySummary]) -> list[str]:
    """Say which policies can't be told from the best by so few seeds."""
    best = ranked[0]
    if math.isnan(best.final_metric_std):
        return ["With one seed, small differences mean nothing: use three or more."]
    ties = [
        row.policy
        for row in ranked[1:]
        if abs(row.final_metric - best.final_metric) <= 2 * best.final_metric_std
    ]
    if not ties:
        return []
    return [f"Within twice its spread over seeds: {', '.join(ties)}."]


def _on_constants(by_note: dict[str, PolicySummary]) -> str:
    best, worst = by_note["best"], by_note["worst"]
    rates = [row.policy.removeprefix("constant ") for row in (best, worst)]
    lost = f"ends at {worst.final_metric:.4g}"
    if math.isnan(worst.final_metric):
        lost = "ends without a finite metric"
    return (
        f"Among constant rates, {rates[0]} is best ({_value(best)}); "
        f"the worst, {rates[1]}, {lost}."
    )
