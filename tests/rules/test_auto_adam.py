"""The rates and directions of Auto-Adam, worked by hand."""

from keras import ops

from keras_lr.rules import auto_adam


def tensor(values):
    return ops.convert_to_tensor(values, dtype="float64")


def test_rate_of_the_paper_is_that_of_line_10():
    """(sqrt(K_2) + eps) / K_1 = (sqrt(16) + 0.5) / 3."""
    assert float(auto_adam.paper_learning_rate(tensor(16.0), tensor(3.0), 0.5)) == 1.5


def test_step_of_the_paper_is_that_of_line_10():
    """rate * V / sqrt(S + eps) = 3 * 6 / sqrt(8 + 1), and corrected, section 6.4."""
    weights = tensor(1.0), tensor(1.0)
    step = auto_adam.paper_step(tensor(3.0), tensor(6.0), tensor(8.0), weights, 1.0)
    assert float(step) == 6.0
    weights = tensor(0.5), tensor(0.25)
    step = auto_adam.paper_step(tensor(3.0), tensor(3.0), tensor(2.0), weights, 1.0)
    assert float(step) == 6.0


def test_rate_is_the_root_of_the_mean_square_by_the_largest_norm():
    assert float(auto_adam.learning_rate(tensor(16.0), tensor(8.0))) == 0.5


def test_step_is_that_of_adam():
    """rate * V / 0.5 / (sqrt(S / 0.25) + eps) = 3 * 6 / (sqrt(4) + 1)."""
    weights = tensor(0.5), tensor(0.25)
    step = auto_adam.step(tensor(3.0), tensor(3.0), tensor(1.0), weights, 1.0)
    assert float(step) == 6.0
