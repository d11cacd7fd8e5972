"""`DivergenceGuard`: notices what diverges, and nothing else; rolls all back."""

import keras
import numpy as np
import pytest

from keras_lr.training.fit.divergence import DivergenceGuard


@pytest.fixture
def model():
    """A model whose optimizer has slots and a count."""
    return trained_by(keras.optimizers.Adam(0.1))


def trained_by(optimizer):
    hidden = keras.layers.Dense(4), keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((3,)), *hidden, keras.layers.Dense(1)])
    model.compile(optimizer, loss="mse")
    optimizer.build(model.trainable_variables)
    return model


def fit(model, steps=3):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4 * steps, 3)), rng.normal(size=(4 * steps, 1))
    model.fit(x, y, batch_size=4, verbose=0)


def optimizers():
    scaled = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(0.1), initial_scale=4.0, dynamic_growth_steps=2
    )
    return {"adam": keras.optimizers.Adam(0.1), "scaled": scaled}


@pytest.mark.parametrize("name", ["adam", "scaled"])
def test_restored_state_is_the_saved_one_to_the_last_bit(name):
    model = trained_by(optimizers()[name])
    fit(model)
    variables = [*model.weights, *model.optimizer.variables]
    saved = [each.numpy() for each in variables]
    guard = DivergenceGuard(model)
    guard.save()
    fit(model)
    kernel = model.trainable_variables[0]
    assert (kernel.numpy() != saved[0]).all()
    guard.restore()
    for variable, value in zip(variables, saved, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert int(model.optimizer.iterations) == 3


def test_state_is_rolled_back_as_often_as_needed(model):
    guard = DivergenceGuard(model)
    saved = model.get_weights()
    guard.save()
    for _ in range(2):
        fit(model)
        guard.restore()
        for actual, expected in zip(model.get_weights(), saved, strict=True):
            np.testing.assert_array_equal(actual, expected)


def save_as(guard, kernel, value):
    kernel.assign(np.full(kernel.shape, value))
    guard.save()


def test_state_that_was_followed_by_a_good_epoch_is_rolled_back_to(model):
    guard, kernel = DivergenceGuard(model), model.trainable_variables[0]
    for value in (1.0, 2.0, 3.0):
        save_as(guard, kernel, value)
    guard.observe([np.nan])
    save_as(guard, kernel, 4.0)
    for _ in range(2):
        guard.restore()
        assert np.unique(kernel.numpy()) == [2.0]


def test_state_rolled_back_to_has_to_prove_itself_again(model):
    guard, kernel = DivergenceGuard(model), model.trainable_variables[0]
    for value in (1.0, 2.0, 3.0):
        save_as(guard, kernel, value)
    guard.restore()
    save_as(guard, kernel, 5.0)
    guard.restore()
    assert np.unique(kernel.numpy()) == [2.0]


def test_values_go_back_too_until_others_are_accepted(model):
    rate = keras.Variable(0.5)
    guard = DivergenceGuard(model, [rate])
    guard.save()
    rate.assign(4.0)
    guard.restore()
    assert float(rate.value) == 0.5
    rate.assign(0.25)
    guard.accept_values()
    rate.assign(4.0)
    guard.restore()
    assert float(rate.value) == 0.25


def test_optimizer_is_renewed_on_request(model):
    guard = DivergenceGuard(model)
    guard.save()
    own = model.optimizer.variables
    fresh = [each.numpy() for each in own]
    for _ in range(2):
        fit(model)
        guard.save()
    weights = model.get_weights()
    fit(model)
    guard.save()
    guard.restore(renews_optimizer=True)
    for actual, expected in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(actual, expected)
    for variable, value in zip(own, fresh, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_restart_forgets_the_losses_but_the_first(model):
    guard = DivergenceGuard(model)
    guard.save()
    guard.observe([1.0, *[0.1] * 20, np.nan])
    assert guard.has_diverged()
    guard.restore()
    guard.observe([*[3.9] * 20])
    assert not guard.has_diverged()
    guard.observe([*[4.1] * 200])
    assert guard.has_diverged()
