"""One weight, y = 2 x: every number of a training can be worked out by hand.

With inputs of 1 and gradient descent at the rate r, the error e = w - 2 becomes
(1 - 2 r) e in a step, and the loss is e squared; w starts from 0.
"""

import keras
import numpy as np

ROWS = 8
BATCH = 4
X = np.ones((ROWS, 1), "float32")
DATA = ((X, 2 * X), (X, 2 * X))


def build_model(optimizer=None, metrics=None):
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(optimizer or keras.optimizers.SGD(0.1), "mse", metrics=metrics)
    return model


class Counting:
    """Builds models and counts them, without the two that are compared first.

    Args:
        build: Function which returns a new model.
    """

    def __init__(self, build):
        self.build = build
        self.calls = -2

    def __call__(self):
        self.calls += 1
        return self.build()


class Bomb(keras.callbacks.Callback):
    """Raises at the start of a training."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_train_begin(self, logs=None):
        raise self.error
