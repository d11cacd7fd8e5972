"""The rates and directions of adaptive RMSprop, worked by hand."""

import pytest
from keras import ops

from keras_lr.rules import adaptive_rmsprop


def tensor(values):
    return ops.convert_to_tensor(values, dtype="float64")


def test_rate_of_the_paper_adds_epsilon_to_the_root():
    """(sqrt(16) + 0.5) / 3, and 0 where every gradient is 0."""
    rate = adaptive_rmsprop.paper_learning_rate(tensor(16.0), tensor(3.0), 0.5)
    assert float(rate) == 1.5
    rate = adaptive_rmsprop.paper_learning_rate(tensor(16.0), tensor(0.0), 0.5)
    assert float(rate) == 0.0


def test_step_of_the_paper_adds_epsilon_under_the_root():
    """3 * 6 / sqrt(8 + 1), and 0 / sqrt(0 + 1)."""
    gradient, square = tensor([6.0, 0.0]), tensor([8.0, 0.0])
    step = adaptive_rmsprop.paper_step(tensor(3.0), gradient, square, tensor(1.0), 1.0)
    assert step.numpy().tolist() == [6.0, 0.0]


def test_step_of_the_paper_divides_the_average_by_its_weight():
    """3 * 6 / sqrt(2 / 0.25 + 1)."""
    step = adaptive_rmsprop.paper_step(
        tensor(3.0), tensor([6.0]), tensor([2.0]), tensor(0.25), 1.0
    )
    assert step.numpy().tolist() == [6.0]


def test_rate_is_the_root_by_the_norm_and_0_without_one():
    assert float(adaptive_rmsprop.learning_rate(tensor(16.0), tensor(8.0))) == 0.5
    assert float(adaptive_rmsprop.learning_rate(tensor(0.0), tensor(0.0))) == 0.0


def test_step_adds_epsilon_to_the_root():
    """3 * 6 / (sqrt(4) + 1), and 0 / (0 + 1)."""
    gradient, square = tensor([6.0, 0.0]), tensor([4.0, 0.0])
    step = adaptive_rmsprop.step(tensor(3.0), gradient, square, tensor(1.0), 1.0)
    assert step.numpy().tolist() == [6.0, 0.0]


def test_step_divides_the_average_by_its_weight():
    """3 * 6 / (sqrt(1 / 0.25) + 1)."""
    step = adaptive_rmsprop.step(
        tensor(3.0), tensor([6.0]), tensor([1.0]), tensor(0.25), 1.0
    )
    assert step.numpy().tolist() == [6.0]


def test_step_in_float16_has_no_0_by_0():
    """There, an epsilon of 1e-7 times the root of 0.001 is 0."""
    nothing = ops.zeros(2, "float16")
    rate, weight = tensor(1.0), tensor(0.001)
    step = adaptive_rmsprop.step(rate, nothing, nothing, weight, 1e-7)
    assert step.numpy().tolist() == [0.0, 0.0]


SUPREMUM = adaptive_rmsprop.Supremum(rho=0.75, epsilon=1.0)
PAPER = adaptive_rmsprop.Paper(rho=0.75, epsilon=1.0, bias_correction=False)
CORRECTED = adaptive_rmsprop.Paper(rho=0.75, epsilon=1.0, bias_correction=True)


@pytest.mark.parametrize(
    ("form", "constants"),
    [(SUPREMUM, [15 / 16 * 8.0, 7.0]), (PAPER, [2.0, 7.0])],
    ids=str,
)
def test_norm_is_the_largest_or_the_last_and_the_square_an_average(form, constants):
    """0.75 * 8 + 0.25 * 4; after six observations, a sixteenth is forgotten."""
    old, norm, square = [tensor(8.0), tensor(8.0)], tensor(2.0), tensor(4.0)
    after = form.constants(old, norm, square, tensor(1.0), tensor(6.0))
    assert [float(each) for each in after] == constants
    left_out = form.constants(old, norm, square, tensor(0.0), tensor(6.0))
    assert [float(each) for each in left_out] == [8.0, 8.0]


@pytest.mark.parametrize(
    ("form", "rate"),
    [(SUPREMUM, 0.5 * 4 / 8), (PAPER, (2 + 1) / 8), (CORRECTED, (4 + 1) / 8)],
    ids=str,
)
def test_rate_follows_from_the_square_over_its_weight(form, rate):
    """4 / 0.25 = 16 after one observation."""
    assert float(form.rate([tensor(8.0), tensor(4.0)], tensor(1.0))) == rate


@pytest.mark.parametrize(
    ("form", "step"),
    [(SUPREMUM, 18 / (4 + 1)), (PAPER, 18 / 5**0.5), (CORRECTED, 18 / 17**0.5)],
    ids=str,
)
def test_step_divides_the_average_as_the_form_does(form, step):
    """3 * 6 over the root of S = 4, which is 4 / 0.25 = 16 where it is corrected."""
    arguments = [tensor(value) for value in (3.0, 6.0, 4.0, 1.0)]
    assert float(form.step(*arguments)) == pytest.approx(step, rel=1e-15)
