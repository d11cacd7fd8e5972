"""Write `comparison/`: a comparison that Ctrl-C ended before its last policy.

To be run with keras_lr 0.1.0:

    python tests/data/v0_1_0/write_comparison.py

`constant 0.125` and `constant 0.25` are finished, `cosine_decay` failed, and `default`
was never trained.
"""

from pathlib import Path

import keras
import numpy as np

from keras_lr.comparison import Policy, compare_policies, policies

DIRECTORY = Path(__file__).with_name("comparison")
X = np.ones((8, 1), "float32")
DATA = ((X, 2 * X), (X, 2 * X))
SETTINGS = {"seeds": 1, "epochs": 2, "batch_size": 4, "verbose": 0}
FINISHED = [policies.constant(0.125), policies.constant(0.25)]


def build_model():
    """Return y = w x, with w = 0."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    return model


def _raise(error):
    raise error


def main():
    """Train what is to be finished, fail once, and interrupt the rest."""
    failing = Policy("cosine_decay", callbacks=lambda: _raise(RuntimeError("no")))
    stopped = Policy("default", callbacks=lambda: _raise(KeyboardInterrupt()))
    compare_policies(
        build_model,
        DATA,
        [*FINISHED, failing, stopped],
        directory=DIRECTORY,
        **SETTINGS,
    )


if __name__ == "__main__":
    main()
