"""`rules.divergence`: what raises a suspicion, and what pairs say of it."""

import json

import numpy as np
import pytest

from keras_lr.rules.divergence import (
    Losses,
    Start,
    is_better,
    last_verdict,
    threshold,
    verdict_of_pairs,
    verdict_without_pairs,
)

FIRST = Start.of((2.2, 2.3, 2.4))
"""F = 2.3, and a scatter of 0.08."""


def after(losses, known=None):
    known = known or Losses()
    for loss in losses:
        known = known.followed_by(loss)
    return known


def suspicions(losses):
    """What is said after each of the losses."""
    known, said = Losses(), []
    for loss in losses:
        known = known.followed_by(loss)
        said.append(known.is_suspicious)
    return said


def average(losses, memory):
    weights = memory ** np.arange(len(losses))[::-1]
    return np.sum(weights * losses) / np.sum(weights)


def reference(losses):
    """Whether the fast average is half of T above the lowest slow one, or F."""
    said, lowest = False, np.inf
    for number in range(1, len(losses) + 1):
        first = losses[: min(number, 7)]
        if number >= 23:  # From there on, 1 - 0.97^n is above a half.
            lowest = min(lowest, average(losses[:number], 0.97))
        low = min(lowest, np.median(first))
        gain = np.median(first) - low
        if gain > max(0.15 * abs(np.median(first)), 2.0 * np.std(first)):
            rise = gain / 2
        else:
            high = np.median(first) + 3.0 * abs(np.median(first))
            rise = max(3.0 * abs(low), high - low)
            if number >= 7:
                rise = min(rise, max(abs(low) / 2, 8.0 * np.std(first)))
        if number >= 7:  # From there on, 1 - 0.9^n is.
            said = said or average(losses[:number], 0.9) > low + rise / 2
        yield said


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("seed", range(4))
def test_suspicion_is_what_the_slow_reference_says(scale, seed):
    rng = np.random.default_rng(seed)
    fall = np.concatenate([np.linspace(2.3, 0.5, 60), np.linspace(0.5, 2.5, 60)])
    losses = scale * (fall + rng.normal(-1.0 * (seed == 3), 0.2, 120))
    said = suspicions(losses)
    assert said == list(reference(losses))
    assert not said[20]
    assert said[-1]


def test_losses_that_stay_or_fall_are_not_suspicious():
    for losses in (
        np.zeros(80),
        np.ones(80),
        np.full(80, -3.0),
        -(np.arange(80.0) ** 2),
    ):
        assert not any(suspicions(losses))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_most_losses_must_be_not_finite(bad):
    # 1 - 0.9^n is above a half after 7 of them.
    assert suspicions([bad] * 8) == [False] * 6 + [True] * 2
    # One in three is below a half at each moment.
    assert not any(suspicions([1.0, 1.0, bad] * 40))


def test_gradients_that_are_not_finite_count_as_losses_do():
    known = Losses()
    for _ in range(7):
        known = known.followed_by(1.0, has_failed=True)
    assert known.is_suspicious


def test_false_suspicion_is_not_raised_again_for_a_while():
    known = after([1.0] * 30 + [9.0] * 10)
    assert known.is_suspicious
    known = known.cleared("fine")
    assert (known.is_suspicious, known.next_look, known.wait) == (False, 72, 32)
    assert not after([30.0] * 31, known).is_suspicious
    assert after([30.0] * 33, known).is_suspicious
    # Up to an eighth of the steps.
    known = after([1.0] * 800).cleared("fine")
    assert known.wait == 64
    assert after([1.0] * 8, known).cleared("fine").wait == 101


def test_level_that_was_a_false_suspicion_is_not_suspicious_again():
    known = after([1.0] * 100 + [0.1] * 200 + [0.6] * 100)
    assert known.is_suspicious
    known = known.cleared("fine")
    assert known.lowest == pytest.approx(0.6, rel=0.05)
    assert not after([0.6] * 500, known).is_suspicious


def test_losses_that_no_rate_cures_are_not_suspicious_again():
    known = after([np.nan] * 10).cleared("not finite")
    assert not after([np.nan] * 100, known).is_suspicious
    assert after([1.0] * 30 + [99.0] * 20, known).is_suspicious
    assert not after([np.nan] * 100, known.restarted()).is_suspicious


def test_restart_forgets_the_losses_but_the_first():
    known = after([1.0, 0.1, 0.1, np.nan])
    assert known.restarted() == Losses(Start.of((1.0, 0.1, 0.1)), steps=4)


def test_state_comes_back_from_text():
    known = after([2.0, np.inf, 1.0] * 10).cleared("not finite")
    text = json.dumps(known.to_dict())
    assert Losses.from_dict(json.loads(text)) == known
    assert Losses.from_dict(json.loads(json.dumps(Losses().to_dict()))) == Losses()


