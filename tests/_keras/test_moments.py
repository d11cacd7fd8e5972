"""`moments`: second derivatives that are right, and all else as TensorFlow has it."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lr._keras.moments import twice_differentiable
from tests.second_derivatives import gradient, hessian_product

PLAIN = tf.nn.moments
# Differences of fourth order: h^4 of the fifth derivative, and 1e-16 / h of rounding.
H, DIFFERENCES = 1e-3, 1e-9
CASES = [
    {"axes": [0]},
    {"axes": [0], "keepdims": True},
    {"axes": [0, 1]},
    {"axes": (-1,), "keepdims": True},
]
every_case = pytest.mark.parametrize("kwargs", CASES, ids=str)


@pytest.fixture(autouse=True)
def nothing_stays_behind():
    yield
    assert tf.nn.moments is PLAIN


def numbers(rng, shape=(5, 3), dtype="float64"):
    return tf.constant(rng.normal(size=shape) + 0.5, dtype)


def loss(x, kwargs):
    """Depend on mean and variance in a way that has every second derivative."""
    mean, variance = tf.nn.moments(x, **kwargs)
    return tf.reduce_sum(tf.sin(mean) + tf.exp(variance) * tf.cos(3.0 * mean))


def difference(function, x, vector):
    """The derivative of the gradient along a vector, by differences."""
    a, b, c, d = (gradient(function, x + n * H * vector) for n in (1, -1, 2, -2))
    return (8 * (a - b) - (c - d)) / (12 * H)


@every_case
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values_and_first_derivatives_are_those_of_tensorflow(kwargs, dtype, rng):
    x = numbers(rng, dtype=dtype)
    expected = *tf.nn.moments(x, **kwargs), gradient(lambda x: loss(x, kwargs), x)
    with twice_differentiable():
        actual = *tf.nn.moments(x, **kwargs), gradient(lambda x: loss(x, kwargs), x)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@every_case
def test_second_derivatives_are_right(kwargs, rng):
    x, vector = numbers(rng), numbers(rng)
    with twice_differentiable():
        actual = hessian_product(lambda x: loss(x, kwargs), x, vector)
    expected = difference(lambda x: loss(x, kwargs), x, vector)
    np.testing.assert_allclose(actual, expected, rtol=DIFFERENCES, atol=DIFFERENCES)


@every_case
def test_second_derivatives_of_tensorflow_are_wrong(kwargs, rng):
    """If this fails TensorFlow has been mended, and the module can go."""
    x, vector = numbers(rng), numbers(rng)
    actual = hessian_product(lambda x: loss(x, kwargs), x, vector)
    expected = difference(lambda x: loss(x, kwargs), x, vector)
    assert np.linalg.norm(actual - expected) > 0.01 * np.linalg.norm(expected)


def test_second_derivatives_of_the_variance_are_those_by_hand(rng):
    """Of sum((x - mean)^2) / n they are 2 / n on the diagonal, less 2 / n^2."""
    x, axes = numbers(rng, (4,)), tf.eye(4, dtype="float64")
    with twice_differentiable():
        rows = [
            hessian_product(lambda x: tf.nn.moments(x, [0])[1], x, axis)
            for axis in axes
        ]
    expected = 2 / 4 * np.eye(4) - 2 / 16
    np.testing.assert_allclose(rows, expected, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize(
    "make",
    [
        keras.layers.LayerNormalization,
        lambda: keras.layers.GroupNormalization(2),
        keras.layers.BatchNormalization,
    ],
)
@pytest.mark.parametrize("is_traced", [False, True])
def test_layers_of_keras_have_right_second_derivatives(make, is_traced, rng):
    keras.config.set_dtype_policy("float64")
    layer = make()
    x, vector = numbers(rng, (5, 8)), numbers(rng, (5, 8))
    layer.build(x.shape)

    def of_layer(x):
        return tf.reduce_sum(tf.exp(layer(x, training=True)))

    def product():
        with twice_differentiable():
            return hessian_product(of_layer, x, vector)

    actual = (tf.function(product) if is_traced else product)()
    expected = difference(of_layer, x, vector)
    # Where a row's variance is small its higher derivatives are large.
    np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-7)


def test_nested_uses_end_with_the_last():
    with twice_differentiable():
        patched = tf.nn.moments
        with twice_differentiable():
            assert tf.nn.moments is patched
        assert tf.nn.moments is patched
        assert patched is not PLAIN


def test_nested_uses_correct_once(rng):
    x, vector = numbers(rng), numbers(rng)
    with twice_differentiable(), twice_differentiable():
        actual = hessian_product(lambda x: loss(x, CASES[0]), x, vector)
    expected = difference(lambda x: loss(x, CASES[0]), x, vector)
    np.testing.assert_allclose(actual, expected, rtol=DIFFERENCES, atol=DIFFERENCES)


def test_exception_ends_a_use():
    with pytest.raises(ArithmeticError), twice_differentiable():
        raise ArithmeticError
    assert tf.nn.moments is PLAIN


def in_another_thread(function):
    """Call a function, and give back what it raised."""
    raised = []

    def run():
        try:
            function()
        except ArithmeticError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


@pytest.mark.parametrize("does_raise", [False, True])
def test_overlapping_uses_of_two_threads_end_on_their_own(does_raise):
    has_begun, may_end = threading.Event(), threading.Event()

    def use():
        with twice_differentiable():
            has_begun.set()
            assert may_end.wait(60)
            if does_raise:
                raise ArithmeticError

    with twice_differentiable():
        thread, raised = in_another_thread(use)
        assert has_begun.wait(60)
    assert tf.nn.moments is not PLAIN  # The other thread still needs it.
    may_end.set()
    thread.join(60)
    assert len(raised) == does_raise
    assert tf.nn.moments is PLAIN
