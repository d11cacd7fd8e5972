"""The walk's rule, by hand."""

import math

import numpy as np
import pytest
from keras import ops

from keras_lr.rules import walk

NAN, INF = math.nan, math.inf


def value(tensor):
    return float(ops.convert_to_numpy(tensor))


@pytest.mark.parametrize(
    ("raised", "after", "direction"),
    [
        (0.5, 1.0, 1),
        (1.0, 0.5, -1),
        (1.0, 1.0, -1),
        (-1.0, -0.5, 1),
        (NAN, 1.0, -1),
        (INF, 1.0, -1),
        (-INF, 1.0, -1),
        (1.0, NAN, 1),
        (1.0, INF, 1),
        (NAN, NAN, -1),
        (INF, INF, -1),
        (NAN, INF, -1),
    ],
)
def test_raised_rate_is_better_only_if_it_leaves_a_lower_loss(raised, after, direction):
    found = walk.direction_of_losses(
        ops.convert_to_tensor(raised), ops.convert_to_tensor(after)
    )
    assert value(found) == direction


def tensors(*values):
    return [ops.convert_to_tensor(each, "float64") for each in values]


@pytest.mark.parametrize(
    ("slope", "direction"),
    [(-0.5, 1), (0.5, -1), (0.0, -1), (-0.0, -1), (NAN, -1), (INF, -1), (-INF, -1)],
)
@pytest.mark.parametrize("before", [-1.0, 0.0, 1.0, NAN])
def test_slope_downwards_raises_the_rate(slope, direction, before):
    assert value(walk.direction_of_slopes(*tensors(before, slope))) == direction


@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [
        # A step that should take a quarter of the slope.
        (-1.0, -0.76, 1),
        (-1.0, -0.74, -1),
        (-1.0, 0.5, -1),
        (1.0, -0.1, 1),
        (1.0, 0.1, -1),
        (NAN, -1.0, -1),
        (-1.0, NAN, -1),
    ],
)
def test_step_that_leaves_more_of_the_slope_than_it_should_raises_the_rate(
    before, after, direction
):
    assert value(walk.direction_of_slopes(*tensors(before, after), 0.25)) == direction


@pytest.mark.parametrize(("memory", "share"), [(0.0, 1.0), (0.75, 0.5), (0.96, 0.2)])
def test_share_is_the_root_of_what_a_step_is_of_all_that_it_leads_to(memory, share):
    assert walk.share(memory) == pytest.approx(share, rel=1e-15)


def factors(directions, largest):
    """Return the factors that a sequence of directions moves by, from 2 on."""
    step, previous, found = math.log(2.0), 0.0, []
    for each in directions:
        direction, previous, step = tensors(each, previous, step)
        limits = {"smallest": math.log(2.0), "largest": math.log(largest)}
        step = walk.step_size(step, direction, previous, **limits)
        previous = direction
        found.append(math.exp(value(step)))
    return found


def test_factor_is_constant_without_a_larger_one():
    assert factors([1, 1, -1, -1, 1], 2.0) == pytest.approx([2.0] * 5, rel=1e-15)


@pytest.mark.parametrize("sign", [1, -1])
def test_factor_grows_while_decisions_agree_up_to_its_largest(sign):
    # 2 to the powers of 1, 2 and 4, but 8 at most.
    found = factors(np.array([1, 1, 1, 1, -1, -1, 1]) * sign, 8.0)
    expected = [2.0, 4.0, 8.0, 8.0, 2.0, 4.0, 2.0]
    assert found == pytest.approx(expected, rel=1e-14)


# Of a parabola whose slope is 0 at a rate of 1: at a rate it is (rate - 1), and a step
# takes as much of the slope as its rate.
@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize(
    ("part", "expected"),
    [(1e-6, True), (0.09, True), (0.11, False), (1.9, False), (2.1, True)],
)
def test_rate_is_far_below_a_tenth_or_above_twice_its_goal(share, part, expected):
    rate = part * share
    assert bool(walk.is_far(*tensors(-1.0, rate - 1.0), share)) is expected
    losses = [0.5 * (each * rate - 1.0) ** 2 for each in (0.0, 1.0, 1.25)]
    slopes = walk.slopes_of_losses(*tensors(*losses, 1.25))
    # By the rate in units of itself.
    expected_slopes = [-rate, rate * (rate - 1.0)]
    np.testing.assert_allclose([value(each) for each in slopes], expected_slopes, 1e-8)
    assert bool(walk.is_far(*slopes, share)) is expected


@pytest.mark.parametrize(
    ("before", "after"),
    [(1.0, 1.0), (0.0, 0.0), (NAN, -1.0), (-1.0, NAN), (-INF, -1.0), (-1.0, INF)],
)
def test_nothing_is_far_that_does_not_go_downhill_by_a_finite_slope(before, after):
    assert not bool(walk.is_far(*tensors(before, after)))


@pytest.mark.parametrize(
    ("move", "start", "factor", "expected"),
    [
        (walk.walked, 0.5, 1.25, 0.625),
        (walk.walked, 0.5, 1 / 1.25, 0.4),
        # A momentum, by its distance from 1.
        (walk.walked_complement, 0.5, 2.0, 0.75),
        (walk.walked_complement, 0.75, 1 / 2.0, 0.5),
    ],
)
def test_value_is_multiplied_and_divided(move, start, factor, expected):
    step = ops.convert_to_tensor(math.log(factor), "float64")
    found = move(ops.convert_to_tensor(start, "float64"), step)
    assert value(found) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("mean", "agrees"), [(-0.8, True), (-0.7, False), (0.0, False), (NAN, False)]
)
def test_next_batches_agree_below_zero_by_standard_errors(mean, agrees):
    """1.5 times (0.5 * 0.5 * 1)^(1/2) = 0.75."""
    assert bool(walk.is_agreed(*tensors(mean, 1.0, 0.5))) is agrees


def test_mean_of_losses_lies_within_standard_errors():
    """2 times (0.5 * 0.5 * 0.16)^(1/2) = 0.4."""
    low, high = walk.range_of_losses(*tensors(1.0, 0.16, 0.5))
    assert (value(low), value(high)) == pytest.approx((0.6, 1.4), rel=1e-15)


@pytest.mark.parametrize(
    ("rate", "first", "expected"),
    [(1.0, 0.1, math.exp(-0.03)), (1.0, 0.99, 0.99), (1.0, 1.0, 1.0), (1.0, 2.0, 1.0)],
)
def test_rate_falls_to_the_first_one_and_never_rises_to_it(rate, first, expected):
    assert value(walk.lowered(*tensors(rate, first))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("square", "mean_square", "count", "expected"),
    [
        (9.0, 4.0, 20.0, 1.0),
        # Three times the root mean square.
        (36.0, 4.0, 20.0, 0.5),
        (36.0, 4.0, 19.0, 1.0),
        (400.0, 1.0, 1e6, 0.075),
        (0.0, 0.0, 100.0, 1.0),
        (1.0, 0.0, 100.0, 1.0),
        (INF, 4.0, 100.0, 1.0),
        (NAN, 4.0, 100.0, 1.0),
    ],
)
def test_step_is_shortened_to_that_of_a_gradient_half_above_the_usual(
    square, mean_square, count, expected
):
    found = walk.shortening(*tensors(square, mean_square, count))
    assert value(found) == pytest.approx(expected)
