"""What the tests of KerasTuner's own oracles and tuners ask, where nothing else does.

A chief and workers over gRPC are in `tests/integration/test_zooming_faults.py`.
"""

import pytest

from tests.tuners.fake_search import FakeBLiE, FakeZooming, accuracy

every_tuner = pytest.mark.parametrize("cls", [FakeZooming, FakeBLiE])


def searched(cls, directory, results=accuracy, **kwargs):
    tuner = cls(results, directory=directory, **kwargs)
    tuner.search(verbose=0)
    return tuner


def outcome(tuner):
    return [(x.trial_id, x.learning_rate, x.score) for x in tuner.oracle.trainings()]


def fails(*numbers):
    """Return results of which those of these runs, from 0, are exceptions."""
    runs = []

    def results(rate):
        runs.append(rate)
        if len(runs) - 1 in numbers:
            raise RuntimeError("no memory")
        return accuracy(rate)

    return results


@every_tuner
def test_trial_that_fails_is_retried_at_the_same_rate(cls, tmp_path):
    expected = searched(cls, tmp_path / "whole", max_trials=3)
    tuner = searched(
        cls, tmp_path / "retried", fails(1, 2), max_trials=3, max_retries_per_trial=2
    )
    assert outcome(tuner) == outcome(expected)
    first, second, third = expected.rates
    assert tuner.rates == [first, second, second, second, third]


@every_tuner
def test_trial_that_fails_too_often_is_a_failure_and_the_search_continues(
    cls, tmp_path
):
    tuner = searched(cls, tmp_path, fails(1, 2), max_trials=3, max_retries_per_trial=1)
    statuses = [tuner.oracle.trials[i].status for i in tuner.oracle.end_order]
    assert statuses == ["COMPLETED", "FAILED", "COMPLETED"]
    assert len(tuner.rates) == 4


@every_tuner
def test_failures_in_a_row_end_the_search_with_the_last_reason(cls, tmp_path):
    with pytest.raises(RuntimeError, match=r"2 trainings in a row failed(.|\n)*memory"):
        searched(cls, tmp_path, fails(*range(9)), max_consecutive_failed_trials=2)


@every_tuner
def test_search_space_is_the_learning_rate(cls, tmp_path, capsys):
    cls(directory=tmp_path).search_space_summary()
    said = capsys.readouterr().out
    assert "Search space size: 1" not in said  # KerasTuner 1.4 calls it so:
    assert "Default search space size: 1" in said
    assert "learning_rate (Float)" in said
    assert "'min_value': 1e-05, 'max_value': 1.0" in said


@every_tuner
def test_best_hyperparameters_are_those_of_the_best_trials(cls, tmp_path):
    tuner = searched(cls, tmp_path)
    best, second = tuner.get_best_hyperparameters(2)
    assert best["learning_rate"] == tuner.best_arm().learning_rate
    scores = [accuracy(each["learning_rate"]) for each in (best, second)]
    assert scores == sorted(map(accuracy, tuner.rates), reverse=True)[:2]


@every_tuner
def test_reloaded_search_is_the_one_that_was_saved(cls, tmp_path):
    tuner = searched(cls, tmp_path)
    again = cls(directory=tmp_path, project_name="another")
    assert outcome(again) == []
    again = cls(directory=tmp_path)
    again.reload()
    assert outcome(again) == outcome(tuner)
    assert again.remaining_trials == 0


@every_tuner
def test_search_that_is_overwritten_is_the_first_one_again(cls, tmp_path):
    first = searched(cls, tmp_path, max_trials=3)
    second = searched(cls, tmp_path, max_trials=3, overwrite=True)
    assert second.rates == first.rates


@every_tuner
def test_no_two_trials_have_the_same_rate_and_seed(cls, tmp_path):
    tuner = searched(cls, tmp_path, lambda rate: 0.5, max_trials=9)
    values = [each.hyperparameters.values for each in tuner.oracle.trials.values()]
    drawn = [tuple(sorted(each.items())) for each in values]
    assert len(set(drawn)) == len(drawn) > 3


@every_tuner
def test_results_of_a_search_with_a_failed_trial_are_shown(cls, tmp_path, capsys):
    """Its score is NaN, which equals nothing: its rate was "not in list"."""
    tuner = searched(cls, tmp_path, fails(1), max_trials=5, max_retries_per_trial=0)
    failed = [x for x in tuner.oracle.trials.values() if x.status == "FAILED"]
    assert len(failed) == 1
    tuner.results_summary()
    printed = capsys.readouterr().out
    assert f"Recommended learning rate: {tuner.best_arm().learning_rate:.3g}" in printed
    assert "RuntimeError: no memory" in printed
