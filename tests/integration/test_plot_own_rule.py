"""The gallery's rule of one's own: its equation, its length, and what comes with it."""

import runpy
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_lr._keras import to_float

EXAMPLE = Path(__file__).parents[2] / "examples" / "plot_own_rule.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


class Recorded(keras.callbacks.Callback):
    """Notes the weights before each step and at the end."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_begin(self, batch, logs=None):
        self.weights.append(self.model.get_weights()[0].copy())

    def on_train_end(self, logs=None):
        self.weights.append(self.model.get_weights()[0].copy())


def quadratic(slope=1.0):
    """Return a model whose loss is (slope w - 3)^2, at w = 1."""
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((1,)), dense])
    model.compile("sgd", "mse")
    return model, np.full((8, 1), slope), np.full((8, 1), 3.0)


def fit(callback, model, x, y, epochs=4, **kwargs):
    options = {"batch_size": 1, "shuffle": False, "verbose": 0} | kwargs
    return model.fit(x, y, epochs=epochs, callbacks=[callback], **options)


def test_example_is_short():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize(
    "lower_bound", [pytest.param(0.0, marks=pytest.mark.slow), 0.5]
)
def test_steps_are_those_of_the_equation(example, lower_bound):
    """For (w - 3)^2: w <- w - ((w - 3)^2 - L*) / (4 (w - 3)^2) 2 (w - 3)."""
    callback, recorded = example["PolyakStepSize"](lower_bound, anneal=0.0), Recorded()
    model, x, y = quadratic()
    model.fit(
        x[:4],
        y[:4],
        batch_size=1,
        epochs=1,
        shuffle=False,
        verbose=0,
        callbacks=[callback, recorded],
    )
    w, expected = 1.0, [1.0]
    for _ in range(4):
        gap = max((w - 3) ** 2 - lower_bound, 0.0)
        w -= gap / (2 * (w - 3)) ** 2 * 2 * (w - 3)
        expected.append(w)
    np.testing.assert_allclose(np.ravel(recorded.weights), expected, rtol=1e-5)


def test_rate_is_bounded_and_annealed(example):
    # (L - 0) / ||g||^2 is 1/4 for each w; half of it is the bound.
    callback = example["PolyakStepSize"](max_learning_rate=0.125, anneal=0.5)
    fit(callback, *quadratic(), epochs=2)
    rates = callback.history["learning_rate"]
    expected = 0.125 * np.minimum(np.arange(16, 0, -1) / 16 / 0.5, 1.0)
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rule_answers_with_the_last_rate_where_nothing_is_known(example, bad):
    rule = example["polyak_step_size"]
    for loss, square in ((bad, 1.0), (1.0, bad), (1.0, 0.0)):
        assert to_float(rule(np.float32(loss), np.float32(square), 0.0, 0.5)) == 0.5
    # Below the bound there is nothing to gain.
    assert to_float(rule(np.float32(0.25), np.float32(1.0), 0.5, 0.5)) == 0.0


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_batches_that_are_not_finite_are_left_out(example):
    callback, (model, x, y) = example["PolyakStepSize"](), quadratic()
    y[5:] = np.nan
    with pytest.warns(UserWarning, match=r"PolyakStepSize.*after 5 steps.*left .* out"):
        fit(callback, model, x, y, epochs=1)
    assert callback.restarts == []
    assert np.isfinite(model.get_weights()[0]).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_training_that_diverges_is_rolled_back(example):
    """From a rate of 10 the distance from 3 is 19 times as long after each step."""
    callback = example["PolyakStepSize"](lower_bound=-1e30, max_learning_rate=10.0)
    model, x, y = quadratic()
    with pytest.warns(UserWarning, match=r"PolyakStepSize.*rolled .* back"):
        fit(callback, model, x, y)
    # Suspicious after the first epoch of eight steps, sure after eight pairs more.
    assert callback.restarts[0] == 16
