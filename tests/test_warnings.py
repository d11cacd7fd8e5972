"""Warnings name the line of the user's that called `fit`."""

import functools
import inspect
import warnings

import keras
import pytest

import keras_lr
from keras_lr import _warnings
from tests import small_problem
from tests.small_problem import BATCH, compiled


def fit(model, *callbacks):
    x, y = small_problem.data()
    model.fit(
        x[:BATCH], y[:BATCH], batch_size=BATCH, verbose=0, callbacks=list(callbacks)
    )


def line_of(text, function):
    """Return the file, and the number of the line of a function that has a text."""
    lines, first = inspect.getsourcelines(function)
    (number,) = (index for index, line in enumerate(lines) if text in line)
    return __file__, first + number


FIT = line_of("model.fit(", fit)


def place(warning):
    return warning.filename, warning.lineno


def warns_in_its_step(data):
    _warnings.warn("in a step of the user's")
    raise ArithmeticError


def test_warning_at_the_start_of_a_fit_names_the_line_that_called_it():
    model = compiled(optimizer=keras.optimizers.Adam(), run_eagerly=True)
    with pytest.warns(UserWarning, match="gives a learning rate for") as caught:
        fit(model, keras_lr.LipschitzLR())
    assert [place(each) for each in caught] == [FIT]


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_warning_in_a_step_of_the_users_names_the_line_that_called_fit(run_eagerly):
    model = compiled(run_eagerly=run_eagerly)
    model.train_step = warns_in_its_step
    with (
        pytest.warns(UserWarning, match="of the user's") as caught,
        pytest.raises(ArithmeticError),
    ):
        fit(model)
    assert [place(each) for each in caught] == [FIT]


class FourRows(keras.Layer):
    """Takes no part of a batch."""

    def call(self, inputs):
        return keras.ops.reshape(inputs, (BATCH, small_problem.FEATURES))


@pytest.mark.slow
def test_warning_in_a_traced_step_names_the_line_that_called_fit():
    model = keras.Sequential([FourRows(), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    with pytest.warns(UserWarning, match="curvature is that of the whole") as caught:
        fit(model, keras_lr.MARTHE(curvature_batch_size=2))
    assert [place(each) for each in caught] == [FIT]


def test_warning_in_a_replica_names_the_line_that_runs_it(two_replicas):
    warn = functools.partial(_warnings.warn, "in a thread of TensorFlow's")
    with pytest.warns(UserWarning, match="in a thread") as caught:
        two_replicas.run(warn)
    assert [each.filename for each in caught] == [__file__] * 2


def asks():
    _warnings.warn("without a fit")


def test_warning_outside_of_a_fit_names_the_innermost_line():
    with pytest.warns(UserWarning, match="without a fit") as caught:
        asks()
    assert [place(each) for each in caught] == [line_of("warn(", asks)]


def test_filters_by_module_and_the_registry_of_the_file_count():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        asks()
        asks()  # Once for each line.
        warnings.filterwarnings("ignore", module=__name__)
        _warnings.warn("filtered")
        warnings.filterwarnings("error", module=__name__)
        with pytest.raises(UserWarning, match="without a fit"):
            asks()
    assert [str(each.message) for each in caught] == ["without a fit"]
