"""A callback beside others: who else sets the rate, ends the fit, has the callback."""

import threading

import keras
import numpy as np
import pytest

import keras_lr
from tests.small_problem import compiled, fit

# Keras converts TensorFlow's variables, which do not take NumPy 2's `copy`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def small():
    return compiled(run_eagerly=True)


def said(warnings):
    return [str(x.message) for x in warnings if x.category is UserWarning]


SETTERS = {
    "ReduceLROnPlateau": lambda: keras.callbacks.ReduceLROnPlateau("loss"),
    "LearningRateScheduler": lambda: keras.callbacks.LearningRateScheduler(
        lambda epoch, rate: 0.01
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        "LearningRateScheduler",
        pytest.param("ReduceLROnPlateau", marks=pytest.mark.slow),
    ],
)
def test_callback_that_sets_the_rate_too_is_noticed_at_the_start(name):
    message = rf"^`LipschitzLR` sets .* no other .* `LipschitzLR` and {name}: "
    with pytest.warns(UserWarning, match=message) as caught:
        fit(small(), [SETTERS[name](), keras_lr.LipschitzLR()])
    assert len(said(caught)) == 1


def test_two_of_ours_notice_each_other():
    with pytest.warns(UserWarning, match="no other callback") as caught:
        fit(small(), [keras_lr.LearningRateWalk(1.01), keras_lr.LipschitzLR()], 1)
    names = [each.split("`")[1] for each in said(caught)]
    assert names == ["LearningRateWalk", "LipschitzLR"]


@pytest.mark.parametrize(
    "pair",
    [
        (keras_lr.MARTHE, keras_lr.LearningRateWalk),
        pytest.param(
            (keras_lr.LearningRateWalk, keras_lr.HypergradientDescent),
            marks=pytest.mark.slow,
        ),
        pytest.param((keras_lr.MARTHE, keras_lr.MARTHE), marks=pytest.mark.slow),
    ],
)
def test_two_that_take_the_step_are_refused_and_leave_the_model_usable(pair):
    model = small()
    first, second = (each.__name__ for each in pair)
    message = rf"`{first}` takes .* Received: `{first}` and {second}[.] Leave"
    with pytest.raises(ValueError, match=message):
        fit(model, [make() for make in pair], 1)
    fit(model, [pair[1]()], 1)


class OwnSetter(keras.callbacks.Callback):
    """Sets the rate as a user's own callback does, of whose class nobody knows."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch > 0:
            self.model.optimizer.learning_rate = 0.125


def test_rate_that_something_else_sets_is_noticed_once():
    message = r"Something has set the learning rate .* `LipschitzLR` sets it in"
    with pytest.warns(UserWarning, match=message) as caught:
        fit(small(), [keras_lr.LipschitzLR(), OwnSetter()])
    assert len(said(caught)) == 1


def test_early_stopping_that_may_end_before_the_annealing_is_noticed():
    early = keras.callbacks.EarlyStopping("loss", patience=5)
    with pytest.warns(UserWarning, match=r"never comes .* pass `anneal=0.0` to `Lip"):
        fit(small(), [early, keras_lr.LipschitzLR()], 1)
    # A second warning would be an error.
    fit(small(), [early, keras_lr.LipschitzLR(anneal=0.0)], 1)


class Nested(keras.callbacks.Callback):
    """Trains another model with the same callbacks in the middle of a fit."""

    def __init__(self, callbacks):
        super().__init__()
        self.callbacks = callbacks

    def on_epoch_end(self, epoch, logs=None):
        fit(small(), self.callbacks, 1)


IN_ANOTHER = r"`LipschitzLR` must be in one fit at a time.*Make a `LipschitzLR` for"


def test_callback_in_two_models_at_once_is_refused():
    callback = keras_lr.LipschitzLR()
    with pytest.raises(ValueError, match=IN_ANOTHER):
        fit(small(), [callback, Nested([callback])])


def test_recorder_in_two_models_at_once_is_refused():
    callback = keras_lr.LearningRateRecorder()
    with pytest.raises(ValueError, match="`LearningRateRecorder` must be in one fit"):
        fit(small(), [callback, Nested([callback])])
    fit(small(), [callback], 1)


def test_callback_in_two_threads_at_once_is_refused():
    callback, errors = keras_lr.LipschitzLR(), []

    class InThread(Nested):
        def on_epoch_end(self, epoch, logs=None):
            thread = threading.Thread(target=self.train)
            thread.start()
            thread.join()

        def train(self):
            try:
                fit(small(), self.callbacks, 1)
            except ValueError as error:
                errors.append(str(error))

    fit(small(), [callback, InThread([callback])], 1)
    assert len(errors) == 1
    assert "must be in one fit at a time" in errors[0]


def test_callback_goes_to_another_model_after_a_fit_that_failed():
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ArithmeticError

    callback = keras_lr.LipschitzLR()
    with pytest.raises(ArithmeticError):
        fit(small(), [callback, Fails()])
    other = small()
    fit(other, [callback], 1)
    expected = small()
    fit(expected, [keras_lr.LipschitzLR()], 1)
    for weight, value in zip(other.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, value)
