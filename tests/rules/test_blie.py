"""BLiE: batches of cells, the ACE sequence, elimination."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lr.rules import blie
from keras_lr.rules.bandit import Pull
from keras_lr.rules.blie import BLiE
from tests.references import blie as reference
from tests.rules.test_zooming import histories


def peak(position):
    """A reward with its maximum at 0.71, and 0 far from it."""
    return max(1.0 - 4.0 * abs(position - 0.71), 0.0)


def batches(rule, reward, count):
    """Play whole batches; return the new positions of each."""
    pulls, played = [], []
    for _ in range(count):
        known = [pull.position for pull in pulls]
        batch = [
            position
            for position in rule.propose_batch(pulls)
            if not any(abs(position - other) < 1e-9 for other in known)
        ]
        played.append(batch)
        pulls += [Pull(position, reward(position)) for position in batch]
    return played


def test_parts_are_those_of_the_ace_sequence():
    """c = 2.69, 1.80, 1.20, 0.80, ... for T = 10^6: s = 2.69, 4.48, 5.68, 6.48, ..."""
    parts = list(itertools.islice(blie.ace_parts(10**6), 8))
    assert parts == [4, 8, 16, 32, 64, 128, 256, 512]
    edges = sorted(set(reference.ace_edges(10**6, 12)), reverse=True)
    assert [1 / part for part in parts[: len(edges)]] == edges[: len(parts)]


@pytest.mark.parametrize("horizon", [100, 10**4, 10**6, 10**9, 10**15])
def test_parts_skip_what_the_ace_sequence_skips(horizon):
    edges = sorted(set(reference.ace_edges(horizon, 8)), reverse=True)
    parts = itertools.islice(blie.ace_parts(horizon), len(edges))
    assert [1 / part for part in parts] == edges


@pytest.mark.parametrize("horizon", [1, 2, 10, 100])
def test_parts_of_a_short_search_are_halves(horizon):
    assert list(itertools.islice(blie.ace_parts(horizon), 5)) == [1, 2, 4, 8, 16]


def test_batches_in_the_paper_form_are_those_of_the_slow_form():
    """Below 4 / 4 < 1, cells of edge 1 / 8 are the first to be eliminated."""
    rule = BLiE(10, strategy="paper")
    expected = reference.batches(peak, [1, 2, 4, 8, 16], lambda edge: 4 * float(edge))
    played = [sorted(batch) for batch in batches(rule, peak, 5)]
    assert played == expected
    assert len(played[4]) < 16


def test_batches_by_thirds_are_those_of_the_slow_form():
    rule = BLiE(10)

    def limit(edge):
        return float(edge) / 2 + 2 * 0.01 * math.sqrt(math.log(1 / edge))

    expected = reference.batches(peak, [1, 3, 9], limit)
    played = [sorted(batch) for batch in batches(rule, peak, 3)]
    assert [pytest.approx(batch) for batch in expected] == played
    assert [len(batch) for batch in played] == [1, 2, 2]


def test_most_promising_cells_come_first():
    """1 / 6 + 0.02 sqrt(ln 3) = 0.188: of three cells the left one is out."""
    rewards = {1 / 6: 0.70, 0.5: 0.72, 5 / 6: 0.9}
    pulls = [Pull(position, reward) for position, reward in rewards.items()]
    batch = BLiE(10).propose_batch(pulls)
    # The right cell's parts, from the right, then the middle cell's.
    expected = [17 / 18, 15 / 18, 13 / 18, 11 / 18, 9 / 18, 7 / 18]
    assert batch == pytest.approx(expected)


def test_next_position_is_the_first_new_one_of_the_batch():
    rule = BLiE(10)
    assert rule.propose([]) == 0.5
    assert rule.propose([Pull(0.5, 0.9)]) == pytest.approx(5 / 6)
    assert rule.propose([Pull(0.5, 0.9), Pull(5 / 6)]) == pytest.approx(1 / 6)


def test_no_worker_waits_for_a_batch_to_end():
    pulls = [Pull(0.5, 0.9), Pull(5 / 6), Pull(1 / 6)]
    assert BLiE(10).propose(pulls) == pytest.approx(17 / 18)


def test_blow_up_cuts_off_larger_rates():
    pulls = [Pull(0.5, 0.1, 1)]
    batch = BLiE(10).propose_batch(pulls)
    assert batch == pytest.approx([0.5, 1 / 6])
    assert BLiE(10, strategy="paper").propose_batch(pulls) == [0.75, 0.25]


def test_search_ends_where_cells_are_as_small_as_the_noise():
    """1 / (2 * 9) = 0.056 is below 0.05 sqrt(ln 9) = 0.074; 1 / 6 is not."""
    rule = BLiE(10, noise=0.05)
    pulls = [Pull(position, 0.5) for position in (0.5, 1 / 6, 5 / 6)]
    assert rule.propose(pulls[:2]) == pytest.approx(5 / 6)
    assert rule.propose(pulls) is None
    assert rule.propose_batch(pulls) == []


@pytest.mark.parametrize("horizon", [30, 31, 60, 1000])
def test_longer_search_begins_as_a_shorter_one(horizon):
    """It ended after 9 trials from 31 on, because its doubt grew with T."""

    def flat(position):
        return 1.0 - 0.05 * abs(position - 0.71)

    def tried(rule):
        return [place for batch in batches(rule, flat, 4) for place in batch]

    assert tried(BLiE(horizon)) == tried(BLiE(10))
    assert len(tried(BLiE(horizon))) == 27


def test_interval_holds_the_cells_of_the_batch():
    pulls = [Pull(1 / 6, 0.1), Pull(0.5, 0.8), Pull(5 / 6, 0.9)]
    assert BLiE(10).live_interval(pulls) == pytest.approx((1 / 3, 1.0))
    assert BLiE(10).live_interval([]) == (0.0, 1.0)


def test_best_arm_is_that_of_the_largest_mean():
    pulls = [Pull(0.25, 0.95), Pull(0.25, 0.75), Pull(0.75, 0.9)]
    assert BLiE(10).best(pulls).position == 0.75
    assert [arm.position for arm in BLiE(10).arms(pulls)] == [0.25, 0.75]


def test_best_of_equal_arms_has_more_pulls_or_else_the_smaller_rate():
    pulls = [Pull(0.25, 0.9), Pull(0.5, 0.9), Pull(0.75, 0.9)]
    assert BLiE(10).best(pulls).position == 0.25
    assert BLiE(10).best([*pulls, Pull(0.75, 0.9)]).position == 0.75


@pytest.mark.parametrize("options", [{"horizon": 0}, {"noise": 0.0}, {"strategy": "?"}])
def test_wrong_argument_is_refused(options):
    with pytest.raises(ValueError, match=f"Received: {next(iter(options))}="):
        BLiE(**{"horizon": 10, **options})


@given(
    history=histories,
    strategy=st.sampled_from(["thirds", "paper"]),
    direction=st.sampled_from(["max", "min"]),
    data=st.data(),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_proposal_is_new_and_depends_on_no_order(history, strategy, direction, data):
    rule = BLiE(10, direction, strategy=strategy)
    position = rule.propose(history)
    assert rule.propose(data.draw(st.permutations(history))) == position
    if position is not None:
        assert 0.0 < position < 1.0
        assert all(abs(pull.position - position) > 1e-6 for pull in history)
