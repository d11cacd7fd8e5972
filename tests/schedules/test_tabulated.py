"""`TabulatedSchedule`: Keras trains by the table, wherever Keras puts a schedule."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_lr
from tests.small_problem import BATCH, STEPS, compiled, data, sequential

VALUES = [0.5, 0.25, 0.0, 0.125]


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_each_value_holds_for_its_steps_and_the_last_one_for_ever():
    schedule = keras_lr.TabulatedSchedule(VALUES, steps_per_value=2)
    assert rates(schedule, range(8)) == [0.5, 0.5, 0.25, 0.25, 0.0, 0.0, 0.125, 0.125]
    assert rates(schedule, [8, 9, 10**9]) == [0.125] * 3


def test_single_value_is_a_constant_rate():
    assert rates(keras_lr.TabulatedSchedule([0.5]), [0, 1, 99]) == [0.5] * 3


@pytest.mark.parametrize("jit_compile", [False, True])
def test_rates_are_those_of_the_table_in_a_traced_step(jit_compile):
    schedule = keras_lr.TabulatedSchedule(VALUES)
    traced = tf.function(schedule, jit_compile=jit_compile)
    steps = [tf.constant(step, "int64") for step in range(6)]
    assert [float(traced(step)) for step in steps] == [*VALUES, 0.125, 0.125]


@pytest.mark.parametrize("floatx", ["float32", "float64"])
def test_rate_has_the_type_of_a_float_learning_rate(floatx):
    keras.config.set_floatx(floatx)
    try:
        rate = keras_lr.TabulatedSchedule([0.1])(0)
        of_optimizer = keras.optimizers.SGD(0.1).learning_rate
    finally:
        keras.config.set_floatx("float32")
    assert keras.backend.standardize_dtype(rate.dtype) == of_optimizer.dtype
    assert float(rate) == float(of_optimizer.value) == float(np.array(0.1, floatx))


def weights_after(rates, jit_compile=False):
    """Train step by step, by a rate that is set, or by a schedule."""
    is_schedule = isinstance(rates, keras_lr.TabulatedSchedule)
    optimizer = keras.optimizers.Adam(rates if is_schedule else 0.1)
    model = compiled(optimizer=optimizer, jit_compile=jit_compile)
    x, y = data()
    for step in range(STEPS):
        if not is_schedule:
            optimizer.learning_rate = rates[min(step, len(rates) - 1)]
        part = slice(BATCH * step, BATCH * (step + 1))
        model.train_on_batch(x[part], y[part])
    return model.get_weights()


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_training_by_it_is_the_one_whose_rate_is_set_before_each_step(jit_compile):
    actual = weights_after(keras_lr.TabulatedSchedule(VALUES), jit_compile)
    for own, expected in zip(actual, weights_after(VALUES, jit_compile), strict=True):
        # XLA rounds a product with a constant as it likes.
        np.testing.assert_allclose(own, expected, rtol=1e-6, atol=1e-7)


def test_config_is_json_and_makes_the_same_schedule():
    schedule = keras_lr.TabulatedSchedule(np.array(VALUES), 3, name="mine")
    config = json.loads(json.dumps(schedule.get_config()))
    copy = keras_lr.TabulatedSchedule.from_config(config)
    assert copy.get_config() == schedule.get_config()
    assert (copy.values, copy.steps_per_value, copy.name) == (tuple(VALUES), 3, "mine")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_saved_model_goes_on_where_it_was_in_the_table(tmp_path):
    values = np.linspace(0.5, 0.1, 2 * STEPS)
    optimizer = keras.optimizers.SGD(keras_lr.TabulatedSchedule(values), momentum=0.5)
    model = compiled(sequential, optimizer)
    x, y = data()
    once = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    model.fit(x, y, **once)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    rate = float(ops.convert_to_numpy(loaded.optimizer.learning_rate))
    assert rate == pytest.approx(values[STEPS])
    for each in (model, loaded):
        each.fit(x, y, **once)
    for own, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("steps_per_value", [1, 3])
def test_csv_gives_back_the_same_bits(tmp_path, rng, steps_per_value):
    schedule = keras_lr.TabulatedSchedule(rng.uniform(size=9) / 3, steps_per_value)
    schedule.to_csv(tmp_path / "rates.csv")
    copy = keras_lr.TabulatedSchedule.from_csv(tmp_path / "rates.csv")
    assert copy.get_config() == schedule.get_config()


def test_csv_has_the_first_step_of_each_value(tmp_path):
    path = tmp_path / "rates.csv"
    keras_lr.TabulatedSchedule([0.5, 0.1], 10).to_csv(path)
    assert path.read_text() == "step,learning_rate\n0,0.5\n10,0.1\n"


def test_csv_may_have_other_columns(tmp_path):
    path = tmp_path / "rates.csv"
    path.write_text("loss,learning_rate,step\n9,0.5,0\n8,0.25,1\n")
    assert keras_lr.TabulatedSchedule.from_csv(path).values == (0.5, 0.25)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "`values` must not be empty"),
        ("step,rate\n0,0.5\n", "KeyError"),
        ("step,learning_rate\n0,high\n", "ValueError"),
        ("step,learning_rate\n0,0.5\n1\n", "TypeError"),
        ("step,learning_rate\n0,0.5\n1,0.4\n3,0.3\n", r"steps \[0, 1, 3\]"),
        ("step,learning_rate\n1,0.5\n2,0.4\n", r"steps \[1, 2\]"),
        ("step,learning_rate\n0,0.5\n0,0.4\n", r"steps \[0, 0\]"),
    ],
)
def test_file_that_is_no_such_table_is_refused(tmp_path, text, reason):
    path = tmp_path / "rates.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        keras_lr.TabulatedSchedule.from_csv(path)


@pytest.mark.parametrize(
    ("values", "steps_per_value", "message"),
    [
        ([], 1, "`values` must not be empty"),
        ([0.5, np.nan], 1, "`values` must be finite"),
        ([0.5, -0.1], 1, r"not negative\. Received: .* the lowest -0\.1"),
        ([[0.5]], 1, r"Received: values of shape \(1, 1\)"),
        ([0.5], 0, "`steps_per_value` must be a positive integer"),
    ],
)
def test_what_is_no_table_is_refused(values, steps_per_value, message):
    with pytest.raises(ValueError, match=message):
        keras_lr.TabulatedSchedule(values, steps_per_value)
