"""Scores, ranks and intervals of the ranking."""

import itertools

import numpy as np
import pytest


@pytest.fixture(scope="module")
def ranking(script):
    return script("ranking")


@pytest.fixture
def found(ranking, suite_of):
    """Two problems; `good` and `bad` beside the best constant rate."""
    metrics = {
        "constant": {"p": [90, 92], "q": [50, 50]},
        "good": {"p": [91, 94], "q": [50.2, 50.2]},
        "bad": {"p": [80, 80], "q": ["nan", -1000]},
        "elsewhere": {"p": [99, 99]},
    }
    return ranking.scores(suite_of(metrics), ["sgd"])


def test_scores_are_paired_by_seed_and_floored(found):
    assert found.names == ("best constant", "good", "bad")
    np.testing.assert_allclose(found.values[1, :, 0], [[1, 2], [0.2, 0.2]])
    np.testing.assert_allclose(found.values[2, :, 0], [[-10, -12], [-100, -100]])


def test_missing_seed_has_the_mean_score_of_the_others(ranking, suite_of):
    metrics = {"constant": {"p": [90, 92, 94]}, "method": {"p": [91, 95]}}
    scores = ranking.scores(suite_of(metrics), ["sgd"])
    np.testing.assert_allclose(scores.values[1, 0, 0], [1, 3, 2])


def test_wins_ties_and_losses_are_by_half_a_point(ranking, found):
    assert ranking.compare(found, "good", "best constant") == (1, 1, 0)
    assert ranking.compare(found, "best constant", "bad") == (2, 0, 0)
    assert ranking.compare(found, "bad", "good") == (0, 0, 2)


def test_ties_share_the_mean_of_their_ranks(ranking):
    means = np.array([3.0, 5.0, 3.0, 1.0])[:, None, None]
    assert ranking.ranks(means).ravel().tolist() == [2.5, 1, 2.5, 4]


def test_ranking_is_by_the_mean_rank(ranking, found):
    ranked = ranking.rank(found, draws=200)
    assert [each.name for each in ranked] == ["good", "best constant", "bad"]
    assert [each.rank for each in ranked] == [1, 2, 3]
    assert [each.score for each in ranked] == pytest.approx([0.85, 0, -55.5])
    # The best constant is what scores are counted from.
    assert ranked[1].score_interval == (0, 0)


def test_draws_are_of_problems_and_of_seeds_in_each(ranking):
    """All that two problems with two seeds can give, as often as they should."""
    values = np.array([[0.0, 1.0], [10.0, 14.0]])[None, :, None]
    draws = ranking.resample(values, 20_000)
    assert draws.shape == (20_000, 1, 2, 1)
    # A problem's mean over two drawn seeds: (a, a), twice (a, b), (b, b).
    single = [0.0, 0.5, 0.5, 1.0, 10.0, 12.0, 12.0, 14.0]
    exact = [(a + b) / 2 for a, b in itertools.product(single, single)]
    drawn = draws.mean(2).ravel()
    assert set(np.unique(drawn)) == set(exact)
    # Standard errors: the deviation of the 64 means is about 4.2.
    assert drawn.mean() == pytest.approx(np.mean(exact), abs=4 * 4.2 / 20_000**0.5)
    assert drawn.std() == pytest.approx(np.std(exact), rel=0.02)


def test_methods_share_the_drawn_seeds(ranking, rng):
    values = rng.normal(size=(1, 4, 3, 3))
    draws = ranking.resample(np.concatenate([values, values + 1]), 50)
    np.testing.assert_allclose(draws[:, 1] - draws[:, 0], 1)


def test_interval_holds_95_percent(ranking):
    assert ranking.interval(np.arange(1001.0)) == pytest.approx((25, 975))
