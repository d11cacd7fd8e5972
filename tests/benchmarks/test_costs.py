"""The table of what a step costs."""

import csv

import pytest


@pytest.fixture(scope="module")
def costs(script):
    return script("costs")


def test_ratios_are_those_of_all_rounds_together(costs):
    path = costs.RESULTS / "marthe_overhead.csv"
    total = dict.fromkeys(["sgd", "sgd_hd"], 0.0)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["variant"] in total and (row["model"], row["jit_compile"]) == (
                *("cnn", "False"),
            ):
                total[row["variant"]] += float(row["cpu_seconds"])
    _, text = costs.ratios("marthe", "sgd_hd")
    # Ratios are written to 1e-4.
    assert float(text.partition(" (")[0]) == pytest.approx(
        total["sgd_hd"] / total["sgd"], abs=0.0051
    )


def test_every_method_has_its_gradient_evaluations_and_times(costs):
    lines = costs.page_table().splitlines()[2:]
    rows = [line.strip("| ").split(" | ") for line in lines]
    evaluations = {row[0]: float(row[2]) for row in rows}
    assert evaluations["`MARTHE()`, `RTHO()`"] == 1.75
    assert evaluations["`LearningRateWalk()`"] == 1.1
    assert evaluations["`LipschitzLR()`"] == 1
    assert all(len(row) == 6 for row in rows)
