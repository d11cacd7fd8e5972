"""`fit` of models and data that take no part of a batch for the curvature.

Stateful models, batches of a fixed size, and sparse data. The whole batch is used, and
said once; nothing else is different.
"""

import warnings

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from keras import layers

import keras_lr
from tests.small_problem import CLASSES

# The products themselves are tested in tests/training/derivatives/test_curvature.py.
pytestmark = pytest.mark.slow
ROWS, FEATURES, BATCH = 30, 6, 10


def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, FEATURES)) * (rng.random((ROWS, FEATURES)) < 0.5)
    return x.astype("float32"), rng.integers(0, CLASSES, ROWS)


def arrays():
    return tf.data.Dataset.from_tensor_slices(rows()).batch(BATCH, drop_remainder=True)


def sparse_tensors():
    x, y = rows()
    data = tf.data.Dataset.from_tensor_slices((tf.sparse.from_dense(x), y))
    return data.batch(BATCH)


def of_scipy():
    x, y = rows()
    return scipy.sparse.csr_matrix(x), y


def with_state(hidden=4):
    inputs = keras.Input(batch_shape=(BATCH, FEATURES))
    sequence = layers.Reshape((3, 2))(inputs)
    return inputs, layers.LSTM(hidden, stateful=True)(sequence)


def with_fixed_batch():
    inputs = keras.Input((FEATURES,))
    return inputs, keras.ops.reshape(layers.Dense(4)(inputs), (BATCH, 4))


def with_sparse_inputs():
    inputs = keras.Input((FEATURES,), sparse=True)
    return inputs, layers.Dense(4, "tanh")(inputs)


def train(make, data, **arguments):
    """Return losses, hypergradients, and warnings of the whole batch."""
    keras.utils.set_random_seed(0)
    inputs, hidden = make()
    model = keras.Model(inputs, layers.Dense(CLASSES, "softmax")(hidden))
    model.compile(
        keras.optimizers.SGD(0.25, momentum=0.5),
        "sparse_categorical_crossentropy",
        run_eagerly=make is with_fixed_batch,
    )
    # A rate that does not move.
    callback = keras_lr.RTHO(
        update="additive", hyper_learning_rate=0.0, every=1, **arguments
    )
    x, y = data() if data is of_scipy else (data(), None)
    batches = {"batch_size": BATCH} if data is of_scipy else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = model.fit(
            x, y, **batches, epochs=2, shuffle=False, callbacks=[callback], verbose=0
        )
    said = [str(each.message) for each in caught if "whole batch" in str(each.message)]
    return history.history["loss"], callback.history["hypergradient"], said


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (with_fixed_batch, arrays),
        (with_state, arrays),
        (with_sparse_inputs, sparse_tensors),
        (with_sparse_inputs, of_scipy),
    ],
)
def test_fit_uses_the_whole_batch_and_says_so_once(make, data):
    losses, hypergradients, said = train(make, data, curvature_batch_size=9)
    expected = train(make, data, curvature_batch_size=None)
    assert len(said) == 1
    assert "`curvature_batch_size=None`" in said[0]
    assert expected[2] == []
    assert losses == pytest.approx(expected[0], rel=1e-6)
    assert hypergradients == pytest.approx(expected[1], rel=1e-5, nan_ok=True)
    # The last one is not known.
    assert np.count_nonzero(np.isfinite(hypergradients)) == 2 * ROWS // BATCH - 1
