"""Arrays and numbers from users come out in float64, or raise and name themselves."""

import numpy as np
import pytest

from keras_lr import _checks


def test_matrix_comes_out_in_float64():
    matrix = _checks.finite_matrix("x", np.ones((2, 3), "float32"))
    assert matrix.dtype == np.float64
    assert matrix.shape == (2, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], r"`x` must be a matrix.* Received: x\.shape=\(1,\)"),
        ([[1.0, np.nan]], "`x` must be finite.* with 1 entries"),
        ([["a"]], "`x` must be an array of numbers"),
        ([[1.0], [2.0, 3.0]], "`x` must be an array of numbers"),
        ([[]], r"`x` must not be empty.* Received: x\.shape=\(1, 0\)"),
    ],
)
def test_what_is_no_finite_matrix_raises(values, message):
    with pytest.raises(ValueError, match=message):
        _checks.finite_matrix("x", values)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 2)])
def test_targets_come_out_as_a_matrix(shape):
    targets = _checks.target_matrix("y", np.ones(shape), rows=3)
    assert targets.shape == (3, shape[1] if len(shape) == 2 else 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(2), r"same number of rows.* 3 rows in `x` and y\.shape=\(2,\)"),
        (np.ones((3, 1, 1)), r"`y` must be `\(examples,\)`.*y\.shape=\(3, 1, 1\)"),
        (1.0, r"Received: y\.shape=\(\)"),
    ],
)
def test_targets_of_another_shape_raise(values, message):
    with pytest.raises(ValueError, match=message):
        _checks.target_matrix("y", values, rows=3)


def test_positive_number_comes_out_as_a_float():
    value = _checks.positive_number("K", np.int64(3))
    assert isinstance(value, float)
    assert value == 3.0


def test_whole_number_comes_out_as_an_int():
    value = _checks.positive_integer("n", np.float64(3.0))
    assert isinstance(value, int)
    assert value == 3


@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_number_that_is_not_whole_and_positive_raises(value):
    with pytest.raises(ValueError, match="`n` must be a positive integer"):
        _checks.positive_integer("n", value)


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
def test_number_that_is_not_finite_and_positive_raises(value):
    with pytest.raises(ValueError, match="`K` must be finite and positive"):
        _checks.positive_number("K", value)


def test_choice_that_there_is_not_raises_and_names_the_choices():
    _checks.one_of("bound", "a", ("a", "b"))
    with pytest.raises(ValueError, match=r"one of 'a', 'b'\. Received: bound='c'"):
        _checks.one_of("bound", "c", ("a", "b"))


@pytest.mark.parametrize("value", [0, 0.9, np.float32(0.5)])
def test_decay_rate_comes_out_as_a_float(value):
    decay = _checks.decay_rate("rho", value)
    assert isinstance(decay, float)
    assert decay == float(value)


@pytest.mark.parametrize("value", [-0.1, 1.0, np.inf, np.nan])
def test_number_that_is_no_decay_rate_raises(value):
    with pytest.raises(ValueError, match=f"`rho` must be from 0 .*rho={value}"):
        _checks.decay_rate("rho", value)
