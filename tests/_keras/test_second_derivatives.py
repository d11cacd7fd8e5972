"""`second_derivatives`: what has none is refused by name before anything is trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_lr


class Normalized(layers.Layer):
    """Local response normalization, whose gradient has no derivative in TensorFlow."""

    def call(self, inputs):
        return tf.nn.local_response_normalization(inputs)


def images():
    first = layers.Conv2D(2, 2), layers.BatchNormalization()
    last = layers.Flatten(), layers.Dense(2)
    model = keras.Sequential([keras.Input((4, 4, 1)), *first, Normalized(), *last])
    model.compile("sgd", loss="mse", jit_compile=False)
    return model


def image_data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(16, 4, 4, 1)), rng.normal(size=(16, 2))


def sequences():
    hidden = layers.Dense(5, "tanh"), layers.BatchNormalization(), layers.Dense(6)
    model = keras.Sequential([keras.Input((8, 3)), *hidden])
    model.compile("adam", loss=keras.losses.CTC(), jit_compile=False)
    return model


def sequence_data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(16, 8, 3)), rng.integers(1, 5, (16, 2))


@pytest.mark.parametrize(
    "curvature_batch_size", [pytest.param(None, marks=pytest.mark.slow), 8]
)
@pytest.mark.parametrize(
    ("make", "data", "place"),
    [
        pytest.param(
            *(images, image_data, "LRNGrad at '.*normalized"), marks=pytest.mark.slow
        ),
        (sequences, sequence_data, "a function of TensorFlow's at '.*ctc"),
    ],
    ids=["normalization", "ctc"],
)
def test_operation_without_a_second_derivative_is_refused_before_the_first_step(
    make, data, place, curvature_batch_size
):
    model = make()
    before = model.get_weights()
    callback = keras_lr.MARTHE(curvature_batch_size=curvature_batch_size)
    with pytest.raises(ValueError, match=f"{place}.*HypergradientDescent"):
        model.fit(*data(), batch_size=16, verbose=0, callbacks=[callback])
    # The statistics of batch normalization are among them.
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize(
    "make",
    [
        keras_lr.HypergradientDescent,
        pytest.param(
            lambda: keras_lr.MARTHE(discount=0.0), id="<lambda>", marks=pytest.mark.slow
        ),
        pytest.param(keras_lr.LearningRateWalk, marks=pytest.mark.slow),
        keras_lr.LipschitzLR,
    ],
)
def test_methods_that_the_error_names_need_no_second_derivative(make):
    model, callback = images(), make()
    before = model.get_weights()[0]
    model.fit(*image_data(), batch_size=8, verbose=0, callbacks=[callback])
    assert not np.array_equal(model.get_weights()[0], before)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_schedule_through_an_operation_without_one_is_refused(mode):
    data = image_data()
    with pytest.raises(ValueError, match=r"LRNGrad at '.*normalized"):
        keras_lr.optimize_schedule(images, data, data, steps=2, mode=mode, verbose=0)


def norm_of_dead_units():
    # As negative as it is, the bias keeps the units dead.
    dead = layers.Dense(4, "relu", bias_initializer=keras.initializers.Constant(-99.0))
    norm = layers.Lambda(keras.ops.norm, arguments={"axis": -1, "keepdims": True})
    model = keras.Sequential([keras.Input((3,)), dead, norm, layers.Dense(1)])
    # Compiled, the gradient of ReLU is 0 where it is dead, and not 0 times infinity.
    model.compile(keras.optimizers.SGD(0.1), loss="mse", jit_compile=True)
    return model


@pytest.mark.slow
def test_norm_of_dead_units_leaves_all_hypergradients_finite():
    model, rng = norm_of_dead_units(), np.random.default_rng(0)
    x, y = rng.normal(size=(64, 3)), rng.normal(size=(64, 1))
    callback = keras_lr.RTHO()
    model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[callback])
    # The last one is known in the step after it.
    assert np.isfinite(callback.history["hypergradient"][:-1]).all()
