"""The figure of a method's learning rates in one long training."""

import types

import pytest

from tests.benchmarks.conftest import HEADER

RUNS = """
tiny,sgd,cosine_decay,0.01,0,90,0,100,,4
tiny,sgd,cosine_decay,0.1,0,92,0,100,,4
tiny,adam,cosine_decay,0.001,0,91,0,100,,4
"""


@pytest.fixture
def axes(long_script, tmp_path):
    path = tmp_path / "long_tiny.csv"
    path.write_text(f"{HEADER},area\n{RUNS.strip()}\n")
    problem = types.SimpleNamespace(name="tiny", epochs=2, steps=4)
    rates, scores = {"sgd": [0.5, 0.25], "adam": [0.125, 1e-3]}, {"sgd": 9, "adam": 8}
    figure = long_script("draw_rates").draw(problem, rates, scores, path, "marthe")
    return figure.axes


def test_panels_hold_the_rates_and_the_best_cosine_of_each_optimizer(axes):
    (ours, cosine), (_, other) = (ax.get_lines() for ax in axes)
    assert ours.get_xydata().tolist() == [[1, 0.5], [2, 0.25]]
    # (1 + cos(k pi / 4)) / 20 at the steps k of two epochs.
    expected = [0.1, 0.0853553, 0.05, 0.0146447]
    assert cosine.get_xdata().tolist() == [0, 0.5, 1, 1.5]
    assert cosine.get_ydata() == pytest.approx(expected, rel=1e-5)
    assert other.get_ydata()[0] == 0.001


def test_titles_hold_both_scores(axes):
    assert [ax.get_title() for ax in axes] == [
        "SGD: 9.0, cosine 92.0",
        "Adam: 8.0, cosine 91.0",
    ]
