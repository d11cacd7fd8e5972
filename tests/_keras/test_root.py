"""`root`: TensorFlow's square root, except for its derivative at 0."""

import keras
import numpy as np
import pytest
import tensorflow as tf

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


def test_derivatives_are_those_of_tensorflow_but_at_zero():
    x = tf.constant([0.0, 0.25, 4.0], "float64")
    accumulator = tf.autodiff.ForwardAccumulator(x, tf.ones_like(x))
    with accumulator, differentiable_at_zero():
        y = keras.ops.sqrt(x)
    np.testing.assert_array_equal(accumulator.jvp(y), [0.0, 1.0, 0.25])
