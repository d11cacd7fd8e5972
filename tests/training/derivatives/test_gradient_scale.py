"""The mean square of a gradient, by hand."""

import keras
import numpy as np
import pytest

from keras_lr.training.derivatives.gradient_scale import GradientScale


@pytest.fixture
def scale():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    return GradientScale(model, 0.5, "float32")


def follow(scale, square, *, counts=True):
    square = keras.ops.convert_to_tensor(square, "float32")
    return float(scale.followed_by(square, keras.ops.convert_to_tensor(counts)))


def test_shares_fall_to_the_least_one(scale):
    """10/10, 10/11, 10/12, ...: from step 10 on a half, which is the least here."""
    assert follow(scale, 8.0) == 8.0
    assert follow(scale, 19.0) == pytest.approx(8 + 10 / 11 * 11)
    assert follow(scale, 6.0) == pytest.approx(18 - 10 / 12 * 12)
    for _ in range(10):
        mean = follow(scale, 0.0)
    assert follow(scale, 0.0) == 0.5 * mean != 0.0


@pytest.mark.parametrize("square", [np.inf, np.nan])
def test_square_that_overflows_is_left_out(scale, square):
    follow(scale, 8.0)
    assert follow(scale, square) == 8.0
    assert follow(scale, 19.0) == pytest.approx(8 + 10 / 11 * 11)


def test_square_that_is_not_due_is_left_out(scale):
    follow(scale, 8.0)
    assert follow(scale, 19.0, counts=False) == 8.0
    assert follow(scale, 19.0) == pytest.approx(8 + 10 / 11 * 11)


def test_cleared_average_begins_anew(scale):
    follow(scale, 8.0)
    scale.clear()
    assert follow(scale, 2.0) == 2.0
