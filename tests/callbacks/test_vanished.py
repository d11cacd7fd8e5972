"""A rate that falls to nothing in a fit is not what the optimizer is left with.

Validation labels are all wrong, so that hypergradients are positive, and a large
hyper-learning rate takes the rate to 0 in one step, where the rule leaves it.
"""

import keras
import numpy as np
import pytest

import keras_lr
from keras_lr import _keras
from tests.small_problem import CLASSES, compiled, data, fit

# Keras converts TensorFlow's variables, which do not take NumPy 2's `copy`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

# A thousandth of the compiled rate, which the fits start from.
LEFT = pytest.approx(0.05 * 1e-3, rel=1e-6)
SAMPLES, LABELS = data()
# What lowers the training loss raises that of labels that are all wrong.
WRONG = (SAMPLES, (LABELS + 1) % CLASSES)
ADDITIVE = {"update": "additive", "hyper_learning_rate": 1e3}
VANISHING = {
    "HypergradientDescent": lambda **kwargs: keras_lr.HypergradientDescent(
        WRONG, **ADDITIVE, **kwargs
    ),
    "RTHO": lambda **kwargs: keras_lr.RTHO(WRONG, **ADDITIVE, **kwargs),
    "MARTHE": lambda **kwargs: keras_lr.MARTHE(WRONG, **ADDITIVE, **kwargs),
    "log": lambda **kwargs: keras_lr.HypergradientDescent(
        WRONG, hyper_learning_rate=40.0, **kwargs
    ),
}
FAST = "HypergradientDescent"
every_vanishing = pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=() if name == FAST else pytest.mark.slow)
        for name, make in VANISHING.items()
    ],
)


class Fail(keras.callbacks.Callback):
    """Ends a fit at a moment of its second epoch."""

    def __init__(self, hook):
        super().__init__()
        self.epoch = 0
        setattr(self, hook, self.fail)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def fail(self, *args, **kwargs):
        if self.epoch == 1:
            raise RuntimeError("on purpose")


def rate_of(model):
    return _keras.to_float(model.optimizer.learning_rate)


@every_vanishing
def test_fit_that_ends_at_no_rate_leaves_a_thousandth_of_the_first(make):
    model, callback = compiled(run_eagerly=True), make()
    fit(model, [callback], epochs=2)
    assert min(callback.history["learning_rate"]) < 1e-9
    assert rate_of(model) == LEFT
    before = model.get_weights()
    fit(model, epochs=1)
    assert not np.array_equal(model.get_weights()[0], before[0])
    fit(model, [make()], epochs=1)


def test_rule_stays_at_0_within_the_fit():
    model, callback = compiled(run_eagerly=True), VANISHING[FAST]()
    history = fit(model, [callback], epochs=2).history
    rates = callback.history["learning_rate"]
    assert rates.count(0.0) > 1
    assert history["learning_rate"] == rates[5::6]


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_epoch_end"])
def test_fit_after_an_interrupted_one_has_a_rate(hook):
    model = compiled(run_eagerly=True)
    callback = VANISHING[FAST]()
    with pytest.raises(RuntimeError, match="on purpose"):
        fit(model, [callback, Fail(hook)])
    fit(model, [VANISHING[FAST]()], epochs=1)
    assert rate_of(model) > 0.0


@pytest.mark.parametrize("is_first", [True, False])
def test_training_resumed_at_no_rate_equals_the_uninterrupted_one(is_first, tmp_path):
    def train(folder, *others):
        model = compiled(run_eagerly=True)
        callback = VANISHING[FAST](backup_dir=folder / "state")
        backup = keras.callbacks.BackupAndRestore(folder / "backup")
        pair = [backup, callback] if is_first else [callback, backup]
        fit(model, [*others, *pair], epochs=2)
        return callback.history["learning_rate"], model.get_weights(), rate_of(model)

    rates, weights, left = train(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="on purpose"):
        # Listed first, it ends the second epoch before that is saved.
        train(tmp_path / "killed", Fail("on_epoch_end"))
    resumed_rates, resumed_weights, resumed_left = train(tmp_path / "killed")
    assert resumed_rates == rates[6:]
    assert resumed_left == left == LEFT
    for array, expected in zip(resumed_weights, weights, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_pieces_of_a_training_at_no_rate_equal_the_whole():
    whole, pieces = VANISHING[FAST](), VANISHING[FAST](total_epochs=2)
    fit(compiled(run_eagerly=True), [whole], epochs=2)
    model = compiled(run_eagerly=True)
    for epoch in range(2):
        fit(model, [pieces], epochs=epoch + 1, initial_epoch=epoch)
    assert pieces.history["learning_rate"] == whole.history["learning_rate"]
    assert rate_of(model) == LEFT
