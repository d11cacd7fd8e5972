"""`StepLog`: what the steps said, in order, exactly, and once."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lr.training.fit.step_log import CAPACITY, StepLog

COLUMNS = ("loss", "rate")
WAYS = {
    "eager": lambda function: function,
    "traced": tf.function,
    "compiled": lambda function: tf.function(function, jit_compile=True),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def log_of(model=None, **kwargs):
    return StepLog(model or keras.Sequential(), COLUMNS, **kwargs)


def append(log, *numbers, way=WAYS["eager"]):
    """Add a row of (n, -n) for each number, in one trace."""

    def step(number):
        log.append({"rate": -number, "loss": number})

    taken = way(step)
    for number in numbers:
        taken(tf.constant(float(number)))


def rows(*numbers):
    return {"loss": [float(n) for n in numbers], "rate": [-float(n) for n in numbers]}


@every_way
def test_rows_are_fetched_in_order_by_their_columns(way):
    log = log_of(capacity=4)
    append(log, 3, 1, 2, way=way)
    assert log.fetch() == rows(3, 1, 2)


@every_way
def test_fetching_empties(way):
    log = log_of(capacity=4)
    append(log, 3, 1, way=way)
    log.fetch()
    assert log.fetch() == rows()
    append(log, 5, way=way)
    assert log.fetch() == rows(5)


def test_log_can_be_full():
    log = log_of(capacity=3)
    append(log, 1, 2, 3)
    assert log.fetch() == rows(1, 2, 3)


@every_way
def test_oldest_rows_are_overwritten_and_the_others_stay_in_order(way):
    log = log_of(capacity=3)
    append(log, 1, 2, 3, 4, 5, way=way)
    assert log.fetch() == rows(3, 4, 5)


def test_rows_after_an_overflow_start_anew():
    log = log_of(capacity=3)
    append(log, *range(5))
    log.fetch()
    append(log, 7, 8)
    assert log.fetch() == rows(7, 8)


@every_way
def test_float64_is_kept_to_the_last_bit(way):
    log, number = log_of(dtype="float64"), tf.constant(0.1, "float64")
    way(lambda: log.append({"loss": number, "rate": number / 3.0}))()
    assert log.fetch() == {"loss": [0.1], "rate": [0.1 / 3.0]}


def test_float32_is_rounded_once():
    log = log_of()
    log.append({"loss": tf.constant(0.1, "float64"), "rate": tf.constant(1)})
    assert log.fetch() == {"loss": [float(np.float32(0.1))], "rate": [1.0]}


def test_numbers_that_are_not_finite_are_kept():
    log = log_of()
    log.append({"loss": tf.constant(np.nan), "rate": tf.constant(np.inf)})
    found = log.fetch()
    assert np.isnan(found["loss"][0])
    assert found["rate"] == [np.inf]


def test_row_may_say_more_than_is_kept():
    log = log_of()
    log.append({"loss": 1.0, "rate": 2.0, "other": 3.0})
    assert log.fetch() == {"loss": [1.0], "rate": [2.0]}


def test_log_holds_an_epoch_of_a_small_problem():
    assert log_of().capacity == CAPACITY == 1024


def test_replicas_that_append_alike_add_one_row(two_replicas):
    with two_replicas.scope():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    log = log_of(model, capacity=4)
    row = {"loss": tf.constant(2.0), "rate": tf.constant(3.0)}
    step = tf.function(lambda: two_replicas.run(lambda: log.append(row)))
    step()
    step()
    assert log.fetch() == {"loss": [2.0, 2.0], "rate": [3.0, 3.0]}
