"""Zooming: the paper's form against the book, and what the default promises."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lr.rules import bandit, zooming
from keras_lr.rules.bandit import Pull
from keras_lr.rules.zooming import Zooming
from tests.references import zooming as reference

positions = st.integers(0, 64).map(lambda place: place / 64)
finished = st.builds(
    Pull, positions, st.floats() | st.floats(0, 1), st.sampled_from([-1, 0, 1])
)
pending = st.builds(Pull, positions)
histories = st.lists(finished | pending, min_size=1, max_size=12)
rules = st.builds(
    Zooming,
    horizon=st.integers(1, 30),
    direction=st.sampled_from(["max", "min"]),
    lipschitz=st.sampled_from([0.5, 1.0, 4.0]),
    noise=st.sampled_from([0.003, 0.01, 0.05]),
    radius_scale=st.sampled_from([0.1, 1.0]),
    strategy=st.sampled_from(["gap", "paper"]),
    first=positions,
)


def peak(position):
    """A reward with Lipschitz constant 1 and its maximum at 0.7."""
    return 1.0 - abs(position - 0.7)


def search(rule, reward, length):
    pulls = []
    for _ in range(length):
        position = rule.propose(pulls)
        pulls.append(Pull(position, reward(position)))
    return pulls


def random_history(seed):
    """A few arms with rewards that are exact in binary, in random order."""
    draw = random.Random(seed)
    arms = [draw.randrange(1, 256) / 256 for _ in range(draw.randint(1, 6))]
    return [
        (draw.choice(arms), draw.randrange(257) / 256, draw.choice([-1, 0, 0, 1]))
        for _ in range(draw.randint(1, 15))
    ]


def settings_of(seed):
    draw = random.Random(-seed)
    return {
        "horizon": draw.randint(2, 40),
        "lipschitz": draw.choice([0.5, 1.0, 2.0]),
        "radius_scale": draw.choice([0.03, 0.1, 0.3, 1.0]),
    }


@pytest.mark.parametrize("seed", range(200))
def test_paper_form_is_that_of_the_book(seed):
    """Activation, radius, index and choice, on 200 random histories."""
    history, options = random_history(seed), settings_of(seed)
    T, scale, L = options["horizon"], options["radius_scale"], options["lipschitz"]
    rule = Zooming(strategy="paper", **options)
    pulls = [Pull(*triple) for triple in history]
    for arm in rule.arms(pulls):
        radius = reference.radius(arm.position, history, T, scale)
        index = reference.index(arm.position, history, T, scale)
        assert (arm.radius, arm.index) == pytest.approx((radius, index), rel=1e-12)
    expected = reference.activated(history, T, scale, L)
    balls = [(arm.position, arm.radius / L) for arm in rule.arms(pulls)]
    assert zooming.uncovered_point(balls) == pytest.approx(expected, abs=1e-12)
    if expected is None:
        expected = reference.largest_index(history, T, scale)
    assert rule.propose(pulls) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("scale", "horizon"), [(1.0, 60), (0.1, 12), (0.1, 40)])
def test_search_in_the_paper_form_is_that_of_the_book(scale, horizon):
    rule = Zooming(horizon, strategy="paper", radius_scale=scale)
    played = [pull.position for pull in search(rule, peak, horizon)]
    assert played == pytest.approx(reference.paper(peak, horizon, scale), abs=1e-12)


@pytest.mark.parametrize("seed", range(200))
def test_choice_among_gaps_and_arms_is_that_of_the_slow_form(seed):
    history, options = random_history(seed), settings_of(seed)
    rule = Zooming(options["horizon"], noise=0.01, lipschitz=options["lipschitz"])
    expected = reference.gap(history, rule.horizon, rule.noise, rule.lipschitz)
    proposal = rule.propose([Pull(*triple) for triple in history])
    assert proposal == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(50))
def test_interval_is_that_of_the_slow_form(seed):
    history = random_history(seed)
    expected = reference.interval(history)
    assert Zooming(9).live_interval([Pull(*triple) for triple in history]) == expected


def test_first_arms_halve_the_axis_and_ties_go_to_the_larger_rate():
    """With equal rewards, the widest gap has the largest bound."""
    played = [pull.position for pull in search(Zooming(7), lambda _: 0.5, 7)]
    assert played == [0.5, 0.75, 0.25, 0.875, 0.625, 0.375, 0.125]


def test_first_arm_is_the_one_that_was_asked_for():
    assert Zooming(7, first=0.3).propose([]) == 0.3
    assert Zooming(7).propose([]) == 0.5


def test_gap_with_the_largest_bound_is_played():
    """0.9 + 0.25 / 2 beats 0.3 + 0.5 / 2 and 0.9 + 2 r, all with the same r."""
    history = [Pull(0.5, 0.3), Pull(0.75, 0.9)]
    assert Zooming(7, noise=0.001).propose(history) == 0.875


def test_arm_is_trained_again_when_the_gaps_beside_it_are_covered():
    """r = 0.1 sqrt(2 ln 7 / 2) = 0.14 covers all centers, and 0.8 + 2 r > 0.9 - r."""
    history = [Pull(0.5, 0.9), Pull(0.25, 0.8), Pull(0.75, 0.8)]
    assert Zooming(7, noise=0.1).propose(history) == 0.5


def test_search_ends_when_no_gap_and_no_arm_can_be_better():
    history = [Pull(place / 64, 0.2) for place in range(65)]
    history += [Pull(0.5, 0.9)] * 20
    assert Zooming(20).propose(history) is None


def test_search_continues_while_two_arms_cannot_be_told_apart():
    history = [Pull(place / 64, 0.9) for place in range(65)]
    assert Zooming(20).propose(history) is not None


def test_search_continues_while_a_bound_reaches_the_lower_bound_of_the_best():
    """m + 2 r = 0.898 is below the best mean, 0.9, but not by its radius, 0.005."""
    lower = 0.898 - 2 * bandit.confidence_radius(1, 20, 0.01)
    history = [Pull(place / 64, lower) for place in range(65) if place != 32]
    assert Zooming(20).propose(history + [Pull(0.5, 0.9)] * 20) is not None


def test_arm_with_a_pending_pull_is_not_trained_again():
    """Its index, 0.9 + 2 r, is the largest; that of the two others is 0.8 + 2 r."""
    history = [Pull(0.5, 0.9), Pull(0.25, 0.8), Pull(0.75, 0.8), Pull(0.5)]
    assert Zooming(7, noise=0.1).propose(history) == 0.75


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([Pull(0.5, 0.1, 1)], (0.0, 0.5)),
        ([Pull(0.5, 0.1, -1)], (0.5, 1.0)),
        ([Pull(0.5, 0.1, -1), Pull(0.75, 0.1, 1)], (0.5, 0.75)),
        # They contradict.
        ([Pull(0.5, 0.1, 1), Pull(0.75, 0.1, -1)], (0.0, 0.5)),
        # The networks died.
        ([Pull(0.5, 0.1, -1), Pull(0.875, 0.1, -1)], (0.0, 1.0)),
        # One learned: what died above it cuts off larger rates.
        ([Pull(0.5, 0.9), Pull(0.75, 0.1, -1)], (0.0, 0.75)),
        ([Pull(0.5, 0.9), Pull(0.75, 0.1, -1), Pull(0.25, 0.1, -1)], (0.25, 0.75)),
        # It blew up, but late: its score is good enough.
        ([Pull(0.5, 0.9), Pull(0.75, 0.64, 1)], (0.0, 1.0)),
        ([Pull(0.5, 0.9), Pull(0.75, 0.62, 1)], (0.0, 0.75)),
        ([Pull(0.5, 0.9), Pull(0.75, 0.1, 0)], (0.0, 1.0)),
        ([Pull(0.5)], (0.0, 1.0)),
    ],
)
def test_failures_cut_the_axis(history, expected):
    assert Zooming(7).live_interval(history) == expected


def test_dead_networks_do_not_keep_the_search_from_the_small_rates():
    """All rates above 0.4 look as if they had never moved."""

    def pull(position):
        learned = 0.05 < position < 0.4
        return Pull(position, peak(position + 0.4) if learned else 0.1, -1 + learned)

    history = []
    for _ in range(5):
        history.append(pull(Zooming(5).propose(history)))
    assert [pull.position for pull in history[:4]] == [0.5, 0.75, 0.875, 0.25]
    assert Zooming(5).best(history).signal == 0


def test_cut_of_the_paper_form_is_the_whole_axis():
    assert Zooming(7, strategy="paper").live_interval([Pull(0.5, 0.1, 1)]) == (0.0, 1.0)


def test_best_arm_is_that_of_the_largest_mean_not_of_the_luckiest_pull():
    history = [Pull(0.25, 0.95), Pull(0.25, 0.75), Pull(0.75, 0.9)]
    best = Zooming(7).best(history)
    assert (best.position, best.mean, best.pulls) == (0.75, 0.9, 1)


def test_best_of_equal_arms_has_more_pulls_or_else_the_smaller_rate():
    history = [Pull(0.25, 0.9), Pull(0.5, 0.9), Pull(0.75, 0.9)]
    assert Zooming(7).best(history).position == 0.25
    assert Zooming(7).best([*history, Pull(0.5, 0.9)]).position == 0.5


def test_there_is_no_best_arm_while_nothing_is_finished():
    assert Zooming(7).best([Pull(0.5)]) is None


def test_workers_get_different_positions():
    history = []
    for _ in range(5):
        history.append(Pull(Zooming(9).propose(history)))
    assert [pull.position for pull in history] == [0.5, 0.75, 0.25, 0.875, 0.625]


@pytest.mark.parametrize(
    "options",
    [
        {"horizon": 0},
        {"direction": "up"},
        {"lipschitz": 0.0},
        {"noise": -1.0},
        {"radius_scale": math.inf},
        {"strategy": "gaps"},
        {"first": 1.5},
    ],
)
def test_wrong_argument_is_refused(options):
    with pytest.raises(ValueError, match=f"Received: {next(iter(options))}="):
        Zooming(**{"horizon": 7, **options})


@given(rule=rules, history=histories)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_proposal_is_a_position_whatever_the_scores(rule, history):
    position = rule.propose(history)
    assert position is None or 0.0 <= position <= 1.0
    low, high = rule.live_interval(history)
    assert 0.0 <= low <= high <= 1.0


@given(rule=rules, history=histories, data=st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_order_of_the_history_makes_no_difference(rule, history, data):
    other = data.draw(st.permutations(history))
    assert rule.propose(other) == rule.propose(history)
    assert repr(rule.arms(other)) == repr(rule.arms(history))
    assert repr(rule.best(other)) == repr(rule.best(history))
    assert rule.live_interval(other) == rule.live_interval(history)


@given(rule=rules, history=histories)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_index_is_the_mean_and_twice_the_radius(rule, history):
    for arm in rule.arms(history):
        assert arm.radius >= 0.0
        if arm.pulls:
            assert arm.index == arm.mean + 2 * arm.radius


@given(
    history=st.lists(finished | pending, min_size=1, max_size=12),
    horizon=st.integers(2, 30),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_pending_position_is_not_proposed_again_by_the_default(history, horizon):
    position = Zooming(horizon).propose(history)
    assert all(pull.position != position for pull in history if pull.score is None)


@given(history=histories, horizon=st.integers(2, 30), scale=st.floats(0.03, 1.0))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_point_is_uncovered_after_activation(history, horizon, scale):
    """New arms end, and then every point of a fine grid is in a ball."""
    rule = Zooming(horizon, strategy="paper", radius_scale=scale)
    pulled = {pull.position for pull in history}
    while (position := rule.propose(history)) not in pulled:
        assert all(
            abs(arm.position - position) > arm.radius for arm in rule.arms(history)
        )
        history = [*history, Pull(position)]
        pulled.add(position)
    arms = rule.arms(history)
    # The sweep leaves out parts shorter than a billionth.
    for place in range(513):
        distances = [abs(arm.position - place / 512) - arm.radius for arm in arms]
        assert min(distances) <= 1e-9


@given(
    losses=st.lists(st.integers(0, 200), min_size=1, max_size=8),
    shift=st.integers(-1000, 1000),
    factor=st.integers(1, 100),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_scale_and_offset_of_a_loss_change_no_proposal(losses, shift, factor):
    rule = Zooming(10, "min")
    plain = [Pull((n + 1) / 16, float(loss)) for n, loss in enumerate(losses)]
    moved = [
        Pull((n + 1) / 16, float(loss * factor + shift))
        for n, loss in enumerate(losses)
    ]
    assert rule.propose(moved) == rule.propose(plain)


@given(history=st.lists(finished, min_size=1, max_size=12), horizon=st.integers(2, 30))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_position_that_went_through_a_learning_rate_changes_nothing(history, horizon):
    """Through 1e-5 to 1 on a log axis and back."""
    rounded = [
        Pull(
            (math.log10(10 ** (5 * pull.position - 5)) + 5) / 5, pull.score, pull.signal
        )
        for pull in history
    ]
    rule = Zooming(horizon)
    first, second = rule.propose(history), rule.propose(rounded)
    assert (first is None) == (second is None)
    assert first is None or second == pytest.approx(first, abs=1e-9)
