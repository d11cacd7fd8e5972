"""AdaMo's rule, worked by hand."""

import pytest
from keras import ops

from keras_lr.rules import adamo


def tensor(values):
    return ops.convert_to_tensor(values, dtype="float64")


SUPREMUM = adamo.Supremum(momentum=0.75)
PAPER = adamo.Paper(momentum=0.75, bias_correction=False)
CORRECTED = adamo.Paper(momentum=0.75, bias_correction=True)


def constant_after(form, old, norm, counts=1.0):
    (constant,) = form.constants(
        [tensor(old)], tensor(norm), tensor(0.0), tensor(counts), tensor(6.0)
    )
    return float(constant)


def rate(form, constant, agreement=1.0, observations=1.0):
    return float(form.rate([tensor(constant)], tensor(agreement), tensor(observations)))


def test_constant_is_the_largest_norm_or_the_average_of_line_6():
    """0.75 * 8 + 0.25 * 4."""
    assert constant_after(SUPREMUM, 8.0, 4.0) == 8.0
    assert constant_after(SUPREMUM, 8.0, 9.0) == 9.0
    assert constant_after(PAPER, 8.0, 4.0) == 7.0


@pytest.mark.parametrize("form", [SUPREMUM, PAPER], ids=str)
def test_step_that_does_not_count_keeps_the_constant(form):
    assert constant_after(form, 8.0, 9.0, counts=0.0) == 8.0


def test_rate_of_the_paper_is_the_inverse_of_the_constant_and_0_without_one():
    assert rate(PAPER, 8.0) == 0.125
    assert rate(PAPER, 0.0) == 0.0
    # K is divided by 1 - 0.75 after one observation.
    assert rate(CORRECTED, 2.0) == 0.125


@pytest.mark.parametrize(
    ("velocity_norm", "mean_square", "agreement"),
    [(3.0, 36.0, 0.5), (6.0, 36.0, 1.0), (7.0, 36.0, 1.0), (0.0, 0.0, 0.0)],
)
def test_agreement_is_a_ratio_of_at_most_1(velocity_norm, mean_square, agreement):
    """3 / sqrt(36)."""
    ratio = adamo.agreement(tensor(velocity_norm), tensor(mean_square))
    assert float(ratio) == agreement


def test_rate_is_three_by_the_constant_where_gradients_agree():
    assert rate(SUPREMUM, 8.0) == 3 / 8
    # (1/16)^(3/4) = 1/8
    assert rate(SUPREMUM, 8.0, agreement=1 / 16) == pytest.approx(3 / 8 / 8, rel=1e-14)
    assert rate(SUPREMUM, 0.0) == 0.0


@pytest.mark.parametrize(
    ("form", "pair"), [(SUPREMUM, (36.0, 0.5)), (PAPER, (0.0, 0.0))], ids=str
)
def test_agreement_follows_from_the_momenta_in_one_form_only(form, pair):
    """The mean of ||g||^2 is 0.25 * 144 / 0.25; M = 6 and 6, V = 0.25 M / 0.25."""
    before = tensor(0.0), tensor(0.0)
    after = form.mean_square_and_agreement(
        before,
        tensor(144.0),
        lambda: tensor([36.0, 0.0]),
        counts=tensor(1.0),
        steps=tensor(1.0),
    )
    assert tuple(map(float, after)) == pair


def test_step_is_along_v_or_looks_ahead():
    """M = 28 and g = 4: V = 7, and 0.75 * 7 + 0.25 * 4 = 6.25; 7 / 0.25 corrected."""
    arguments = [tensor(value) for value in (2.0, 4.0, 28.0, 21.0, 1.0)]
    assert float(SUPREMUM.step(*arguments)) == 2 * 6.25
    assert float(PAPER.step(*arguments)) == 2 * 7.0
    assert float(CORRECTED.step(*arguments)) == 2 * 28.0


def test_momentum_is_the_velocity_over_what_a_gradient_weighs():
    """V is 0.75 * 8 + 0.25 * 4 = 7, after the same gradient again 0.75 * 7 + 1."""
    momentum = adamo.momentum(tensor([0.75 * 8.0 / 0.25]), tensor([4.0]))
    assert (0.25 * momentum).numpy().tolist() == [7.0]
    ahead = adamo.momentum(0.75 * momentum, tensor([4.0]))
    assert (0.25 * ahead).numpy().tolist() == [6.25]
