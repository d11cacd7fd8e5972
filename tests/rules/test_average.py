"""Averages by increments, and without the zero that they start from."""

import pytest
from keras import ops

from keras_lr.rules import average


def tensor(values, dtype="float64"):
    return ops.convert_to_tensor(values, dtype=dtype)


def test_increment_leads_to_the_weighted_sum():
    """0.75 * 8 + 0.25 * 4 = 7, and 0.75 * 0 + 0.25 * -2 = -0.5."""
    old, value = tensor([8.0, 0.0]), tensor([4.0, -2.0])
    increment = average.increment(old, value, 0.75, tensor(1.0))
    assert (old + increment).numpy().tolist() == [7.0, -0.5]


def test_average_is_the_old_one_and_its_increment():
    old, value = tensor([8.0, 0.0]), tensor([4.0, -2.0])
    after = average.averaged(old, value, 0.75, tensor(1.0))
    assert after.numpy().tolist() == [7.0, -0.5]


def test_increment_at_a_decay_of_0_leads_to_the_value():
    increment = average.increment(tensor([8.0]), tensor([4.0]), 0.0, tensor(1.0))
    assert increment.numpy().tolist() == [-4.0]


def test_step_that_does_not_count_has_no_increment():
    increment = average.increment(tensor([8.0]), tensor([4.0]), 0.75, tensor(0.0))
    assert increment.numpy().tolist() == [0.0]


def test_increment_has_the_dtype_of_the_average():
    old, value = tensor([8.0], "float16"), tensor([4.0], "float16")
    increment = average.increment(old, value, 0.75, tensor(1.0, "float32"))
    assert increment.dtype == old.dtype
    assert increment.numpy().tolist() == [-1.0]


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_corrected_average_of_a_constant_is_the_constant(decay, count):
    old = 0.0
    for _ in range(count):
        old = decay * old + (1 - decay) * 3.0
    value = average.corrected(tensor(old), decay, tensor(count))
    # 1 - 0.999 has lost three digits of sixteen.
    assert float(value) == pytest.approx(3.0, rel=1e-12)


def test_average_of_nothing_is_left_as_it_is():
    assert float(average.corrected(tensor(5.0), 0.9, tensor(0.0))) == 5.0


def test_total_weight_of_the_first_step_is_what_the_decay_leaves():
    assert float(average.total_weight(0.75, tensor(1.0))) == 0.25
    assert float(average.total_weight(0.75, tensor(2.0))) == 1 - 0.75**2
    assert float(average.total_weight(0.75, tensor(0.0))) == 1.0


def test_paper_divides_by_1_or_by_the_total_weight():
    count = tensor(2.0)
    assert float(average.paper_weight(0.75, count, bias_correction=False)) == 1.0
    weight = average.paper_weight(0.75, count, bias_correction=True)
    assert float(weight) == 1 - 0.75**2


def test_decay_does_not_pass_through_float32():
    """Which holds 0.9 with an error of 2.4e-8."""
    weight = average.total_weight(0.9, tensor(1.0))
    assert float(weight) == pytest.approx(0.1, rel=1e-15)


@pytest.mark.parametrize(
    ("steps", "expected"), [(0, 1.0), (10, 0.5), (90, 0.1), (990, 0.01), (9990, 0.01)]
)
def test_share_of_a_new_value_falls_to_the_least_one(steps, expected):
    share = average.share_of_new(tensor(float(steps)), least=0.01)
    assert float(share) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("steps", "expected"), [(0, 1.0), (1, 0.75), (9, 0.3)])
def test_share_is_a_half_after_the_first_values(steps, expected):
    share = average.share_of_new(tensor(float(steps)), least=0.3, first=3.0)
    assert float(share) == pytest.approx(expected, rel=1e-15)


def test_moving_average_moves_by_its_share():
    """8 + 0.25 * (4 - 8) = 7."""
    assert float(average.moving_average(tensor(8.0), tensor(4.0), tensor(0.25))) == 7.0
