"""`Hyperparameter`: a value between its limits, and the optimizer's attribute."""

import keras
import numpy as np
import pytest

from keras_lr._keras import to_float
from keras_lr.training.fit.hyperparameter import Hyperparameter
from tests.small_problem import compiled


def hyperparameter(name, **kwargs):
    return Hyperparameter(compiled(), name, "float32", **kwargs)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.1, True), (0.3, True), (np.float32(0.3), True), (0.31, False), (0.09, False)]
    + [(each, False) for each in (np.nan, np.inf, -0.1)],
)
def test_value_that_was_stored_is_accepted_within_the_limits(value, expected):
    tuned = hyperparameter("learning_rate", limits=(0.1, 0.3))
    assert tuned.accepts(float(value)) is expected


@pytest.mark.parametrize(
    ("name", "is_average"),
    [("learning_rate", False), ("weight_decay", False)]
    + [(name, True) for name in ("momentum", "rho", "beta_1", "adam_beta_2")],
)
def test_decay_of_an_average_is_never_one(name, is_average):
    tuned = hyperparameter(name)
    assert tuned.is_average is is_average
    assert tuned.is_learning_rate is (name == "learning_rate")
    tuned.start(1.0)
    expected = 0.9999 if is_average else 1.0
    assert to_float(tuned.value) == pytest.approx(expected, rel=1e-7)
    assert to_float(tuned.clipped(keras.ops.convert_to_tensor(1.0))) == pytest.approx(
        expected, rel=1e-7
    )


@pytest.mark.parametrize(("value", "expected"), [(0.1, 0.25), (0.3, 0.3), (2.0, 0.5)])
def test_value_stays_within_the_limits(value, expected):
    tuned = hyperparameter("weight_decay", limits=(0.25, 0.5))
    tuned.start(value)
    assert to_float(tuned.value) == pytest.approx(expected, rel=1e-7)
    assert to_float(tuned.clipped(keras.ops.convert_to_tensor(value))) == pytest.approx(
        expected, rel=1e-7
    )


def test_attribute_of_the_optimizer_is_read_and_written():
    sgd, tuned = keras.optimizers.SGD(momentum=0.75), hyperparameter("momentum")
    tuned.read_from(sgd)
    assert to_float(tuned.value) == 0.75
    tuned.value.assign(0.5)
    tuned.write_to(sgd)
    assert sgd.momentum == 0.5
