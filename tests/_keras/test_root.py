"""`root`: TensorFlow's square root, except for its derivative at 0."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lr._keras import root
from keras_lr._keras.root import differentiable_at_zero

PLAIN = tf.math.sqrt
NUMBERS = [0.0, -0.0, 1e-40, 0.25, 2.0, 1e30, np.inf, np.nan, -1.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_values_are_those_of_tensorflow(dtype):
    x = tf.constant(NUMBERS, dtype)
    with differentiable_at_zero():
        actual = keras.ops.sqrt(x)
    assert actual.dtype == dtype
    actual, expected = (tf.cast(each, "float64") for each in (actual, PLAIN(x)))
    np.testing.assert_array_equal(actual, expected)
    assert tf.math.sqrt is PLAIN


@pytest.mark.parametrize("name", ["keras.ops.sqrt", "tf.sqrt"])
def test_derivatives_are_those_of_tensorflow_except_at_zero(name):
    x = tf.constant([0.0, 0.25, 4.0], "float64")
    accumulator = tf.autodiff.ForwardAccumulator(x, tf.ones_like(x))
    with accumulator, differentiable_at_zero():
        y = keras.ops.sqrt(x) if name == "keras.ops.sqrt" else tf.sqrt(x)
    np.testing.assert_array_equal(accumulator.jvp(y), [0.0, 1.0, 0.25])


ROOTS = {
    "sqrt": (keras.ops.sqrt, 0.5),
    "tensorflow": (tf.sqrt, 0.5),
    "power": (lambda x: x**0.5, 0.5),
    "cube_root": (lambda x: keras.ops.power(x, 1 / 3), 1 / 3),
}
every_root = pytest.mark.parametrize("name", ROOTS)


def derivatives(function, x, vector):
    """The gradient of the sum of roots, and the derivative of <gradient, vector>."""
    with root.twice_differentiable(), tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            total = tf.reduce_sum(function(x))
        gradient = inner.gradient(total, x)
    with root.twice_differentiable(), root.second_pass_back():
        product = outer.gradient(gradient, x, output_gradients=vector)
    return gradient, product


@every_root
def test_second_derivative_of_a_root_is_zero_at_zero(name):
    function, p = ROOTS[name]
    x = tf.constant([0.0, 4.0, 9.0], "float64")
    _, product = derivatives(function, x, tf.ones_like(x))
    expected = [0.0, *(p * (p - 1) * x[1:] ** (p - 2))]
    np.testing.assert_allclose(product, expected, rtol=1e-14)


@every_root
def test_first_derivatives_of_a_root_are_those_of_tensorflow(name):
    function, _ = ROOTS[name]
    x = tf.constant([0.0, 0.7, 9.0], "float64")
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    plain = tape.gradient(y, x)
    gradient, _ = derivatives(function, x, tf.ones_like(x))
    np.testing.assert_array_equal(gradient, plain)
    assert gradient[0] == np.inf


@every_root
def test_root_of_a_gradient_of_zero_has_a_second_derivative(name):
    """As in the norms by which gradients are clipped: d/dx of root(2 x) at 0, and 2."""
    function, p = ROOTS[name]
    x = tf.constant([0.0, 2.0], "float64")
    with root.twice_differentiable(), tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            total = tf.reduce_sum(tf.square(x))
        roots = function(inner.gradient(total, x))
    with root.twice_differentiable(), root.second_pass_back():
        actual = outer.gradient(roots, x)
    np.testing.assert_allclose(actual, [0.0, 2 * p * 4.0 ** (p - 1)], rtol=1e-14)


def test_second_derivative_of_a_power_below_two_is_zero_at_zero():
    x = tf.constant([0.0, 4.0], "float64")
    gradient, product = derivatives(lambda x: x**1.5, x, tf.ones_like(x))
    np.testing.assert_allclose(gradient, [0.0, 1.5 * 2.0], rtol=1e-14)
    np.testing.assert_allclose(product, [0.0, 0.75 / 2.0], rtol=1e-14)


@pytest.mark.parametrize("exponent", [2.0, 3.0])
def test_second_derivatives_of_whole_powers_are_those_of_tensorflow(exponent):
    x = tf.constant([0.0, 2.0], "float64")
    _, product = derivatives(lambda x: tf.pow(x, exponent), x, tf.ones_like(x))
    np.testing.assert_allclose(
        product, exponent * (exponent - 1) * x.numpy() ** (exponent - 2)
    )


def test_second_derivative_that_is_not_a_number_elsewhere_stays():
    x = tf.constant([-1.0, 4.0], "float64")
    _, product = derivatives(keras.ops.sqrt, x, tf.ones_like(x))
    np.testing.assert_array_equal(product, [np.nan, -0.25 * 4.0**-1.5])


def test_complex_roots_have_second_derivatives():
    def real_root(x):
        z = tf.complex(x, x)
        return tf.math.real(tf.sqrt(z))

    x = tf.constant([0.0, 4.0], "float64")
    _, product = derivatives(real_root, x, tf.ones_like(x))
    # Of sqrt(x), times the real part of the root of 1 + i.
    expected = -0.25 * 4.0**-1.5 * np.sqrt(1 + 1j).real
    np.testing.assert_allclose(product, [0.0, expected], rtol=1e-14)
