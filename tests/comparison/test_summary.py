import math

import pytest

from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.summary import summarize


def record(policy, seed, metrics, **kwargs):
    logs = {"val_acc": metrics}
    return RunRecord(policy, seed, "val_acc", kwargs.pop("mode", "max"), logs, **kwargs)


def constant(rate, *args, **kwargs):
    given = {"kind": "constant", "start": rate, **kwargs}
    return record(f"constant {rate:g}", *args, **given)


RECORDS = [
    constant(0.1, 0, [0.25, 0.5], seconds=1, gradient_evaluations=10),
    constant(0.1, 1, [1.0, 0.75], seconds=3, gradient_evaluations=30),
    constant(10, 0, [0.25, math.nan], diverged=True),
    constant(1, 0, [0.25], diverged=True),
    record("default", 0, [0.5, 0.875]),
    RunRecord("broken", 0, "val_acc", "max", error="ValueError: no"),
]


def test_row_holds_the_means_over_seeds_worked_by_hand():
    row = next(row for row in summarize(RECORDS) if row.policy == "constant 0.1")
    assert row.final_metric == (0.5 + 0.75) / 2
    # The deviations are -1/8 and 1/8, over n - 1 = 1.
    assert row.final_metric_std == pytest.approx(math.sqrt(2 / 64))
    assert row.best_metric == (0.5 + 1) / 2
    assert (row.seconds, row.gradient_evaluations, row.runs) == (2, 20, 2)
    assert (row.kind, row.start) == ("constant", 0.1)


def test_best_is_first_and_those_without_a_metric_are_last():
    names = [row.policy for row in summarize(RECORDS)]
    assert names == ["default", "constant 0.1", "constant 1", "constant 10", "broken"]


def test_lower_is_better_in_mode_min():
    records = [record("a", 0, [2.0], mode="min"), record("b", 0, [1.0], mode="min")]
    assert [row.policy for row in summarize(records)] == ["b", "a"]


def test_best_and_worst_constant_are_marked():
    notes = {row.policy: row.note for row in summarize(RECORDS) if row.note}
    assert notes == {"constant 0.1": "best", "constant 10": "worst"}


def test_diverged_and_failed_runs_are_counted_apart():
    rows = {row.policy: row for row in summarize(RECORDS)}
    assert (rows["constant 1"].diverged, rows["constant 1"].failed) == (1, 0)
    assert (rows["broken"].diverged, rows["broken"].failed) == (0, 1)
    assert math.isnan(rows["constant 10"].final_metric)


def test_row_has_the_code_of_its_runs():
    (row,) = summarize([record("a", 0, [1.0], code="model.fit(...)")])
    assert row.code == "model.fit(...)"