@pytest.mark.parametrize(
    ("good", "first", "expected"),
    [
        (0.3, FIRST, 1.0),  # Half of what was gained.
        (2.1, FIRST, 7.1),  # 0.2 is less than 0.15 * 2.3: four times F.
        (3.0, FIRST, 9.0),  # Four times G.
        (
            1.0,
            Start.of((1.0, 2.0, 3.0)),
            7.0,
        ),  # The gain of 1 is within the scatter, 1.6.
        (-3.0, Start.of((-1.0,)), 1.0),
        (-1.0, Start.of((-1.0,)), 3.0),
        (0.5, Start(), 1.5),
        (0.0, Start.of((0.0, 0.0)), 0.0),
    ],
)
def test_threshold_is_half_of_the_gain_or_three_times_the_loss(good, first, expected):
    assert threshold(good, first) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("good", "scatter", "expected"),
    [
        (2.0, 0.0, 1.0),  # Half of G.
        (2.0, 0.2, 1.6),  # Eight times the scatter.
        (2.0, 2.0, 6.0),  # Four times F.
        (1.8, 0.0, 0.9),
        (8.0, 0.0, 4.0),
    ],
)
def test_small_rise_is_clear_where_losses_scatter_little(good, scatter, expected):
    start = Start((2.0,) * 8, center=2.0, scatter=scatter)
    assert threshold(good, start) == pytest.approx(expected)


def test_few_pairs_at_the_end_must_all_be_high():
    low = np.full(4, 0.3)
    rises = np.array([1.1, 2.0, 9.0, np.nan])
    assert last_verdict(low + rises, low, FIRST) == "diverged"
    assert last_verdict(low + rises - 0.2, low, FIRST) == "fine"
    assert last_verdict(low, [np.nan] * 4, FIRST) == "not finite"


def test_copy_is_better_by_two_standard_errors():
    noise = np.tile([-1.0, 1.0], 8)
    error = np.std(noise, ddof=1) / 4.0
    low = np.full(16, 3.0)
    assert is_better(low - 2.01 * error + noise, low)
    assert not is_better(low - 1.99 * error + noise, low)
    assert not is_better(low, low)
    assert not is_better(low[:7] - 1.0, low[:7])
    assert not is_better(np.full(16, np.nan), low)


def test_first_loss_is_a_median():
    start = Start.of((9.0, 1.0, 2.0))
    assert (start.center, start.scatter) == (2.0, pytest.approx(np.std([9, 1, 2])))
    assert Start.of(()).center == np.inf
    assert after([np.nan, *range(20)]).start == Start.of(range(7))


def verdict(rises, good=0.3, first=FIRST):
    low = np.full(len(rises), good)
    return verdict_of_pairs(low + rises, low, first)


def test_pairs_that_do_not_differ_are_fine():
    noise = np.random.default_rng(0).lognormal(0.0, 3.0, 16)
    assert verdict_of_pairs(noise[:7], noise[:7], FIRST) == "open"
    assert verdict_of_pairs(noise[:15], noise[:15], FIRST) == "open"
    assert verdict_of_pairs(noise, noise, FIRST) == "fine"


# Of the gain of 2, half must be lost.
@pytest.mark.parametrize(("rise", "expected"), [(0.99, "fine"), (1.01, "diverged")])
def test_half_of_what_was_gained_may_be_lost(rise, expected):
    assert verdict([rise] * 16) == expected


def test_few_pairs_must_be_surer():
    # 1.5 +- 0.85, by 3.3 standard errors of six values, ...
    rises = [0.6, 2.4] * 4
    error = np.std(rises, ddof=1) / np.sqrt(8)
    assert 4.0 < 1.5 / error < 6.0
    assert verdict(rises) == "open"
    assert verdict(rises * 2) == "diverged"


def test_one_huge_difference_is_no_evidence():
    assert verdict([0.0] * 15 + [1e9]) == "fine"


def test_loss_that_grows_by_powers_is_evidence():
    assert verdict(10.0 ** np.arange(8)) == "diverged"


def test_differences_that_fall_are_waited_for():
    falling = np.linspace(6.0, 0.1, 16) ** 2
    assert np.mean(np.minimum(falling, 2.0)) > 1.0
    rises = np.concatenate([falling, np.zeros(48)])
    assert verdict([2.0] * 8 + [0.9] * 8) == "open"
    assert verdict(rises) == "fine"


def test_undecided_pairs_are_fine_in_the_end():
    rng = np.random.default_rng(0)
    rises = 1.1 + rng.choice([-8.0, 8.0], 64)
    assert {verdict(rises[:n]) for n in range(16, 64)} <= {"open", "fine"}
    assert verdict(rises) == "fine"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_at_good_weights_either_is_no_divergence(bad):
    low = [0.3] * 8
    assert verdict_of_pairs([bad] * 8, low, FIRST) == "diverged"
    assert verdict_of_pairs([bad] * 8, [bad] * 8, FIRST) == "not finite"
    # Two batches of eight are faulty, in the data.
    faulty = [*low[:6], bad, bad]
    assert verdict_of_pairs(faulty, faulty, FIRST) == "open"
    assert verdict_of_pairs(faulty * 2, faulty * 2, FIRST) == "fine"


def test_without_pairs_losses_must_not_overlap():
    low = np.linspace(0.2, 0.4, 16)
    assert verdict_without_pairs(low + 2.0, low, FIRST) == "diverged"
    assert verdict_without_pairs(low + 0.9, low, FIRST) == "fine"
    assert verdict_without_pairs([*(low + 2.0), 0.39], low, FIRST) == "fine"
    assert verdict_without_pairs([np.nan] * 16, low, FIRST) == "diverged"
    assert verdict_without_pairs([np.nan] * 16, [np.nan] * 16, FIRST) == "fine"
    assert verdict_without_pairs([3.0] * 3, low, FIRST) == "open"
    zeros = [0.0] * 16
    assert verdict_without_pairs(low, zeros, Start.of(zeros)) == "fine"
