"""The batches that policies train on: new in each epoch, the same at a seed."""

from typing import ClassVar

import keras
import numpy as np
import pytest

from keras_lr.comparison import Policy, compare_policies
from keras_lr.comparison.batches import shuffled_batches
from keras_lr.comparison.policy import RunContext
from keras_lr.comparison.runner import RunSettings, train
from keras_lr.comparison.search import bandit_search

ROWS, BATCH, EPOCHS = 12, 4, 3
X = np.arange(ROWS, dtype="float32")[:, None]
DATA = ((X, 2 * X), (X, 2 * X))


class Watched(keras.Model):
    """One weight; notes the rows of each batch that it is trained on."""

    fits: ClassVar[list] = []

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(1, kernel_initializer="zeros")
        self(X)
        self.compile(keras.optimizers.SGD(1e-4), "mse", run_eagerly=True)

    def call(self, x):
        return self.layer(x)

    def train_step(self, data):
        if self.optimizer.iterations == 0:
            self.fits.append([])
        self.fits[-1].append(np.ravel(data[0]).astype(int).tolist())
        return super().train_step(data)


@pytest.fixture
def fits(monkeypatch):
    monkeypatch.setattr(Watched, "fits", [])
    return Watched.fits


def epochs_of(fit):
    """The rows of each epoch, in their order."""
    rows = np.reshape(np.concatenate(fit), (-1, ROWS))
    assert [*map(len, fit)] == [BATCH] * len(fit)
    return [tuple(epoch) for epoch in rows]


def assert_new_in_each_epoch(fit, number=EPOCHS):
    epochs = epochs_of(fit)
    assert len(set(epochs)) == len(epochs) == number
    assert all(sorted(epoch) == list(range(ROWS)) for epoch in epochs)


def test_batches_of_policies_are_new_in_each_epoch_and_equal_at_a_seed(fits):
    compare_policies(
        Watched,
        DATA,
        ["default", Policy("a", 1e-5), "marthe"],
        seeds=[0, 1],
        epochs=EPOCHS,
        batch_size=BATCH,
        verbose=0,
    )
    runs = [fit for fit in fits if fit]
    for fit in runs:
        assert_new_in_each_epoch(fit)
    number = len(runs) // 2
    assert number == 3
    assert all(fit == runs[0] for fit in runs[:number])
    assert all(fit == runs[number] for fit in runs[number:])
    assert runs[0] != runs[number]


@pytest.mark.slow
def test_run_again_has_the_same_batches(fits):
    settings = RunSettings(EPOCHS, BATCH)
    for seed in (3, 3, 4):
        train(Watched, DATA, Policy("a", 1e-4), settings, seed=seed)
    assert fits[0] == fits[1] != fits[2]


@pytest.mark.parametrize(
    "tuner",
    [pytest.param(each, marks=pytest.mark.slow) for each in ("Zooming", "BLiE")],
)
def test_trials_of_a_search_have_new_batches_in_each_epoch(fits, tuner):
    import keras_lr

    # Weights of the rows may follow the targets.
    train_data = (*DATA[0], np.ones(ROWS, "float32"))
    context = RunContext(
        train_data, DATA[1], EPOCHS, BATCH, EPOCHS * ROWS // BATCH, seed=0
    )
    for _ in range(2):
        bandit_search(
            getattr(keras_lr, tuner), Watched, context, lambda _: [1e-5, 1e-4], 3
        )
    for fit in fits:
        # A trial of BLiE may be shorter than a run.
        number = len(fit) * BATCH // ROWS
        assert number > 1
        assert_new_in_each_epoch(fit, number)
    half = len(fits) // 2
    assert fits[:half] == fits[half:]
    assert fits[0] != fits[1]


def test_last_batch_has_the_rest():
    batches = shuffled_batches((X, X), 5, 0)
    assert len(batches) == 3
    assert [len(x) for x, _ in batches] == [5, 5, 2]
    assert all(np.array_equal(x, y) for x, y in batches)


def test_arrays_come_as_fit_would_take_them():
    data = ({"a": X.astype("float64"), "b": X.astype("uint8")}, X.astype("int64"))
    x, y = next(iter(shuffled_batches(data, 4, 0)))
    assert [x["a"].dtype, x["b"].dtype, y.dtype] == ["float32", "uint8", "int64"]
    assert np.array_equal(x["a"], x["b"])
    assert np.array_equal(x["a"], y)
