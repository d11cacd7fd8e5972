"""Curves over the compiled learning rate."""

import matplotlib.pyplot as plt
import numpy as np
import pytest


@pytest.fixture(scope="module")
def robustness(script):
    return script("robustness")


@pytest.fixture
def table(table_of):
    """Two problems whose best constant rates are 1 and 0.1; Keras's rate is 0.01."""
    runs = [
        *("p,constant,0.1,80", "p,constant,1,90", "p,constant,10,nan"),
        *("q,constant,0.1,70", "q,constant,1,60"),
        *("p,method,,88", "p,method,0.1,90", "q,method,,60"),
        *("p,lone,,85", "q,lone,,75"),
    ]
    lines = []
    for run in runs:
        problem, policy, rate, metric = run.split(",")
        lines.append(f"{problem},sgd,{policy},{rate},0,{metric},0,100,")
    return table_of(*lines)


def at(robustness, curve, offset):
    return curve[np.flatnonzero(offset == robustness.OFFSETS)[0]]


def test_rates_are_counted_from_the_best_constant_one(robustness, table):
    first, second = robustness.curves(table, "sgd", "constant")
    assert [at(robustness, first, each) for each in (-1, 0, 1)] == [-10, 0, -100]
    assert [at(robustness, second, each) for each in (0, 1)] == [0, -10]
    assert np.isnan(at(robustness, first, -2))


def test_scores_between_rates_are_interpolated_over_decades(robustness, table):
    """From 88 at Keras's 0.01 to 90 at 0.1, two and one decades below the best."""
    first, second = robustness.curves(table, "sgd", "method")
    assert [at(robustness, first, each) for each in (-2, -1.5, -1)] == [-2, -1, 0]
    # A single rate is no curve.
    assert np.isnan(second).all()


def test_policy_without_rates_has_one_level(robustness, table):
    assert robustness.levels(table, "sgd", "lone") == [-5, 5]


def test_mean_is_shown_where_half_of_the_problems_are_known(robustness):
    nan = np.nan
    scores = np.array([[1.0, nan, nan], [3.0, 5.0, nan], [nan, 7, nan], [nan, nan, 1]])
    mean, (low, high) = robustness.mean_and_band(scores)
    np.testing.assert_array_equal(mean, [2, 6, nan])
    # Two problems, drawn with replacement: both may be the same one.
    np.testing.assert_array_equal(low, [1, 5, nan])
    np.testing.assert_array_equal(high, [3, 7, nan])


def test_figure_draws_the_means(robustness, table):
    _, ax = plt.subplots()
    robustness.draw_optimizer(ax, table, "sgd")
    line = ax.get_lines()[0]
    assert line.get_label() == "constant rate"
    shown = dict(zip(np.log10(line.get_xdata()), line.get_ydata(), strict=True))
    assert [shown[each] for each in (-1, 0, 1)] == [-10, 0, -55]
