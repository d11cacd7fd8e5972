"""From records of runs to a ranked table."""

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
        code: The lines that do the same in a training of one's own, or empty.
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
    code: str = ""


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
        code=next((record.code for record in runs), ""),
    )


def _mean(values: Sequence[float]) -> float:
    if not values or not all(map(math.isfinite, values)):
        return math.nan
    return fmean(values)


def _spread(values: Sequence[float]) -> float:
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return math.nan
    return stdev(values)
