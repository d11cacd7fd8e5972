"""Values and steps, segments, setbacks: numbers by hand."""

import math

import numpy as np
import pytest

from keras_lr.rules import lrs_opt


def test_each_value_holds_for_its_steps_and_the_last_one_for_what_is_left():
    rates = lrs_opt.expanded(np.array([1.0, 2.0, 3.0]), every=3, steps=7)
    assert rates.tolist() == [1, 1, 1, 2, 2, 2, 3]


def test_gradient_by_a_value_is_the_sum_of_those_by_its_steps():
    slopes = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    assert lrs_opt.gathered(slopes, every=3).tolist() == [7, 56, 64]
    assert lrs_opt.gathered(slopes, every=1).tolist() == slopes.tolist()
    assert lrs_opt.gathered(slopes, every=9).tolist() == [127]


def test_gradient_is_the_transpose_of_the_expansion(rng):
    values, slopes = rng.normal(size=4), rng.normal(size=11)
    # Both sides are sums of 11 products of size 1.
    assert values @ lrs_opt.gathered(slopes, 3) == pytest.approx(
        lrs_opt.expanded(values, 3, 11) @ slopes, rel=1e-13
    )


def test_projection_sets_negative_values_to_zero_and_keeps_the_others():
    values = lrs_opt.projected(np.array([-1.0, 0.0, 2.0]))
    assert values.tolist() == [0.0, 0.0, 2.0]
    assert not np.signbit(values).any()


def test_outer_step_is_a_part_of_the_mean_rate_that_falls():
    values = np.array([0.0, 0.0, 0.0, 4.0])
    assert lrs_opt.relative_learning_rate(values, 0) == pytest.approx(0.3)
    assert lrs_opt.relative_learning_rate(values, 30) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("loss", "gradient", "lowest", "expected"),
    [
        (1.0, 1.0, math.inf, False),
        (1.4, 1.0, 1.0, False),
        (1.6, 1.0, 1.0, True),
        (math.nan, 1.0, 1.0, True),
        (math.inf, 1.0, math.inf, True),
        (0.5, math.nan, 1.0, True),
        (0.5, math.inf, 1.0, True),
        # A loss may be negative, and then half of another says nothing.
        (-1.0, 1.0, -2.0, False),
    ],
)
def test_setback_is_a_loss_or_slope_that_is_not_finite_or_a_loss_far_above_the_lowest(
    loss, gradient, lowest, expected
):
    assert lrs_opt.is_setback(loss, np.array([0.0, gradient]), lowest) is expected


@pytest.mark.parametrize(
    ("steps", "capacity", "expected"),
    [
        (1, 1, [(0, 1)]),
        (5, 5, [(0, 5)]),
        (5, 99, [(0, 5)]),
        # One state less: two starts, and three more within the last segment.
        (5, 4, [(0, 2), (2, 5)]),
        (9, 5, [(0, 3), (3, 6), (6, 9)]),
        (10, 7, [(0, 4), (4, 10)]),
    ],
)
def test_segments_are_the_longest_that_fit(steps, capacity, expected):
    assert lrs_opt.segments(steps, capacity) == expected


def states_needed(parts):
    """Count them, as they are kept: starts, and all within the last segment."""
    most = 0
    for number, (first, last) in enumerate(parts):
        most = max(most, number + last - first)
    return most


@pytest.mark.parametrize("steps", [*range(1, 40), 512, 1000, 2048])
def test_segments_cover_all_steps_and_keep_within_the_capacity(steps):
    smallest = lrs_opt.smallest_capacity(steps)
    for capacity in sorted({smallest, smallest + 1, steps // 2, steps} - {0}):
        if capacity < smallest:
            continue
        parts = lrs_opt.segments(steps, capacity)
        assert [t for part in parts for t in range(*part)] == list(range(steps))
        assert states_needed(parts) <= capacity


@pytest.mark.parametrize("steps", range(1, 200))
def test_smallest_capacity_is_the_least_over_all_lengths_and_at_most_twice_the_root(
    steps,
):
    least = min(math.ceil(steps / n) - 1 + n for n in range(1, steps + 1))
    assert lrs_opt.smallest_capacity(steps) == least <= 2 * math.sqrt(steps)


def test_capacity_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match=r"512 steps need .* at least 45 states"):
        lrs_opt.segments(512, 44)
