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


def test_rolled_back_runs_are_counted_once_if_all_are_known():
    def rolled_back(*restarts):
        runs = [
            record("a", n, [0.5], restarts=count) for n, count in enumerate(restarts)
        ]
        failed = RunRecord("a", 9, "val_acc", "max", error="ValueError: no")
        (row,) = summarize([*runs, failed])
        return row.rolled_back

    assert rolled_back(0, 2, 1) == 2
    assert rolled_back(0, 0) == 0
    assert rolled_back(0, None) is None


def test_row_has_the_code_of_its_runs():
    (row,) = summarize([record("a", 0, [1.0], code="model.fit(...)")])
    assert row.code == "model.fit(...)"


def test_policy_that_diverged_in_one_run_is_below_every_other():
    rows = summarize(
        [
            record("lucky", 0, [0.875], diverged=True),
            record("lucky", 1, [0.875]),
            record("poor", 0, [0.25]),
            record("lost", 0, [math.nan], diverged=True),
        ]
    )
    assert [row.policy for row in rows] == ["poor", "lucky", "lost"]
    assert [row.is_sound for row in rows] == [True, False, False]


def counted(policy, rows, losses=(0.0,), **kwargs):
    """Return a run on 32 validation rows, so many of them right."""
    record = RunRecord(policy, 0, "val_acc", "max", validation_rows=32, **kwargs)
    record.logs.update({"val_acc": [rows / 32], "val_loss": list(losses)})
    return record


def test_policies_within_one_validation_row_share_a_rank_by_loss_and_cost():
    rows = summarize(
        [
            counted("most rows", 30, [0.5], gradient_evaluations=10),
            counted("costly", 29, [0.25], gradient_evaluations=20),
            counted("cheap", 29, [0.25], gradient_evaluations=10),
            counted("worse", 28, [0.125]),
            counted("without a loss", 28, []),
        ]
    )
    assert [(row.policy, row.rank) for row in rows] == [
        *[("cheap", 1), ("costly", 1), ("most rows", 1)],
        *[("worse", 4), ("without a loss", 4)],
    ]


@pytest.mark.parametrize("rows", [0, 32])
def test_metric_that_counts_no_rows_is_told_apart_to_the_last_digit(rows):
    made = [
        record("a", 0, [0.51], validation_rows=rows),
        record("b", 0, [0.5], validation_rows=rows),
        record("c", 0, [0.5], validation_rows=rows),
    ]
    assert [row.rank for row in summarize(made)] == [1, 2, 2]


def test_losses_that_are_multiples_of_a_row_count_no_rows():
    made = [
        record(name, 0, [value], mode="min", validation_rows=8)
        for name, value in (("a", 2.0), ("b", 2.125))
    ]
    assert [row.rank for row in summarize(made)] == [1, 2]


def test_equal_constant_rates_have_no_worst_one():
    rows = summarize([constant(rate, 0, [0.5]) for rate in (0.1, 1)])
    assert [row.note for row in rows] == ["best", ""]
    rows = summarize([constant(rate, 0, [0.5], diverged=True) for rate in (0.1, 1)])
    assert "best" not in {row.note for row in rows}
