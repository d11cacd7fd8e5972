"""Whether losses come down, beside averages by hand."""

import math

import keras
import numpy as np
import pytest

from keras_lr.training.progress import Progress


@pytest.fixture
def progress():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    return Progress(model, "float64")


def seen(progress, losses):
    return [bool(progress.followed_by(keras.ops.convert_to_tensor(x))) for x in losses]


def mean(losses):
    weights = 0.9 ** np.arange(len(losses) - 1, -1, -1.0)
    return weights @ losses / weights.sum()


@pytest.mark.parametrize("first", [2.0, -2.0])
def test_losses_came_down_once_their_average_is_a_fifth_lower(progress, first):
    losses = first - 0.04 * np.arange(40.0)
    early = mean(losses[:10])
    expected = [mean(losses[:n]) < early - 0.2 * abs(early) for n in range(1, 41)]
    assert seen(progress, losses) == expected
    assert not any(expected[:12])
    assert expected[-1]


def test_losses_that_are_not_finite_do_not_count(progress):
    losses = [1.0, math.nan, math.inf] * 10
    assert not any(seen(progress, losses))
    assert seen(progress, [0.0] * 3) == [
        mean([1.0] * 10 + [0.0] * n) < 0.8 for n in (1, 2, 3)
    ]


def test_forgotten_losses_do_not_count(progress):
    seen(progress, [1.0] * 10)
    progress.clear()
    assert not any(seen(progress, [0.5] * 20))
