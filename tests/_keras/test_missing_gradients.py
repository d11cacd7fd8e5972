"""`missing_gradients`: second derivatives of resizing, cropping and softsign."""

import numpy as np
import pytest
import tensorflow as tf

from keras_lr._keras.missing_gradients import added
from tests.second_derivatives import gradient, hessian_product

SIZE, LARGER, SMALLER = (3, 4), (6, 5), (2, 3)
METHODS = ["bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"]
# TensorFlow resizes in float32.
EPSILON = 1e-6


def resized(method, size, antialias=False):
    return lambda x: tf.image.resize(x, size, method, antialias=antialias)


def cropped(method):
    box = tf.constant([[0.1, 0.2, 0.9, 0.7]])
    return lambda x: tf.image.crop_and_resize(x, box, [0], LARGER, method)


OPERATIONS = {
    **{f"{method}_up": resized(method, LARGER) for method in METHODS},
    **{f"{method}_down": resized(method, SMALLER) for method in METHODS},
    "bilinear_antialias": resized("bilinear", SMALLER, antialias=True),
    "bicubic_antialias": resized("bicubic", SMALLER, antialias=True),
    "align_corners": lambda x: tf.compat.v1.image.resize_bilinear(
        x, LARGER, align_corners=True
    ),
    "crop_bilinear": cropped("bilinear"),
    "crop_nearest": cropped("nearest"),
}
every_operation = pytest.mark.parametrize("name", OPERATIONS)


def images(rng):
    return tf.constant(rng.normal(size=(1, *SIZE, 1)), "float32")


def matrix_of(operation):
    """A linear operation as a matrix: its values at all images with one pixel lit."""
    basis = np.eye(np.prod(SIZE), dtype="float32").reshape(-1, 1, *SIZE, 1)
    return np.stack([np.ravel(operation(tf.constant(each))) for each in basis], axis=1)


def loss_of(operation):
    return lambda x: tf.reduce_sum(tf.exp(tf.cast(operation(x), "float32")))


def product(operation, x, vector, **traced):
    """The second derivative along a vector, by `tf.function` if it has arguments."""

    def of_loss():
        with added():
            return hessian_product(loss_of(operation), x, vector)

    return tf.function(of_loss, **traced)() if traced else of_loss()


def assert_is_that_of_the_matrix(actual, operation, x, vector):
    matrix = matrix_of(operation).astype("float64")
    of_exp = np.exp(matrix @ np.ravel(x))
    expected = matrix.T @ (of_exp * (matrix @ np.ravel(vector)))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.ravel(actual), expected, atol=5 * EPSILON * scale)


@every_operation
@pytest.mark.parametrize("traced", [{}, {"autograph": False}], ids=["eager", "graph"])
def test_second_derivatives_are_those_of_the_matrix(name, traced, rng):
    operation, x, vector = OPERATIONS[name], images(rng), images(rng)
    actual = product(operation, x, vector, **traced)
    assert_is_that_of_the_matrix(actual, operation, x, vector)


@pytest.mark.parametrize(
    "name", [pytest.param("bilinear_up", marks=pytest.mark.slow), "bilinear_down"]
)
def test_bilinear_resizing_is_compiled(name, rng):
    operation, x, vector = OPERATIONS[name], images(rng), images(rng)
    actual = product(operation, x, vector, jit_compile=True)
    assert_is_that_of_the_matrix(actual, operation, x, vector)


@every_operation
def test_values_and_first_derivatives_are_those_of_tensorflow(name, rng):
    operation, x = OPERATIONS[name], images(rng)
    expected = operation(x), gradient(loss_of(operation), x)
    with added():
        actual = operation(x), gradient(loss_of(operation), x)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_second_derivative_of_bilinear_resizing_is_wrong_in_tensorflow(rng):
    """If this fails TensorFlow has been mended, and its gradient can go from here."""
    x, vector = images(rng), images(rng)
    loss = loss_of(OPERATIONS["bilinear_up"])
    assert hessian_product(loss, x, vector) is None


@pytest.mark.parametrize(
    "name",
    ["nearest_up", "bicubic_up", "lanczos3_up", "bilinear_antialias", "crop_nearest"],
)
def test_other_second_derivatives_are_missing_in_tensorflow(name, rng):
    x, vector = images(rng), images(rng)
    with pytest.raises(LookupError):
        hessian_product(loss_of(OPERATIONS[name]), x, vector)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_types_of_the_image_are_those_of_the_second_derivative(dtype, rng):
    x, vector = (tf.cast(images(rng), dtype) for _ in range(2))
    for name in ("bilinear_up", "nearest_up", "crop_bilinear"):
        with added():
            actual = hessian_product(loss_of(OPERATIONS[name]), x, vector)
        assert actual.dtype == dtype


def test_second_derivative_of_softsign_is_that_by_hand():
    """Of x / (1 + |x|) it is -2 sign(x) / (1 + |x|)^3."""
    x = tf.constant([-3.0, -0.5, 0.25, 2.0], "float64")
    with added():
        actual = hessian_product(tf.nn.softsign, x, tf.ones_like(x))
    expected = [2 / 4**3, 2 / 1.5**3, -2 / 1.25**3, -2 / 3**3]
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


def test_third_derivative_of_bilinear_resizing_is_that_of_the_matrix(rng):
    operation, x, vector = OPERATIONS["bilinear_up"], images(rng), images(rng)
    with added():
        actual = hessian_product(
            lambda x: tf.reduce_sum(gradient(loss_of(operation), x) * vector), x, vector
        )
    matrix = matrix_of(operation).astype("float64")
    expected = matrix.T @ (
        np.exp(matrix @ np.ravel(x)) * (matrix @ np.ravel(vector)) ** 2
    )
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.ravel(actual), expected, atol=5 * EPSILON * scale)


def test_registry_of_tensorflow_is_as_it_was_afterwards():
    before = registered("ResizeBilinear")
    with added(), added():
        assert registered("ResizeBilinear") is not before
    for name in ("ResizeBicubicGrad", "SoftsignGrad", "ScaleAndTranslateGrad"):
        with pytest.raises(LookupError):
            registered(name)
    assert registered("ResizeBilinear") is before


def registered(name):
    from tensorflow.python.framework import ops

    return ops.gradient_registry.lookup(name)


def test_no_gradient_of_a_gradient_is_wrongly_zero():
    """A gradient that TensorFlow says to be 0 would be wrong without a word."""
    from tensorflow.python.framework import ops

    with added():
        zeros = {
            name
            for name in ops.gradient_registry.list()
            if "Grad" in name and ops.gradient_registry.lookup(name) is None
        }
    tensor_arrays = {name for name in zeros if name.startswith("TensorArrayGrad")}
    # Its first gradient is replaced, and it has no second one to look up.
    replaced = {"ResizeBilinearGrad"}
    # The one is meant to be, the other is no number.
    right = {"StopGradient", "BroadcastGradientArgs"}
    assert zeros == right | tensor_arrays | replaced


def test_gradient_that_tensorflow_says_to_be_zero_is_missing(rng):
    x, vector = images(rng), images(rng)
    quantized = tf.quantization.fake_quant_with_min_max_args
    with added(), pytest.raises(LookupError, match="FakeQuantWithMinMaxArgsGradient"):
        hessian_product(loss_of(quantized), x, vector)
