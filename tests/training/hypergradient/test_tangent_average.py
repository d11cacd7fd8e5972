"""The moving average of a tangent, by hand."""

import keras
import numpy as np
import pytest

from keras_lr import _keras
from keras_lr.training.hypergradient.tangent_average import TangentAverage


@pytest.fixture
def average():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(), "mse")
    _keras.build_optimizer(model)
    step = _keras.pure_step_of(model, (), "MARTHE")
    return TangentAverage(model, step, 0.5, "float32")


def follow(average, value, scale=1.0, *, is_lost=False):
    tangent = [keras.ops.full((1, 1), value, "float32")]
    scale = keras.ops.convert_to_tensor(scale, "float32")
    average.follow(tangent, scale, keras.ops.convert_to_tensor(is_lost))
    return average.variables[0].numpy().item()


def test_shares_fall_to_the_least_one(average):
    """10/10, 10/11, 10/12, ...: from step 10 on a half, which is the least here."""
    assert follow(average, 1.0) == 1.0
    assert follow(average, 0.5, scale=24.0) == pytest.approx(1 + 10 / 11 * 11)
    assert follow(average, -1.0) == pytest.approx(11 - 10 / 12 * 12)
    for _ in range(10):
        follow(average, 0.0)
    last = average.variables[0].numpy().item()
    assert follow(average, 0.0) == 0.5 * last != 0.0


def test_average_that_is_not_finite_begins_anew(average):
    follow(average, np.inf)
    assert follow(average, 3.0, is_lost=True) == pytest.approx(3 * 10 / 11)


def test_product_and_square(average):
    follow(average, 3.0)
    product, square = average.products([keras.ops.full((1, 1), 2.0)])
    assert (float(product), float(square)) == (6.0, 9.0)
