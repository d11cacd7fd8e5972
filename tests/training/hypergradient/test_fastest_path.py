"""The path of the fastest weight, by hand."""

import keras
import numpy as np
import pytest

from keras_lr.training.hypergradient.fastest_path import FastestPath


@pytest.fixture
def path():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    return FastestPath(model, 0.5, "float32")


def limit(path, largest, discount, rate):
    values = (
        keras.ops.convert_to_tensor(each, "float32")
        for each in (largest, discount, rate)
    )
    return float(path.limit(*values))


def test_limit_is_a_part_of_the_path_with_the_coming_step(path):
    """Steps of 2, 3 and 1 at rates of 0.5, 0.25 and 1: 4, 2 + 12 and 7 + 1.

    The coming step is as long as the last one: 2 + 4, 7 + 12, 4 + 1; of these a half.
    """
    assert limit(path, 0.0, 0.5, 0.5) == np.inf
    assert limit(path, 2.0, 0.5, 0.25) == 0.5 * (2 + 4)
    assert limit(path, 3.0, 0.5, 1.0) == 0.5 * (7 + 12)
    assert limit(path, 1.0, 0.5, 1.0) == 0.5 * (4 + 1)


def test_cleared_path_begins_anew(path):
    limit(path, 0.0, 0.5, 0.5)
    limit(path, 2.0, 0.5, 0.25)
    path.clear()
    assert limit(path, 2.0, 0.5, 0.25) == np.inf
    assert limit(path, 1.0, 0.5, 0.25) == 0.5 * (2 + 4)
