"""Rewards and arms of a history."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lr.rules import bandit
from keras_lr.rules.bandit import Pull

NOT_FINITE = [math.nan, math.inf, -math.inf]


def pulls_of(scores):
    return [Pull(0.5, score) for score in scores]


def rewards(pulls, direction):
    scale = bandit.reward_scale(pulls, direction)
    return [scale.reward(pull.score) for pull in pulls if pull.score is not None]


def test_accuracy_is_its_own_reward():
    assert rewards(pulls_of([0.25, 0.0, 1.0]), "max") == [0.25, 0.0, 1.0]


def test_score_to_maximize_is_scaled_if_one_lies_outside_0_and_1():
    """(0 + 2) / (2 + 2) = 0.5."""
    assert rewards(pulls_of([-2.0, 0.0, 2.0]), "max") == [0.0, 0.5, 1.0]


def test_loss_is_scaled_and_turned():
    """1 - (2 - 1) / (5 - 1) = 0.75."""
    assert rewards(pulls_of([5.0, 2.0, 1.0]), "min") == [0.0, 0.75, 1.0]


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("direction", ["max", "min"])
def test_score_that_is_not_finite_has_reward_0(value, direction):
    history = pulls_of([value, 3.0, 2.0])
    assert rewards(history, direction)[0] == 0.0
    assert sorted(rewards(history, direction)[1:]) == [0.0, 1.0]


def test_pending_pull_has_no_reward():
    (arm,) = bandit.visits(pulls_of([None, 0.5]), "max")
    assert (arm.rewards, arm.pending) == ((0.5,), 1)


def test_failure_counts_only_where_all_pulls_fail():
    mixed = [Pull(0.5, 0.75, 1), Pull(0.5, math.nan), Pull(0.5)]
    (arm,) = bandit.visits(mixed, "max")
    assert (arm.rewards, arm.pending, arm.signal) == ((0.75,), 1, 1)
    (arm,) = bandit.visits(pulls_of([math.nan, math.nan]), "max")
    assert arm.rewards == (0.0, 0.0)


def test_divergence_counts_beside_other_pulls():
    (arm,) = bandit.visits(pulls_of([0.75, -math.inf]), "max")
    assert arm.rewards == (0.0, 0.75)


@pytest.mark.parametrize("direction", ["max", "min"])
def test_huge_loss_that_blew_up_leaves_the_scale_of_the_others(direction):
    sign = 1.0 if direction == "min" else -1.0
    history = [*pulls_of([sign * 1.0, sign * 3.0]), Pull(0.9, sign * 1e30, 1)]
    assert rewards(history, direction) == [1.0, 0.0, 0.0]


def test_losses_that_all_blew_up_are_scaled_among_themselves():
    history = [Pull(0.5, 10.0, 1), Pull(0.6, 30.0, 1)]
    assert rewards(history, "min") == [1.0, 0.0]


def test_single_loss_is_the_best():
    assert rewards(pulls_of([7.0]), "min") == [1.0]


def test_range_of_two_huge_losses_does_not_overflow():
    assert rewards(pulls_of([-1.7e308, 1.7e308, 0.0]), "min") == [1.0, 0.0, 0.5]


def test_nothing_finite_has_rewards_all_the_same():
    assert rewards(pulls_of(NOT_FINITE), "min") == [0.0, 0.0, 0.0]


@given(
    losses=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8),
    exponent=st.integers(-20, 20),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_scale_of_a_loss_makes_no_difference(losses, exponent):
    """A power of two is exact."""
    scaled = [math.ldexp(loss, exponent) for loss in losses]
    assert rewards(pulls_of(scaled), "min") == rewards(pulls_of(losses), "min")


@given(
    losses=st.lists(st.integers(-1000, 1000), min_size=1, max_size=8),
    shift=st.integers(-(10**6), 10**6),
    factor=st.integers(1, 1000),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_offset_and_scale_of_a_loss_make_no_difference(losses, shift, factor):
    moved = [float(loss * factor + shift) for loss in losses]
    assert rewards(pulls_of(moved), "min") == rewards(pulls_of(losses), "min")


@given(scores=st.lists(st.floats() | st.none(), max_size=8))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_rewards_lie_between_0_and_1(scores):
    for direction in ("max", "min"):
        values = rewards(pulls_of(scores), direction)
        assert len(values) == sum(score is not None for score in scores)
        assert all(0.0 <= value <= 1.0 for value in values)


def test_pulls_at_a_rounded_position_are_one_arm():
    history = [Pull(0.3, 0.5), Pull(0.3 + 1e-12, 0.75), Pull(0.30001, 1.0)]
    first, second = bandit.visits(history, "max")
    assert (first.rewards, first.mean, first.count) == ((0.5, 0.75), 0.625, 2)
    assert second.rewards == (1.0,)


def test_signal_of_an_arm_is_that_of_its_pulls_if_they_agree():
    history = [Pull(0.1, 0.5, 1), Pull(0.1, 0.5, 1), Pull(0.2, 0.5, -1), Pull(0.2, 0.9)]
    assert [arm.signal for arm in bandit.visits(history, "max")] == [1, 0]


def test_pending_arm_counts_as_the_better_of_its_finished_neighbors():
    history = [Pull(0.1, 0.25), Pull(0.2), Pull(0.3), Pull(0.4, 0.75), Pull(0.9)]
    estimates = [arm.estimate for arm in bandit.visits(history, "max")]
    assert estimates == [0.25, 0.75, 0.75, 0.75, 0.75]


def test_arm_with_a_finished_and_a_pending_pull_keeps_its_mean():
    (arm,) = bandit.visits([Pull(0.1, 0.25), Pull(0.1)], "max")
    assert (arm.estimate, arm.count, arm.pending) == (0.25, 2, 1)


def test_arms_of_pending_pulls_alone_have_no_estimate():
    assert math.isnan(bandit.visits([Pull(0.1), Pull(0.2)], "max")[0].estimate)


def test_radius_is_that_of_the_book():
    """sqrt(2 ln(e^2) / (3 + 1)) = 1, and its tenth."""
    horizon = math.exp(2)
    assert bandit.confidence_radius(3, horizon) == pytest.approx(1.0, rel=1e-15)
    assert bandit.confidence_radius(3, horizon, 0.1) == pytest.approx(0.1, rel=1e-15)
