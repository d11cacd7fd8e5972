"""The rates and directions of adaptive RMSprop, worked by hand."""

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
