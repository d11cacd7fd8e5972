"""From records of runs to a ranked table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
            training loss ends above that of the initial weights.
        failed: Number of runs that an exception ended.
        error: The first such exception, or empty.
        code: The lines that do the same in another training, or empty.
        kind: Kind of the policy.
        start: The rate that the policy starts from, `None` if it does not say.
        rank: Place in the table, from 1. Policies that the metric cannot tell apart,
            because they are equal or within one validation row, have the same.
        validation_loss: Mean over seeds of the validation loss after the last epoch,
            by which policies of one rank are ordered, and then by their cost.
        rolled_back: Number of runs that a callback rolled back at least once, `None` if
            it is not known of one of them.
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
    rank: int = 0
    validation_loss: float = math.nan
    rolled_back: int | None = None

    @property
    def is_sound(self) -> bool:
        """Whether there is a metric, and no run diverged."""
        return math.isfinite(self.final_metric) and not self.diverged


def summarize(records: Sequence[RunRecord]) -> list[PolicySummary]:
    """Return a row for each policy, the best first.

    Policies of which a run diverged come after all others, whatever their metric, and
    those without a metric last.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.policy, []).append(record)
    sign = -1.0 if records and records[0].mode == "max" else 1.0

    def order(row: PolicySummary) -> tuple[int, float]:
        if math.isnan(row.final_metric):
            return 2, 0.0
        return int(not row.is_sound), sign * row.final_metric

    rows = sorted(map(_summarize_policy, groups.values()), key=order)
    return _with_notes(_with_ranks(rows, _one_row(records)))


def _with_ranks(rows: list[PolicySummary], one_row: float) -> list[PolicySummary]:
    """Let policies that are as good as the first of them share its rank."""
    ranked: list[PolicySummary] = []
    while rows:
        first = rows[0]
        # Equal counts of rows may differ by rounding.
        margin = 1.001 * one_row + 1e-9 * abs(first.final_metric)
        gaps = [abs(row.final_metric - first.final_metric) for row in rows]
        equals = [
            row
            for row, gap in zip(rows, gaps, strict=True)
            if row is first or (row.is_sound and first.is_sound and gap <= margin)
        ]
        rows = rows[len(equals) :]
        rank = len(ranked) + 1
        equals.sort(key=_by_loss_and_cost)
        ranked += [replace(row, rank=rank) for row in equals]
    return ranked


def not_distinguished(table: Sequence[PolicySummary]) -> list[PolicySummary]:
    """Return the policies that cannot be told from the best one, without it.

    They share its rank, or are within twice its spread over the seeds. With one seed
    there is no spread.

    Args:
        table: Rows of `summarize`.
    """
    ranked = [row for row in table if row.is_sound]
    if not ranked:
        return []
    best, *others = ranked
    # No gap is within a spread that is not a number.
    return [
        row
        for row in others
        if abs(row.final_metric - best.final_metric) <= 2 * best.final_metric_std
        or row.rank == best.rank
    ]


def _by_loss_and_cost(row: PolicySummary) -> tuple[bool, float, float]:
    loss = row.validation_loss
    return math.isnan(loss), 0.0 if math.isnan(loss) else loss, row.gradient_evaluations


def _one_row(records: Sequence[RunRecord]) -> float:
    """Return by how much one row of the validation data moves the metric.

    An accuracy is a number of rows divided by all of them; for other metrics it is 0.
    """
    rows = max((record.validation_rows for record in records), default=0)
    finals = [record.final_metric for record in records]
    finite = [value for value in finals if math.isfinite(value)]
    # Metrics are in single precision.
    is_count = all(
        0 <= value <= 1 and abs(rows * value - round(rows * value)) < 1e-3
        for value in finite
    )
    return 1.0 / rows if rows and is_count else 0.0


def _with_notes(rows: list[PolicySummary]) -> list[PolicySummary]:
    """Mark the best and the worst of the constant rates, if they differ."""
    grid = [row for row in rows if row.kind == "constant" and row.start is not None]
    notes: dict[str, str] = {}
    if len(grid) > 1:
        if grid[-1].rank > grid[0].rank:
            notes[grid[-1].policy] = "worst"
        if grid[0].is_sound:
            notes[grid[0].policy] = "best"
    return [replace(row, note=notes.get(row.policy, "")) for row in rows]


def _summarize_policy(group: Sequence[RunRecord]) -> PolicySummary:
    runs = [record for record in group if record.error is None]
    finals = [record.final_metric for record in runs]
    errors = [record.error for record in group if record.error is not None]
    return PolicySummary(
        policy=group[0].policy,
        note="",
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
        validation_loss=_mean([record.final("val_loss") for record in runs]),
        rolled_back=_rolled_back(runs),
    )


def _rolled_back(runs: Sequence[RunRecord]) -> int | None:
    counts = [record.restarts for record in runs]
    if None in counts:
        return None
    return sum(bool(count) for count in counts)


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
