"""A fit that ends in an exception leaves what one that was stopped leaves."""

import contextlib
import functools

import keras
import pytest

import keras_lr
from keras_lr import _keras
from tests.small_problem import STEPS, compiled, data, fit, sequential

EPOCHS = 4
# In the last epoch, whose rates are annealed.
STOP = 3 * STEPS + 3
# A callback, and the part of the training in which it anneals.
AUTOMATIC = pytest.mark.parametrize(
    ("make", "part"),
    [
        pytest.param(keras_lr.LipschitzLR, 0.5, id="LipschitzLR"),
        pytest.param(
            lambda: keras_lr.LearningRateWalk(1.1, every=6, anneal=0.4),
            0.4,
            id="LearningRateWalk",
            marks=pytest.mark.slow,  # The same owner of the rate.
        ),
    ],
)


class CtrlC(keras.callbacks.Callback):
    """Ends a fit after some steps: by Keras's flag, by an error, in the next step."""

    def __init__(self, how):
        super().__init__()
        self.how, self.steps, self.is_last = how, 0, False

    def on_test_batch_end(self, batch, logs=None):
        if self.how == "validation" and self.is_last:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps != STOP:
            return
        if self.how == "callback":
            raise KeyboardInterrupt
        self.is_last = True
        self.model.stop_training = self.how == "flag"
        self.model.is_interrupted = self.how == "step"


class Interruptible(keras.Model):
    is_interrupted = False

    def train_step(self, data):
        if self.is_interrupted:
            raise KeyboardInterrupt
        return super().train_step(data)


def stopped(make, how):
    """Return a model whose fit was stopped, and its rate before and after."""
    plain = sequential()
    model = compiled(
        lambda: Interruptible(plain.inputs, plain.outputs), run_eagerly=True
    )
    annealed = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: annealed.append(rate_of(model))
    )
    with contextlib.suppress(KeyboardInterrupt):
        fit(model, [make(), note, CtrlC(how)], EPOCHS, validation_data=data(1))
    model.is_interrupted = False
    return model, annealed[-1], rate_of(model)


@functools.cache
def rates_of_stopped(make):
    """Return the rates of a fit that Keras's flag stopped, before and after."""
    return stopped(make, "flag")[1:]


def rate_of(model):
    return _keras.get_learning_rates(model.optimizer)["learning_rate"]


@pytest.mark.slow
@AUTOMATIC
def test_step_that_is_interrupted_leaves_the_rate_without_annealing(make, part):
    annealed, expected = rates_of_stopped(make)
    model, _, rate = stopped(make, "step")
    assert rate == expected
    # Of 24 steps, four were ahead.
    assert annealed == pytest.approx(expected * 4 / 24 / part, rel=1e-5)
    assert not {"train_step", "make_train_function"} & set(model.__dict__)


@pytest.mark.slow
def test_validation_that_is_interrupted_leaves_the_rate_without_annealing():
    """As the whole training leaves it, after whose last step it is interrupted."""
    _, annealed, rate = stopped(keras_lr.LipschitzLR, "validation")
    assert rate == stopped(keras_lr.LipschitzLR, "nothing")[2]
    # Of 24 steps, one was ahead.
    assert annealed == pytest.approx(rate / 24 / 0.5, rel=1e-5)


@pytest.mark.slow
@AUTOMATIC
@pytest.mark.parametrize(
    "refit", ["plain", pytest.param("ours", marks=pytest.mark.slow)]
)
def test_next_fit_after_a_callback_that_raised_starts_without_annealing(
    make, part, refit
):
    _, expected = rates_of_stopped(make)
    model, *_ = stopped(make, "callback")
    rates = []
    note = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: rates.append(rate_of(model))
    )
    fit(model, [note, *([make()] if refit == "ours" else [])], epochs=2)
    assert rates == [expected]


@pytest.mark.slow
def test_rate_that_was_set_after_the_interruption_stays():
    model, *_ = stopped(keras_lr.LipschitzLR, "callback")
    model.optimizer.learning_rate = 0.03125
    fit(model, epochs=1)
    assert rate_of(model) == 0.03125
