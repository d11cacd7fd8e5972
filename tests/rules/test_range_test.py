import math

import numpy as np
import pytest

from keras_lr.rules import range_test
from keras_lr.rules.range_test import MARGIN, Trial, Verdict
from tests.references import range_test as reference

RATES = range_test.ladder(1e-6, 10.0)


def trials_of(gains, lowest=1e-3, error=0.0):
    """Trials half a decade apart, whose loss without training is 1."""
    rates = lowest * 10.0 ** (np.arange(len(gains)) / 2)
    return [
        Trial(float(rate), 1.0 - gain, gain, error)
        for rate, gain in zip(rates, gains, strict=True)
    ]


def climbed(gain_at, rates, present):
    """Try rungs until there are enough trials; the numbers of the rungs in order."""
    trials, rungs = [], []
    while (rung := range_test.next_rung(trials, rates, present)) is not None:
        assert rung not in rungs
        rungs.append(rung)
        trials.append(Trial(rates[rung], 0.0, gain_at(rates[rung]), 0.0))
    return trials, rungs


def test_gain_is_the_mean_difference_over_the_second_half():
    found = range_test.trial(0.1, [9.0, 9.0, 1.0, 0.0], [2.0, 2.0, 2.0, 4.0])
    # 2 - 1 and 4 - 0: mean 2.5, deviation 1.5 sqrt(2), over sqrt(2).
    assert found == Trial(0.1, 0.5, 2.5, pytest.approx(1.5))


@pytest.mark.parametrize("losses", [[1.0, math.nan, 1.0, 1.0], [1.0, math.inf], [1.0]])
def test_trial_that_ended_early_or_is_not_finite_lost_everything(losses):
    found = range_test.trial(0.1, losses, [2.0] * 4)
    assert found.gain == -math.inf
    assert math.isnan(found.loss)


def test_gain_agrees_with_the_reference(rng):
    untrained, losses = rng.normal(size=(2, 31))
    found = range_test.trial(0.1, list(losses), list(untrained))
    assert found.gain == pytest.approx(reference.gain(losses, untrained), rel=1e-12)


def test_ladder_has_two_rungs_in_a_decade_and_both_limits():
    np.testing.assert_allclose(
        range_test.ladder(1e-3, 1e-1), [1e-3, 10**-2.5, 1e-2, 10**-1.5, 1e-1]
    )
    assert len(RATES) == 15
    assert max(range_test.ladder(1e-3, 0.05)) == pytest.approx(10**-1.5)


def test_trials_begin_beside_the_present_rate_and_climb():
    _, rungs = climbed(lambda rate: -((math.log10(rate) + 2) ** 2) + 9, RATES, 2e-3)
    # 10**-2.5, up to the best at 1e-2 and two worse rungs, then three worse ones below.
    assert rungs == [7, 8, 9, 10, 6, 5]


def test_first_rate_that_is_not_finite_ends_the_climb():
    _, rungs = climbed(lambda rate: -math.inf if rate > 0.02 else rate, RATES, 1e-2)
    assert rungs == [8, 9, 7, 6, 5]


def test_trials_descend_from_a_rate_that_diverges():
    trials, _ = climbed(lambda rate: -math.inf if rate > 1e-4 else rate, RATES, 1.0)
    assert range_test.verdict(trials, RATES).best.learning_rate == pytest.approx(1e-4)


def test_trials_descend_from_rates_that_all_lose():
    gains = [1.0, 0.5, -3.0, -2.0, -1.0, -4.0]
    _, rungs = climbed(lambda rate: gains[RATES.index(rate) - 9], RATES[9:], 1.0)
    assert 0 in rungs


def test_without_any_gain_all_lower_rates_are_tried():
    _, rungs = climbed(lambda rate: -rate, RATES, 1e-4)
    assert sorted(rungs) == list(range(7))


def test_trials_stay_on_the_ladder():
    _, rungs = climbed(lambda rate: rate, RATES[:4], 1.0)
    assert rungs == [3, 2, 1, 0]


