"""From records of runs to a ranked table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from keras_lr.comparison.policy import Kind
from keras_lr.comparison.run_record import RunRecord

Curves = dict[str, dict[float, float]]


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
        code: The lines that do the same in another training, or empty.
        kind: Kind of the policy.
        start: The rate that the policy starts from, `None` if it does not say.
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
    kind: Kind = "other"
    start: float | None = None


def summarize(records: Sequence[RunRecord]) -> list[PolicySummary]:
    """Return a row for each policy, the best first, those without a metric last."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.policy, []).append(record)
    sign = -1.0 if records and records[0].mode == "max" else 1.0

    def rank(group: list[RunRecord]) -> tuple[bool, float]:
        mean = _mean([r.final_metric for r in group if r.error is None])
        return math.isnan(mean), sign * mean

    ranked = sorted(groups.values(), key=rank)
    firsts = [group[0] for group in ranked]
    grid = [r.policy for r in firsts if r.kind == "constant" and r.start is not None]
    notes = {grid[0]: "best", grid[-1]: "worst"} if len(grid) > 1 else {}
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
        kind=group[0].kind,
        start=group[0].start,
    )


def robustness_curves(records: Sequence[RunRecord]) -> Curves:
    """Return the mean final metric at each starting rate, for each method with several.

    A mean is NaN if one of its runs failed or ended without a finite metric.
    """
    finals: dict[str, dict[float, list[float]]] = {}
    for record in records:
        if record.start is not None:
            by_start = finals.setdefault(record.name, {})
            value = math.nan if record.error else record.final_metric
            by_start.setdefault(record.start, []).append(value)
    return {
        name: {start: fmean(values) for start, values in sorted(by_start.items())}
        for name, by_start in finals.items()
        if len(by_start) > 1
    }


def _mean(values: Sequence[float]) -> float:
    if not values or not all(map(math.isfinite, values)):
        return math.nan
    return fmean(values)


def _spread(values: Sequence[float]) -> float:
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return math.nan
    return stdev(values)
