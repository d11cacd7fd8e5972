"""Gradients and products of Hessians, by TensorFlow's tapes."""

import tensorflow as tf


def gradient(function, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x)


def hessian_product(function, x, vector):
    return gradient(lambda x: tf.reduce_sum(gradient(function, x) * vector), x)