@pytest.mark.parametrize("peak", [-4.4, -3.3, -1.0, 0.2])
@pytest.mark.parametrize("present", [1e-6, 1e-3, 10.0])
def test_suggestion_is_that_of_all_rungs(peak, present):
    def gain(rate):
        distance = math.log10(rate) - peak
        return math.exp(-(distance**2)) - (math.inf if distance > 0.6 else 0)

    trials, _ = climbed(gain, RATES, present)
    expected = reference.suggestion(RATES, [*map(gain, RATES)], MARGIN)
    found = range_test.verdict(trials, RATES)
    assert found.learning_rate == pytest.approx(expected, rel=1e-9)
    assert found.doubt == ""


def test_optimum_is_the_top_of_a_parabola():
    # 1 - (x + 2.4)^2 at x = -3, -2.5, -2, -1.5.
    trials = trials_of([0.64, 0.99, 0.84, 0.19])
    found = range_test.verdict(trials, RATES)
    assert found.optimum == pytest.approx(10**-2.4)
    assert found.learning_rate == pytest.approx(MARGIN * 10**-2.4)
    assert found.best == trials[1]
    assert found.doubt == ""


def test_rate_that_is_not_finite_counts_as_one_without_gain():
    found = range_test.verdict(trials_of([0.2, 1.0, -math.inf]), RATES)
    same = range_test.verdict(trials_of([0.2, 1.0, 0.0]), RATES)
    assert found.optimum == same.optimum < 10**-2.5


def test_no_clear_gain_is_a_doubt():
    found = range_test.verdict(trials_of([-0.1, 0.1, 0.2, -1.0], error=0.1), RATES)
    assert found.doubt == "no_gain"
    assert found.learning_rate == pytest.approx(1e-2)


def test_where_everything_loses_the_lowest_rate_is_left():
    trials = trials_of([-0.1, -0.2, -math.inf])
    found = range_test.verdict(trials, RATES)
    assert found == Verdict(1e-3, 1e-3, trials[0], "no_gain")


def test_lowest_rate_that_doubles_the_loss_is_too_high():
    rates = [1e-3, 1e-2]
    trials = [Trial(1e-3, 2.5, -1.5, 0.0), Trial(1e-2, math.nan, -math.inf, 0.0)]
    found = range_test.verdict(trials, rates)
    assert found == Verdict(1e-3, 1e-3, trials[0], "too_high")
    # There may be lower ones.
    assert range_test.verdict(trials, [1e-4, *rates]).doubt == "no_gain"
    # A higher one may be good.
    unclear = [trials[0], Trial(1e-2, 0.9, 0.1, 0.1)]
    assert range_test.verdict(unclear, rates).doubt == "no_gain"
    trials[0] = Trial(1e-3, 1.9, -0.9, 0.0)
    assert range_test.verdict(trials, rates).doubt == "no_gain"
    trials[0] = Trial(1e-3, math.nan, -math.inf, 0.0)
    assert range_test.verdict(trials, rates).doubt == "too_high"


@pytest.mark.parametrize(
    ("gains", "lowest", "doubt"),
    [
        ([1.0, 0.9, 0.0], 1e-6, "lower_limit"),
        ([0.0, 0.5, 1.0], 1.0, "upper_limit"),
        ([0.0, 0.97, 0.1, 1.0, 0.0, 0.0], 1e-3, "uneven"),
        ([0.0, 1.0, -math.inf, 0.96, 0.0, 0.0], 1e-3, "uneven"),
        ([0.0, 0.9, 0.1, 1.0, 0.0, 0.0], 1e-3, ""),
        ([0.0, 0.97, 0.9, 1.0, 0.0, 0.0], 1e-3, ""),
    ],
)
def test_doubts(gains, lowest, doubt):
    trials = trials_of(gains, lowest)
    rates = range_test.ladder(lowest if lowest < 1e-3 else 1e-6, 10.0)
    assert range_test.verdict(trials, rates).doubt == doubt


def test_suggestion_is_not_below_the_lowest_rate_that_may_be_tried():
    rates = range_test.ladder(0.3, 10.0)
    trials = trials_of([1.0, 0.5, 0.0], lowest=0.3)
    assert range_test.verdict(trials, rates).learning_rate == 0.3


def test_flat_gains_have_their_optimum_at_the_first():
    assert range_test.verdict(trials_of([1.0] * 3), RATES).optimum == 1e-3
