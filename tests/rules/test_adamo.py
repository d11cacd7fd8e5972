"""AdaMo's rule, worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_lr.rules import adamo


def tensor(values):
    return ops.convert_to_tensor(values, dtype="float64")


def test_constant_of_the_paper_is_the_average_of_line_6():
    """0.75 * 8 + 0.25 * 4."""
    constant = adamo.paper_constant(tensor(8.0), tensor(4.0), 0.75, tensor(1.0))
    assert float(constant) == 7.0


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_supremum_is_the_largest_norm_so_far(norms):
    constant, constants = tensor(0.0), []
    for norm in norms:
        constant = adamo.supremum(constant, tensor(norm), tensor(1.0))
        constants.append(float(constant))
    assert constants == np.maximum.accumulate(norms).tolist()


def test_step_that_does_not_count_keeps_the_constant():
    old, norm, counts = tensor(8.0), tensor(9.0), tensor(0.0)
    assert float(adamo.supremum(old, norm, counts)) == 8.0
    assert float(adamo.paper_constant(old, norm, 0.75, counts)) == 8.0


def test_rate_of_the_paper_is_the_inverse_of_the_constant_and_0_without_one():
    assert float(adamo.paper_learning_rate(tensor(8.0))) == 0.125
    assert float(adamo.paper_learning_rate(tensor(0.0))) == 0.0


@pytest.mark.parametrize(
    ("velocity_norm", "mean_square", "agreement"),
    [(3.0, 36.0, 0.5), (6.0, 36.0, 1.0), (7.0, 36.0, 1.0), (0.0, 0.0, 0.0)],
)
def test_agreement_is_a_ratio_of_at_most_1(velocity_norm, mean_square, agreement):
    """3 / sqrt(36)."""
    ratio = adamo.agreement(tensor(velocity_norm), tensor(mean_square))
    assert float(ratio) == agreement


def test_rate_is_three_by_the_constant_where_gradients_agree():
    assert float(adamo.learning_rate(tensor(8.0), tensor(1.0))) == 3 / 8
    # (1/16)^(3/4) = 1/8
    rate = adamo.learning_rate(tensor(8.0), tensor(1 / 16))
    assert float(rate) == pytest.approx(3 / 8 / 8, rel=1e-14)
    assert float(adamo.learning_rate(tensor(0.0), tensor(1.0))) == 0.0


def test_momentum_is_the_velocity_over_what_a_gradient_weighs():
    """V is 0.75 * 8 + 0.25 * 4 = 7, after the same gradient again 0.75 * 7 + 1."""
    momentum = adamo.momentum(tensor([0.75 * 8.0 / 0.25]), tensor([4.0]))
    assert (0.25 * momentum).numpy().tolist() == [7.0]
    ahead = adamo.momentum(0.75 * momentum, tensor([4.0]))
    assert (0.25 * ahead).numpy().tolist() == [6.25]
