"""The task of section 5 of the MARTHE paper: a network for MNIST, its data and batches.

Three hidden layers of 500 ReLU are trained on 7000 images of MNIST by plain gradient
descent, 512 steps of 100 images; E is the loss of 700 further images. Donini et al.,
"MARTHE: Scheduling the Learning Rate Via Online Hypergradients", IJCAI 2020, arXiv
1910.08525.
"""

import functools
import math
from typing import Any

import keras
import numpy as np
from keras import layers
from trainings import EMBEDDED

from keras_lr.comparison.datasets import load_dataset

ROWS, EMBEDDED_ROWS = (7000, 700), (4500, 500)
"""Rows to train on, and for E."""
BATCH_SIZE = 100
STEPS = 512
LEARNING_RATE = 0.01

Arrays = tuple[np.ndarray, np.ndarray]


def rows_of(data: str) -> tuple[int, int]:
    """Return how many rows are trained on, and how many are for E."""
    return EMBEDDED_ROWS if data == EMBEDDED else ROWS


@functools.cache
def load(data: str, split: int | str = 0) -> tuple[Arrays, Arrays]:
    """Return the training images, and those of E.

    Args:
        data: An `.npz` file, or `EMBEDDED` of `trainings`.
        split: Seed of the rows that are drawn, or `"ordered"` for the first and the
            last images of the file's training set.

    Raises:
        ValueError: If there are too few rows.
    """
    parts = load_dataset(data).data
    x, y = (np.concatenate(pair) for pair in zip(*parts, strict=True))
    train, validation = rows_of(data)
    if len(x) < train + validation:
        raise ValueError(
            f"The data must have at least {train + validation} rows. Received: {len(x)}"
        )
    if split == "ordered":
        end = len(parts[0][0])
        rows = np.r_[:train, end - validation : end]
    else:
        rows = np.random.default_rng(split).permutation(len(x))[: train + validation]
    x, y = x[rows], y[rows]
    return (x[:train], y[:train]), (x[train:], y[train:])


def build_model(learning_rate: float = LEARNING_RATE) -> keras.Model:
    """Return a fresh compiled network: Glorot's weights are Keras's default."""
    hidden = [layers.Dense(500, "relu") for _ in range(3)]
    model = keras.Sequential(
        [keras.Input((784,)), *hidden, layers.Dense(10, "softmax")]
    )
    model.compile(
        keras.optimizers.SGD(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def batches(data: Arrays, seed: int) -> Any:
    """Return a `tf.data.Dataset` of all steps, each epoch in an order of its own."""
    import tensorflow as tf

    x, y = map(tf.constant, data)
    rng = np.random.default_rng(seed)
    epochs = math.ceil(STEPS * BATCH_SIZE / len(x))
    order = np.concatenate([rng.permutation(len(x)) for _ in range(epochs)])
    rows = order[: STEPS * BATCH_SIZE].reshape(STEPS, BATCH_SIZE)
    return tf.data.Dataset.from_tensor_slices(rows).map(
        lambda batch: (tf.gather(x, batch), tf.gather(y, batch))
    )
