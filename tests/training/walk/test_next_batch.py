"""Whether the next batches agree with the steps, by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_lr import _keras
from keras_lr.training.walk.next_batch import NextBatch
from tests.references.walk import Average


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(), "mse")
    return model


@pytest.fixture
def next_batch(model):
    step = _keras.pure_step_of(model, (), "LearningRateWalk")
    found = NextBatch(model, step, "float32")
    found.start()
    return found


def column(*values):
    return ops.convert_to_tensor(np.reshape(values, (2, 1)), "float32")


TRUE, FALSE = ops.convert_to_tensor(True), ops.convert_to_tensor(False)


def test_slopes_are_per_rate_and_averaged(model, next_batch):
    """Steps of -rate times (3, 4), and gradients with slopes of -3, -7, 4 and -3."""
    weight = model.trainable_variables[0]
    average, rate = Average(10, 0.03), 0.5
    assert not bool(next_batch.agrees([column(1.0, 1.0)], TRUE))
    for gradient in ((1.0, 0.0), (1.0, 1.0), (0.0, -1.0), (1.0, 0.0)):
        next_batch.remember(rate)
        weight.assign_sub(rate * column(3.0, 4.0))
        agrees = bool(next_batch.agrees([column(*gradient)], TRUE))
        slope = -float(np.dot(gradient, (3.0, 4.0)))
        mean = average.take(slope)
        assert agrees is (mean < -1.5 * average.error)
        held = [float(next_batch.variables()[f"agreement_{i}"]) for i in (0, 1)]
        assert held == pytest.approx([average.mean, average.square], rel=1e-5)
        rate *= 2


def test_steady_descent_is_agreed_from_the_third_slope_on(model, next_batch):
    weight, agreed = model.trainable_variables[0], []
    for _ in range(20):
        agreed.append(bool(next_batch.agrees([column(1.0, 0.0)], TRUE)))
        next_batch.remember(0.1)
        weight.assign_sub(0.1 * column(1.0, 0.0))
    # 1.5 times (10 / (10 + n) / 2)^(1/2) is below 1 from n = 2 on, the third slope.
    assert agreed == [False] * 3 + [True] * 17


def test_step_that_does_not_count_or_has_no_rate_changes_nothing(model, next_batch):
    weight = model.trainable_variables[0]
    next_batch.remember(0.5)
    weight.assign_sub(column(1.0, 0.0))
    next_batch.agrees([column(1.0, 0.0)], FALSE)
    next_batch.remember(0.0)
    next_batch.agrees([column(1.0, 0.0)], TRUE)
    assert float(next_batch.variables()["agreement_2"]) == 0.0
