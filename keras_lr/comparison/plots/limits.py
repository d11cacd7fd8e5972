"""What an axis of a metric shows: the differences between the runs that matter."""

import math
from collections.abc import Callable, Sequence

from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.summary import PolicySummary


def metric_span(
    records: Sequence[RunRecord], values: Callable[[RunRecord], Sequence[float]]
) -> tuple[float, float]:
    """Return limits which the finite values of runs fill.

    Args:
        records: Records of the runs.
        values: Function which returns the values of one run.
    """
    finite = [v for r in records for v in values(r) if math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    margin = 0.05 * (max(finite) - min(finite)) or 0.5
    return min(finite) - margin, max(finite) + margin


def well_trained(
    records: Sequence[RunRecord], table: Sequence[PolicySummary]
) -> list[RunRecord]:
    """Return the runs whose differences a plot has to show: not the lost ones."""
    names = {row.policy for row in table if is_serious(row)}
    good = [r for r in records if r.policy in names and not r.diverged]
    return good or list(records)


def is_serious(row: PolicySummary) -> bool:
    """Return whether a policy matters: of constant rates, only the best one does."""
    return row.note == "best" or row.kind != "constant"
