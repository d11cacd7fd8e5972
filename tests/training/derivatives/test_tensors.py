"""Lists of tensors with gaps: what is summed, and what stays in its place."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lr._keras import to_float
from keras_lr.training.derivatives import tensors

A = keras.ops.convert_to_tensor([[1.0, 2.0], [3.0, 4.0]])
B = keras.ops.convert_to_tensor([5.0, -6.0])


def test_function_of_the_present_gradients_leaves_the_gaps():
    def doubled(present):
        assert len(present) == 2
        return [2.0 * each for each in present]

    first, gap, second = tensors.on_present(doubled, [A, None, B])
    assert gap is None
    np.testing.assert_array_equal(first, [[2.0, 4.0], [6.0, 8.0]])
    np.testing.assert_array_equal(second, [10.0, -12.0])


def test_values_are_masked_where_there_is_no_gradient():
    masked = tensors.masked([A, B], [None, B])
    assert masked[0] is None
    assert masked[1] is B


def test_gaps_become_zeros_of_the_weights_shape():
    weights = [keras.Variable(np.ones((2, 3))), keras.Variable(np.ones(2))]
    zeros, given = tensors.zeros_for_none([None, B], weights)
    np.testing.assert_array_equal(zeros, np.zeros((2, 3)))
    assert given is B


@pytest.mark.parametrize(("condition", "factor"), [(True, 1.0), (False, 0.0)])
def test_gradients_are_zeros_unless_the_condition_holds(condition, factor):
    rows = tf.IndexedSlices([[1.0], [2.0]], [1, 1], [2, 1])
    gradients = [A, None, rows]
    first, gap, dense = tensors.zeros_unless(tf.constant(condition), gradients)
    assert gap is None
    np.testing.assert_array_equal(first, factor * A.numpy())
    np.testing.assert_array_equal(dense, [[0.0], [factor * (1.0 + 2.0)]])


def test_gradients_that_are_not_finite_become_zeros():
    (zeros,) = tensors.zeros_unless(tf.constant(False), [tf.constant([np.inf, np.nan])])
    np.testing.assert_array_equal(zeros, [0.0, 0.0])


def test_inner_product_is_over_all_entries_and_leaves_out_gaps():
    # 1 + 4 + 9 + 16 and 25 + 36.
    assert to_float(tensors.inner_product([A, B], [A, B], "float32")) == 30 + 61
    other = keras.ops.ones_like(A)
    assert to_float(tensors.inner_product([A, B], [other, None], "float32")) == 10
    assert to_float(tensors.inner_product([A, None], [other, B], "float32")) == 10


def test_absolute_product_is_the_sum_of_sizes_and_leaves_out_gaps():
    # 1 + 2 + 3 + 4, and 25 + 36 with both signs in B.
    sign = keras.ops.convert_to_tensor([[1.0, -1.0], [-1.0, 1.0]])
    product = tensors.absolute_product
    assert to_float(product([A, B], [sign, -B], "float32")) == 10 + 61
    assert to_float(product([A, B], [sign, None], "float32")) == 10
    assert to_float(product([A, None], [sign, B], "float32")) == 10


def test_norm_of_nothing_but_zeros_is_one():
    assert to_float(tensors.norm_of([B], "float32")) == pytest.approx(np.sqrt(61))
    assert to_float(tensors.norm_of([0.0 * B], "float32")) == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_number_that_is_not_finite_is_enough(bad):
    assert bool(tensors.are_finite([A, None, B]))
    broken = keras.ops.convert_to_tensor([1.0, bad])
    assert not bool(tensors.are_finite([A, None, broken]))
