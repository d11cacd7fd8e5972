"""Whether losses are higher than they have been, against a loop over numbers."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_lr.training.walk.loss_level import LossLevel
from tests.references.walk import Average

NAN, INF = math.nan, math.inf


@pytest.fixture
def level():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return LossLevel(model, "float64")


def found(level, losses, counts=True):
    counts = ops.convert_to_tensor(counts)
    return [
        bool(level.is_raised_by(ops.convert_to_tensor(loss, "float64"), counts))
        for loss in losses
    ]


def expected(losses):
    average, lowest, raised = Average(10, 0.03), INF, []
    for loss in losses:
        deviation = loss - average.mean if average.count else 0.0
        mean = average.take(loss, deviation)
        lowest = min(lowest, mean + 2 * average.error)
        raised.append(average.count > 20 and mean - 2 * average.error > lowest)
    return raised


def test_losses_that_rise_are_noticed_as_in_the_loop(level):
    noise = np.random.default_rng(0).normal(size=120)
    losses = [*(2 - 0.01 * np.arange(60)), *(1.4 + 0.02 * np.arange(60))] + 0.1 * noise
    raised = found(level, losses)
    assert raised == expected(losses)
    assert not any(raised[:60])
    assert all(raised[90:])


def test_losses_that_only_fall_are_not_raised(level):
    assert not any(found(level, 1 / np.arange(1.0, 200.0)))


def test_losses_that_are_unknown_or_do_not_count_change_nothing(level):
    losses = [*np.linspace(2, 1, 60), *np.linspace(1, 3, 20)]
    spoilt = found(level, losses[:40])
    before = [float(each) for each in level.variables().values()]
    # A loss of 0 is that of rows without weight.
    assert found(level, [NAN, INF, 1e200, 0.0]) == [False] * 4
    assert found(level, [9.0], counts=False) == [False]
    assert [float(each) for each in level.variables().values()] == before
    assert spoilt + found(level, losses[40:]) == expected(losses)


def test_start_forgets(level):
    found(level, [3.0, 2.0, 1.0])
    level.start()
    assert [float(each) for each in level.variables().values()] == [0.0] * 4
