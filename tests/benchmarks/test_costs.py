"""The table of what a step costs."""

import csv

import pytest


@pytest.fixture(scope="module")
def costs(script):
    return script("costs")


def test_ratios_are_means_without_the_extremes(costs):
    path = costs.RESULTS / "marthe_overhead.csv"
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["variant"] == "sgd_hd"]
    ratios = [float(row["cpu_ratio"]) for row in rows if row["model"] == "cnn"]
    assert 3 <= len(ratios) < 20  # A tenth is one at either end.
    expected = (sum(ratios) - min(ratios) - max(ratios)) / (len(ratios) - 2)
    _, text = costs.ratios("marthe", "sgd_hd")
    assert text.startswith(f"{expected:.2f} (")


def test_tenth_at_either_end_is_left_out_and_at_least_one(costs):
    assert costs._trimmed_mean([9.0, 1.0, 2.0]) == 2.0
    # Of twenty, two: from -100 and 1, and 60 and 100, 2 to 16 and 40 are left.
    values = [-100.0, 100.0, 40.0, 60.0, *range(1, 17)]
    assert costs._trimmed_mean(values) == (135 + 40) / 16


def test_every_method_has_its_gradient_evaluations_and_times(costs):
    lines = costs.page_table().splitlines()[2:]
    rows = [line.strip("| ").split(" | ") for line in lines]
    evaluations = {row[0]: float(row[2]) for row in rows}
    assert evaluations["`MARTHE()`"] == 1.75
    assert evaluations["`LearningRateWalk()`"] == 1.1
    assert evaluations["`LipschitzLR()`"] == 1
    assert all(len(row) == 6 for row in rows)
