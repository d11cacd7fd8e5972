"""The positions of all global sources of random numbers."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
from keras.src.backend.common import global_state

# Keras 3.12 has no constant for it.
_GLOBAL_SEED_GENERATOR = "global_seed_generator"


@contextlib.contextmanager
def keeping_seeds() -> Iterator[None]:
    """Draw no random numbers from Python, NumPy, TensorFlow and Keras on balance.

    Seed generators of layers are variables of the model, and none of them here.
    """
    from tensorflow.python.eager import context

    # What eager operations without a seed of their own are seeded from.
    of_tensorflow = getattr(context.context(), "_rng", None)
    eager = None if of_tensorflow is None else of_tensorflow.getstate()
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    generator = global_state.get_global_attribute(_GLOBAL_SEED_GENERATOR)
    position = None if generator is None else generator.state.numpy()
    try:
        yield
    finally:
        if of_tensorflow is not None:
            of_tensorflow.setstate(eager)
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
        # One that was made meanwhile goes: the next one has the same seed.
        global_state.set_global_attribute(_GLOBAL_SEED_GENERATOR, generator)
        if generator is not None:
            generator.state.assign(position)
