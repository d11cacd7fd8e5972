"""`rules.divergence`: notices what diverges, and nothing else."""

import numpy as np
import pytest

from keras_lr.rules.divergence import Losses


def has_diverged(losses):
    """What is said after each of the losses."""
    known, said = Losses(), []
    for loss in losses:
        known = known.followed_by(loss)
        said.append(known.has_diverged)
    return said


def average(losses, memory):
    weights = memory ** np.arange(len(losses))[::-1]
    return np.sum(weights * losses) / np.sum(weights)


def reference(losses):
    """Whether an average over the losses is too high."""
    said, lowest, scatter, first = False, np.inf, 0.0, losses[0]
    for number in range(1, len(losses) + 1):
        if number >= 7:  # From there on, 1 - 0.9^n is above a half.
            said = said or average(losses[:number], 0.9) > first + 3.0 * abs(first)
        if number >= 23:  # From there on, 1 - 0.97^n is.
            slow = average(losses[:number], 0.97)
            if slow < lowest:
                means = [average(losses[:n], 0.97) for n in range(1, number + 1)]
                squares = np.square(losses[:number] - means)
                lowest, scatter = slow, np.sqrt(average(squares, 0.97))
            if first - lowest > max(0.15 * abs(first), 2.0 * scatter):
                said = said or slow > (first + lowest) / 2
        yield said


@pytest.mark.parametrize("scale", [1e-3, 1.0, -1.0, 1e3])
def test_guard_says_what_the_slow_reference_says(scale):
    growth = np.random.default_rng(0).normal(0.15, 0.4, size=40)
    losses = scale * np.exp(np.cumsum(growth))
    if scale < 0:
        losses = losses[0] + np.abs(losses)
    said = has_diverged(losses)
    assert said == list(reference(losses))
    assert not said[5]
    assert said[-1]


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("before", [0, 3])
def test_loss_that_is_not_finite_is_divergence_for_good(loss, before):
    said = has_diverged([1.0] * before + [loss] + [0.5] * 30)
    assert said == [False] * before + [True] * 31


# After 20 losses of 1 the next one x makes the average (0.9 (1 - 0.9^20) + 0.1 x) over
# (1 - 0.9^21), which is 4 at x = 27.7.
@pytest.mark.parametrize(("outlier", "expected"), [(27.6, False), (27.8, True)])
def test_one_outlier_has_to_be_high_to_be_divergence(outlier, expected):
    said = has_diverged([1.0] * 20 + [outlier] + [1.0] * 5)
    assert said == [False] * 20 + [expected] * 6


@pytest.mark.parametrize(("losses", "expected"), [(3.99, False), (4.01, True)])
def test_average_of_four_first_losses_is_the_limit(losses, expected):
    # The first loss counts for 0.9^200 of the average in the end.
    assert has_diverged([1.0] + [losses] * 200)[-1] is expected


# From 1 to 0.2 in the average, of which the limit is half of the way back, 0.6.
@pytest.mark.parametrize(("later", "expected"), [(0.59, False), (0.61, True)])
def test_half_of_what_was_gained_may_be_lost(later, expected):
    losses = [1.0] + [0.2] * 200 + [later] * 200
    assert has_diverged(losses)[-1] is expected


def test_little_that_was_gained_may_be_lost():
    assert not any(has_diverged([1.0] + [0.86] * 200 + [2.0] * 200))


def test_high_first_loss_is_no_progress_where_losses_scatter():
    """The average goes from 0.75 to 0.95, and losses are off by 0.3."""
    losses = [1.0] + [0.45, 1.05] * 30 + [0.65, 1.25] * 60
    assert not any(has_diverged(losses))
    # With less scatter it is.
    losses = [1.0] + [0.7, 0.8] * 30 + [0.9, 1.0] * 60
    assert has_diverged(losses)[-1]


def test_network_that_died_at_the_loss_it_began_with_has_diverged():
    """From 2.3 to 1.8, and back for good."""
    said = has_diverged([2.3] * 30 + [1.8] * 40 + [2.3] * 60)
    assert said[-1]
    assert not any(said[:70])


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_slow_average_says_what_the_reference_says(scale):
    rng = np.random.default_rng(1)
    fall = np.concatenate([np.linspace(2.3, 0.5, 80), np.linspace(0.5, 2.5, 80)])
    losses = scale * (fall + rng.normal(0.0, 0.2, 160))
    said = has_diverged(losses)
    assert said == list(reference(losses))
    assert said[-1]


@pytest.mark.parametrize(("later", "expected"), [(3.9, False), (4.1, True)])
def test_negative_losses_may_rise_by_three_times_their_size(later, expected):
    assert has_diverged([-2.0] + [later] * 200)[-1] is expected


def test_negative_losses_that_fall_are_fine():
    assert not any(has_diverged(-(np.arange(1.0, 50.0) ** 2)))


def test_losses_that_stay_zero_are_fine():
    assert not any(has_diverged([0.0] * 20))


def test_restart_forgets_the_losses_but_the_first():
    known = Losses()
    for loss in (1.0, 0.1, 0.1, np.nan):
        known = known.followed_by(loss)
    assert known.has_diverged
    assert known.restarted() == Losses(first=1.0)
