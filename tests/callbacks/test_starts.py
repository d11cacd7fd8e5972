"""Where a fit starts: at a later epoch, on a frozen model, on data with a NaN."""

import keras
import numpy as np
import pytest

import keras_lr
from tests.small_problem import compiled, data, fit

# The fastest to trace of those that start from a hundredth.
METHOD = keras_lr.HypergradientDescent


def rates(callback):
    return callback.history["learning_rate"]


def test_given_rate_is_where_a_new_callback_starts_at_a_later_epoch():
    """0.1.0 ignored it, and started at the compiled rate of 0.05."""
    callback = METHOD(initial_learning_rate=0.003, anneal=0.0)
    fit(compiled(), [callback], 6, initial_epoch=5)
    assert rates(callback)[0] == pytest.approx(0.003, rel=1e-6)


@pytest.mark.parametrize("is_new", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_unfrozen_model_that_is_compiled_anew_starts_from_a_hundredth(is_new):
    """As in transfer learning: train the head, unfreeze, compile, continue."""
    model = compiled()
    model.layers[0].trainable = False
    model.compile(keras.optimizers.SGD(0.25), "sparse_categorical_crossentropy")
    first = METHOD(anneal=0.0)
    fit(model, [first], 2)
    model.layers[0].trainable = True
    model.compile(keras.optimizers.SGD(0.125), "sparse_categorical_crossentropy")
    second = METHOD(anneal=0.0) if is_new else first
    before = 0 if is_new else len(rates(first))
    fit(model, [second], 4, initial_epoch=2)
    assert rates(second)[before] == pytest.approx(0.125 / 100, rel=1e-6)


@pytest.mark.parametrize(
    "make",
    [METHOD, keras_lr.MARTHE, keras_lr.LearningRateWalk],
    ids=lambda c: c.__name__,
)
def test_frozen_model_is_refused(make):
    model = compiled()
    model.trainable = False
    model.compile(keras.optimizers.SGD(0.25), "sparse_categorical_crossentropy")
    message = "needs a model with trainable weights.*none among its 4 weights"
    with pytest.raises(ValueError, match=message):
        fit(model, [make()])


def test_validation_data_with_a_nan_are_refused_before_the_first_step():
    x, y = data()
    x[3, 1] = np.nan
    model = compiled()
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"`validation_data` must be finite.*1 of 22"):
        fit(model, [keras_lr.MARTHE((x, y))])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
