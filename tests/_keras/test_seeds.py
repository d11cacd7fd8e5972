import contextlib
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lr._keras.seeds import keeping_seeds


def drawn():
    """Draw from each global source; of TensorFlow's, what seeds the next operation."""
    return [
        random.random(),
        np.random.random(),  # noqa: NPY002
        tf.compat.v1.get_seed(None),
        float(keras.random.uniform(())),
    ]


def after(has_generator, looks):
    """Return the numbers that are drawn after a failed look, or after none."""
    # In Keras 3.12, the seed does not replace a generator that is there.
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(1)
    if has_generator:
        keras.random.uniform(())
    if looks:
        with contextlib.suppress(ArithmeticError), keeping_seeds():
            drawn()
            raise ArithmeticError
    return drawn() + drawn()


@pytest.mark.parametrize("has_generator", [False, True])
def test_numbers_are_drawn_as_if_none_had_been(has_generator):
    assert after(has_generator, looks=True) == after(has_generator, looks=False)
