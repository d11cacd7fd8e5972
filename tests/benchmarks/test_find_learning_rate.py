"""The script that scores suggestions, on small curves."""

import math

import numpy as np
import pytest

from tests.example_scripts import scripts_of


@pytest.fixture(scope="module")
def script():
    with scripts_of("benchmarks") as scripts:
        yield scripts("find_learning_rate")


def cells(script, means):
    return [
        script.Cell(10.0**-exponent, (mean,), 0, 0)
        for exponent, mean in zip(range(len(means), 0, -1), means, strict=True)
    ]


def test_points_are_interpolated_on_the_logarithm(script):
    of = cells(script, [10.0, 90.0, 80.0])
    found = script.score(10**-1.5, of)
    assert found.decades == pytest.approx(0.5)
    assert found.points == pytest.approx(5.0)


def test_points_are_limited_and_a_rate_outside_is_at_the_edge(script):
    of = cells(script, [90.0, 50.0, -math.inf])
    assert script.score(10.0, of).points == script.MOST
    assert script.score(1e-9, of) == (pytest.approx(-6.0), 0.0)


RATES = np.geomspace(1e-4, 1.0, 41)


def test_rules_of_fastai_read_a_curve(script):
    # Flat, then falling fastest at 1e-2, lowest at 1e-1, then rising.
    losses = 2 - np.tanh(3 * (np.log10(RATES) + 2))
    losses += np.maximum(np.log10(RATES) + 1, 0) * 10
    assert script.steepest(RATES, losses) == pytest.approx(1e-2, rel=0.3)
    assert script.minimum(RATES, losses) == pytest.approx(1e-2, rel=0.3)
    assert 1e-4 < script.valley(RATES, losses) < 1e-1


def test_slide_ends_where_both_slopes_are_equal(script):
    assert script.slide(RATES, np.linspace(2, 1, 41)) == RATES[-1 - 15]


def test_rule_was_chosen_on_half_of_each_suite(script):
    assert script.half_of("mlp_digits") == "choose"
    assert script.half_of("gru_digits") == "report"
    assert script.half_of("gru_mnist") == "report"


def test_page_holds_the_tables_of_the_committed_runs(script):
    text = script.PAGE.read_text(encoding="utf-8")
    assert script.page_tables(script.read(script.CSV)) in text
