"""The slopes of a hyperparameter that walks, and the size of its moves."""

import math

import keras
import pytest
from keras import ops

from keras_lr.training.fit.hyperparameter import Hyperparameter
from keras_lr.training.walk.walked_hyperparameter import WalkedHyperparameter, WalkRule
from tests.references.walk import Average

TRUE, FALSE = ops.convert_to_tensor(True), ops.convert_to_tensor(False)


def tensor(value):
    return ops.convert_to_tensor(value, "float64")


@pytest.fixture
def walked():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    rate = Hyperparameter(model, "learning_rate", "float64")
    rate.start(0.5)
    found = WalkedHyperparameter(model, rate, WalkRule(1.1, 1.3, share=0.5))
    found.start()
    return found


def test_direction_is_that_of_the_averages(walked):
    before, after = Average(3, 0.3), Average(3, 0.3)
    found, expected, alone = [], [], []
    # A large slope that should fall counts in the trials after it.
    for start, slope in [(-1, -0.9), (-10, 2.0), (-1, -0.9), (-1, -0.9), (-1, -0.6)]:
        direction, _ = walked.by_slope(tensor(start), tensor(slope), TRUE)
        found.append(float(direction))
        mean, goal = after.take(slope), 0.5 * before.take(start)
        expected.append(1.0 if mean < goal else -1.0)
        alone.append(1.0 if slope < 0.5 * start else -1.0)
    assert found == expected
    assert found != alone


@pytest.mark.parametrize(
    ("start", "slope", "is_due"), [(-1.0, math.nan, TRUE), (-1.0, 5.0, FALSE)]
)
def test_trial_that_is_unknown_or_not_due_is_not_in_the_averages(
    walked, start, slope, is_due
):
    walked.by_slope(tensor(-1.0), tensor(-0.9), TRUE)
    before = [float(each) for each in walked.variables().values()]
    walked.by_slope(tensor(start), tensor(slope), is_due)
    assert [float(each) for each in walked.variables().values()] == before


def test_rise_that_may_not_hurry_is_small_and_a_fall_is_not(walked):
    value, factors = 0.5, []
    for direction, may_hurry in [
        (1, TRUE),
        (1, TRUE),
        (1, FALSE),
        (1, TRUE),
        (-1, FALSE),
    ]:
        walked.update(tensor(float(direction)), TRUE, TRUE, may_hurry)
        new = float(walked.variables()["learning_rate_0"])
        factors.append(new / value)
        value = new
    # 1.1, then its square, 1.21; small and anew; the last ones do not agree.
    expected = [1.1, 1.21, 1.1, 1.1, 1 / 1.1]
    assert factors == pytest.approx(expected, rel=1e-12)
