"""Settings shared by all tests. TensorFlow is configured before it starts."""

import gc
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf


def _split_cpu_in_two() -> None:
    # Two logical devices on one processor: MirroredStrategy gets two replicas.
    device = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        device, [tf.config.LogicalDeviceConfiguration()] * 2
    )


_split_cpu_in_two()


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_collect():
    """Let collections of garbage pass over what earlier tests have left.

    KerasTuner and `compare_policies` collect after each training: seconds, with the
    objects of some thousand tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_session():
    """Start each test from the same seed, policy and empty session."""
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    # Without the full collection of garbage, which costs more than most tests.
    keras.backend.clear_session(free_memory=False)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def float64():
    """Let models and data be float64, so that finite differences are exact."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")


@pytest.fixture
def rng() -> np.random.Generator:
    """Give a seeded generator of random numbers."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def two_replicas() -> tf.distribute.Strategy:
    """Give a strategy of two replicas on the two logical processors.

    One for all tests: TensorFlow numbers the collective operations of each strategy
    from the same start, and a second one's clash with the first one's.
    """
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
