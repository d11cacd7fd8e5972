"""Rows of trainings, the arrays beside them, and the processes that train."""

import numpy as np
import pytest


@pytest.fixture
def trainings(scripts):
    return scripts("trainings")


@pytest.fixture
def results(trainings, tmp_path):
    """Two trainings of policy `a`, one of policy `b`."""
    results = trainings.Results(tmp_path / "a.csv", ("policy", "seed", "score"), 2)
    for policy, seed, score in (("a", 0, 1.5), ("a", 1, 2.5), ("b", 0, 3.5)):
        results.append({"policy": policy, "seed": seed, "score": score})
    return results


def test_training_is_found_by_its_first_columns(results):
    assert results.find(("a", 1)) == {"policy": "a", "seed": "1", "score": "2.5"}
    assert results.find(("b", 1)) is None


def test_missing_trainings_are_those_without_a_row(results):
    asked = [("b", 1), ("a", 1), ("c", 0), ("b", 0)]
    assert results.missing(asked) == [("b", 1), ("c", 0)]


def test_rows_in_the_place_of_others_come_last(results):
    new = {"policy": "a", "seed": "7", "score": "9"}
    results.replace([new], policy="a")
    assert [(row["policy"], row["seed"]) for row in results.rows()] == [
        ("b", "0"),
        ("a", "7"),
    ]
    assert results.path.read_text() == "policy,seed,score\nb,0,3.5\na,7,9\n"


def test_arrays_are_written_beside_those_that_are_there(trainings, tmp_path):
    path = tmp_path / "deeper" / "a.npz"
    trainings.add_arrays(path, {"x": np.zeros(2), "y": np.zeros(2)})
    trainings.add_arrays(path, {"y": np.ones(3)})
    arrays = trainings.read_arrays(path)
    np.testing.assert_array_equal(arrays["x"], [0, 0])
    np.testing.assert_array_equal(arrays["y"], [1, 1, 1])


def test_each_run_has_a_process_and_says_how_far_it_is(trainings):
    outcomes = list(trainings.in_processes(abs, [-1, -2], jobs=1))
    assert [result for _, result in outcomes] == [1, 2]
    assert [progress for progress, _ in outcomes] == [
        "1/2, 0 min left",
        "2/2, 0 min left",
    ]
    assert list(trainings.in_processes(abs, [], jobs=1)) == []
