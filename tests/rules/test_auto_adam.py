"""The rates and directions of Auto-Adam, worked by hand."""

import pytest
from keras import ops

from keras_lr.rules import auto_adam


def tensor(values):
    return ops.convert_to_tensor(values, dtype="float64")


DECAYS = {"beta_1": 0.5, "beta_2": 0.75, "epsilon": 1.0}
SUPREMUM = auto_adam.Supremum(**DECAYS)
PAPER = auto_adam.Paper(**DECAYS, bias_correction=False)
CORRECTED = auto_adam.Paper(**DECAYS, bias_correction=True)


@pytest.mark.parametrize(
    ("form", "constants"),
    [(SUPREMUM, [15 / 16 * 8.0, 6.0]), (PAPER, [5.0, 7.0])],
    ids=str,
)
def test_constants_are_a_supremum_and_an_average_or_those_of_lines_7_and_8(
    form, constants
):
    """0.5 * 8 + 0.5 * 4; 0.5 * 8 + 0.5 * 2 and 0.75 * 8 + 0.25 * 4.

    After six observations, a sixteenth of the largest norm is forgotten.
    """
    old, norm, square = [tensor(8.0), tensor(8.0)], tensor(2.0), tensor(4.0)
    after = form.constants(old, norm, square, tensor(1.0), tensor(6.0))
    assert [float(each) for each in after] == constants
    left_out = form.constants(old, norm, square, tensor(0.0), tensor(6.0))
    assert [float(each) for each in left_out] == [8.0, 8.0]


@pytest.mark.parametrize(
    ("form", "rate"),
    [
        (SUPREMUM, (4 / 0.5) ** 0.5 / 8),
        (PAPER, (2 + 1) / 8),
        (CORRECTED, ((4 / 0.25) ** 0.5 + 1) / (8 / 0.5)),
    ],
    ids=str,
)
def test_rate_is_the_ratio_of_the_constants(form, rate):
    """K_1 = 8 and K_2 = 4 after one observation."""
    actual = float(form.rate([tensor(8.0), tensor(4.0)], tensor(1.0)))
    assert actual == pytest.approx(rate, rel=1e-15)


@pytest.mark.parametrize(
    ("form", "step"),
    [
        (SUPREMUM, 3 * 12 / (4 + 1)),
        (PAPER, 3 * 6 / 5**0.5),
        (CORRECTED, 3 * 12 / 17**0.5),
    ],
    ids=str,
)
def test_step_is_that_of_line_10_or_of_adam(form, step):
    """V = 6 and S = 4 after one step; corrected, they are 12 and 16."""
    arguments = [tensor(value) for value in (3.0, 6.0, 4.0, 1.0)]
    assert float(form.step(*arguments)) == pytest.approx(step, rel=1e-15)


def test_rate_is_at_most_1_44_where_norms_fall_as_their_memory_does():
    """With one weight, where sqrt(K_2) / K_1 is 1 if all norms are alike."""
    form = auto_adam.Supremum(beta_1=0.9, beta_2=0.999, epsilon=1e-7)
    constants, rates = [tensor(0.0), tensor(0.0)], []
    for step in range(60):
        norm = tensor(1 / (10 + step))
        observations = tensor(float(step))
        constants = form.constants(
            constants, norm, norm * norm, tensor(1.0), observations
        )
        rates.append(float(form.rate(constants, observations + 1.0)))
    # By hand: the root of the average of ((10 + t) / (10 + s))^2 with 0.9^(t - s).
    assert max(rates) == pytest.approx(1.43752, abs=1e-5)
