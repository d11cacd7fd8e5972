"""The moving average of a tangent, by hand."""

import keras
import numpy as np
import pytest

from keras_lr import _keras
from keras_lr.training.hypergradient.tangent_average import TangentAverage


def make_average(layer, inputs=2):
    model = keras.Sequential([keras.Input((inputs,)), layer])
    model.compile(keras.optimizers.SGD(), "mse")
    _keras.build_optimizer(model)
    step = _keras.pure_step_of(model, (), "MARTHE")
    return TangentAverage(model, step, 0.5, "float32")


@pytest.fixture
def average():
    return make_average(keras.layers.Dense(1, use_bias=False))


def follow(average, value, scale=1.0, *, is_lost=False):
    tangent = [keras.ops.full((2, 1), value, "float32")]
    scale = keras.ops.convert_to_tensor(scale, "float32")
    average.follow(tangent, scale, keras.ops.convert_to_tensor(is_lost))
    return average.variables[0].numpy()[0].item()


def test_shares_fall_to_the_least_one(average):
    """10/10, 10/11, 10/12, ...: from step 10 on a half, which is the least here."""
    assert follow(average, 1.0) == 1.0
    assert follow(average, 0.5, scale=24.0) == pytest.approx(1 + 10 / 11 * 11)
    assert follow(average, -1.0) == pytest.approx(11 - 10 / 12 * 12)
    for _ in range(10):
        follow(average, 0.0)
    last = average.variables[0].numpy()[0].item()
    assert follow(average, 0.0) == 0.5 * last != 0.0


def test_average_that_is_not_finite_begins_anew(average):
    follow(average, np.inf)
    assert follow(average, 3.0, is_lost=True) == pytest.approx(3 * 10 / 11)


def test_product_and_square(average):
    """3 x 2 - 3 x 5, and twice 9."""
    follow(average, 3.0)
    product, square = average.products([keras.ops.convert_to_tensor([[2.0], [-5.0]])])
    assert (float(product), float(square)) == (-9.0, 18.0)


def test_product_and_votes():
    """3 x 2 - 3 x 5, and 3 x 2 + 3 x 5; a weight without a gradient has no vote."""
    average = make_average(keras.layers.Dense(1))
    tangent = [keras.ops.full((2, 1), 3.0), keras.ops.full((1,), 7.0)]
    average.follow(tangent, keras.ops.ones(()), keras.ops.convert_to_tensor(False))
    gradient = keras.ops.convert_to_tensor([[2.0], [-5.0]])
    product, votes = average.votes([gradient, None])
    assert (float(product), float(votes)) == (-9.0, 21.0)


def test_share_of_votes_does_not_depend_on_the_scale_of_a_weight():
    """Products of 1, -2 and 3: 2 of 6. The cosine is 2 / sqrt(3 x 14) at first."""
    tangent, gradient = np.ones((2, 3, 1))
    gradient[:, 0] = [1.0, -2.0, 3.0]
    cosines = []
    for factor in (1.0, 2.0**20):
        scale = np.array([[1.0], [factor], [1.0]])
        average = make_average(keras.layers.Dense(1, use_bias=False), 3)
        z, g = (
            keras.ops.convert_to_tensor(each, "float32")
            for each in (scale * tangent, gradient / scale)
        )
        average.follow([z], keras.ops.ones(()), keras.ops.convert_to_tensor(False))
        product, votes = map(float, average.votes([g]))
        assert product / votes == pytest.approx(2 / 6, rel=1e-6)
        _, square = map(float, average.products([g]))
        cosines.append(product / np.sqrt(square * float(keras.ops.sum(g * g))))
    assert cosines[0] == pytest.approx(2 / np.sqrt(3 * 14), rel=1e-6)
    assert 0.0 < cosines[1] < 1e-5 * cosines[0]
