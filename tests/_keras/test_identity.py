"""What tells one model from another, and what does not."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_lr._keras.identity import (
    array_digest,
    given_weights_digest,
    model_digests,
)

LAYERS, COMPILED = "layers", "losses and metrics"


def sequential(*middle, loss="mse", metrics=None, loss_weights=None):
    model = keras.Sequential([keras.Input((3,)), *middle, layers.Dense(1)])
    model.compile("sgd", loss, metrics=metrics, loss_weights=loss_weights)
    return model


def dense(**kwargs):
    return sequential(layers.Dense(4, **kwargs))


def functional(order):
    first, second = (layers.Dense(3, activation=name) for name in ("relu", "tanh"))
    x = keras.Input((3,))
    pair = (first, second) if order == "forward" else (second, first)
    y = pair[1](pair[0](x))
    model = keras.Model(x, first(second(x)) + y)
    model.compile("sgd", "mse")
    return model


def subclassed(activation, rate=0.5):
    class Net(keras.Model):
        def __init__(self, settings):
            super().__init__()
            self.settings = settings
            self.hidden = layers.Dense(4)
            self.drop = layers.Dropout(rate)

        if activation == "relu":

            def call(self, x):
                return self.drop(ops.relu(self.hidden(x)))

        else:

            def call(self, x):
                return self.drop(ops.tanh(self.hidden(x)))

    # Keras can't serialize an object, so the model has no configuration.
    model = Net(object())
    model.compile("sgd", "mse")
    return model


def scaled(factor):
    return sequential(loss=lambda y, p: factor * ops.mean((y - p) ** 2))


class Perceptual(keras.losses.Loss):
    def __init__(self, activation):
        super().__init__()
        self.features = sequential(layers.Dense(2, activation))

    def call(self, y, predicted):
        return ops.mean(self.features(y) - self.features(predicted))


def thresholded(threshold):
    return sequential(metrics=[keras.metrics.BinaryAccuracy(threshold=threshold)])


PAIRS = {
    "activation": (LAYERS, lambda: dense(activation="relu"), dense),
    "lambda": (
        LAYERS,
        lambda: dense(activation=lambda x: 2 * x),
        lambda: dense(activation=lambda x: 3 * x),
    ),
    "lambda layer": (
        LAYERS,
        lambda: sequential(layers.Lambda(lambda x: 2 * x)),
        lambda: sequential(layers.Lambda(lambda x: 3 * x)),
    ),
    "dropout": (
        LAYERS,
        lambda: sequential(layers.Dropout(0.1)),
        lambda: sequential(layers.Dropout(0.2)),
    ),
    "regularizer": (
        LAYERS,
        lambda: dense(kernel_regularizer=keras.regularizers.L2(0.1)),
        lambda: dense(kernel_regularizer=keras.regularizers.L2(0.2)),
    ),
    "initializer": (
        LAYERS,
        lambda: dense(kernel_initializer="zeros"),
        lambda: dense(kernel_initializer="he_normal"),
    ),
    "precision": (LAYERS, lambda: dense(dtype="mixed_bfloat16"), dense),
    "frozen": (LAYERS, lambda: dense(trainable=False), dense),
    "graph": (LAYERS, lambda: functional("forward"), lambda: functional("backward")),
    "code": (LAYERS, lambda: subclassed("relu"), lambda: subclassed("tanh")),
    "nested layer": (
        LAYERS,
        lambda: subclassed("relu", 0.1),
        lambda: subclassed("relu", 0.2),
    ),
    # `Huber` leaves its width out of its configuration.
    "loss": (
        COMPILED,
        lambda: sequential(loss=keras.losses.Huber(1.0)),
        lambda: sequential(loss=keras.losses.Huber(2.0)),
    ),
    "network in a loss": (
        COMPILED,
        lambda: sequential(loss=Perceptual("relu")),
        lambda: sequential(loss=Perceptual("tanh")),
    ),
    "loss in a closure": (COMPILED, lambda: scaled(1.0), lambda: scaled(2.0)),
    "loss weights": (
        COMPILED,
        lambda: sequential(loss_weights=[0.5]),
        lambda: sequential(loss_weights=[0.25]),
    ),
    "metric": (COMPILED, lambda: thresholded(0.3), lambda: thresholded(0.5)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_model_that_trains_in_another_way_is_another_one(name):
    part, one, other = PAIRS[name]
    first, second = model_digests(one()), model_digests(other())
    assert {key for key in first if first[key] != second[key]} == {part}


@pytest.mark.parametrize("name", PAIRS)
def test_model_that_is_built_again_is_the_same_one(name):
    _, build, _ = PAIRS[name]
    # Keras gives the layers of the second one other names.
    assert model_digests(build()) == model_digests(build())


def test_name_of_a_layer_may_be_that_of_an_activation():
    def build():
        return sequential(layers.Softmax(), layers.Dense(2, activation="softmax"))

    assert model_digests(build()) == model_digests(build())


def test_weights_that_are_drawn_do_not_count_and_those_that_are_loaded_do():
    def loaded(value):
        model = sequential(layers.Dense(3))
        model.layers[0].set_weights([np.full((3, 3), value), np.zeros(3)])
        return model

    def digest(value):
        return given_weights_digest(loaded(value), loaded(value))

    assert digest(1.0) == digest(1.0)
    assert digest(1.0) != digest(2.0)


def test_strings_are_the_same_data_wherever_they_are_in_memory():
    one, other = (np.array([f"a{n}", "b"], dtype=object) for n in (1, 1))
    assert one[0] is not other[0]
    assert array_digest(one) == array_digest(other)
    assert array_digest(one) != array_digest(one[::-1])
