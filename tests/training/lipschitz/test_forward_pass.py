"""`ForwardPass`: what a meter measures on a data set, in inference mode."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lr.training.lipschitz.forward_pass import ForwardPass
from keras_lr.training.lipschitz.meter import LipschitzMeter

LOSS = "binary_crossentropy"
# Rows of norm 5, 12, 1: batches of two have K_z 13 and 1, one of three sqrt(170).
X = np.array([[3.0, 4.0], [0.0, 12.0], [1.0, 0.0]], "float32")
Y = np.ones((3, 1), "float32")


class InPairs(keras.utils.PyDataset):
    """The rows in batches of two."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(2 * index, 2 * index + 2)
        return X[part], Y[part]


def measure(data, batch_size=2, *, layers=(), run_eagerly=False, bound="paper"):
    head = keras.layers.Dense(1, "sigmoid")
    model = keras.Sequential([keras.Input((2,)), *layers, head])
    model.compile("sgd", loss=LOSS, run_eagerly=run_eagerly)
    meter = LipschitzMeter(model, bound=bound, owner="LipschitzLR")
    ForwardPass(model, meter, data, batch_size).run()
    return meter.read()


@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.parametrize(
    ("batch_size", "norm", "rows"), [(1, 12, 1), (2, 13, 2), (32, np.sqrt(170), 3)]
)
def test_arrays_go_through_in_batches(batch_size, norm, rows, run_eagerly):
    measured = measure((X, Y), batch_size, run_eagerly=run_eagerly)
    assert measured["activation_norm"] == pytest.approx(norm, rel=1e-6)
    # (18): K_z / (2 m).
    assert measured["lipschitz_constant"] == pytest.approx(norm / (2 * rows), rel=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: X,
        lambda: (X, Y, np.ones(3)),
        lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(2),
        lambda: tf.data.Dataset.from_tensor_slices(X).batch(2),
        InPairs,
    ],
    ids=["x", "weighted", "dataset", "dataset of x", "py_dataset"],
)
def test_every_form_of_data_is_seen_in_its_batches(make):
    assert measure(make())["activation_norm"] == pytest.approx(13, rel=1e-6)


def test_model_runs_in_inference_mode():
    dropout = keras.layers.Dropout(0.9, seed=0)
    measured = measure((X, Y), layers=[dropout])
    assert measured["activation_norm"] == pytest.approx(13, rel=1e-6)


def test_strict_constant_counts_the_sample_weights():
    weights = np.array([1.0, 0.0, 4.0])
    measured = measure((X, Y, weights), batch_size=3, bound="strict")
    expected = (np.sqrt(26) + 4 * np.sqrt(2)) / 3
    assert measured["lipschitz_constant"] == pytest.approx(expected, rel=1e-6)
