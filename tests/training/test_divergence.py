"""`DivergenceGuard`: notices what diverges, and nothing else; puts all back."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lr.training.divergence import DivergenceGuard


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


def has_diverged(model, losses):
    """What the guard says after each of the losses."""
    guard = DivergenceGuard(model)
    said = []
    for loss in losses:
        guard.observe(tf.constant(loss, "float32"))
        said.append(guard.has_diverged())
    return said


def reference(losses):
    """Whether the average over the losses, each 0.9 of the next, is too high."""
    said, best, first = False, losses[0], losses[0]
    for number in range(1, len(losses) + 1):
        weights = 0.9 ** np.arange(number)[::-1]
        average = np.sum(weights * losses[:number]) / np.sum(weights)
        limit = first + 3.0 * abs(first)
        if number >= 7:  # From there on, 1 - 0.9^n is above a half.
            best = min(best, average)
            if best < first - 0.5 * abs(first):
                limit = (first + best) / 2
            said = said or average > limit
        yield said


@pytest.mark.parametrize("scale", [1e-3, 1.0, -1.0, 1e3])
def test_guard_says_what_the_slow_reference_says(model, scale):
    growth = np.random.default_rng(0).normal(0.15, 0.4, size=40)
    losses = scale * np.exp(np.cumsum(growth))
    if scale < 0:
        losses = losses[0] + np.abs(losses)
    said = has_diverged(model, losses)
    assert said == list(reference(losses))
    assert not said[5]
    assert said[-1]


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("before", [0, 3])
def test_loss_that_is_not_finite_is_divergence_for_good(model, loss, before):
    said = has_diverged(model, [1.0] * before + [loss] + [0.5] * 30)
    assert said == [False] * before + [True] * 31


# After 20 losses of 1 the next one x makes the average (0.9 (1 - 0.9^20) + 0.1 x) over
# (1 - 0.9^21), which is 4 at x = 27.7.
@pytest.mark.parametrize(("outlier", "expected"), [(27.6, False), (27.8, True)])
def test_one_outlier_has_to_be_high_to_be_divergence(model, outlier, expected):
    said = has_diverged(model, [1.0] * 20 + [outlier] + [1.0] * 5)
    assert said == [False] * 20 + [expected] * 6


@pytest.mark.parametrize(("losses", "expected"), [(3.99, False), (4.01, True)])
def test_average_of_four_first_losses_is_the_limit(model, losses, expected):
    # The first loss counts for 0.9^200 of the average in the end.
    assert has_diverged(model, [1.0] + [losses] * 200)[-1] is expected


# From 1 to 0.2 in the average, of which the limit is half of the way back, 0.6.
@pytest.mark.parametrize(("later", "expected"), [(0.59, False), (0.61, True)])
def test_half_of_what_was_gained_may_be_lost(model, later, expected):
    losses = [1.0] + [0.2] * 200 + [later] * 200
    assert has_diverged(model, losses)[-1] is expected


def test_little_that_was_gained_may_be_lost(model):
    assert not any(has_diverged(model, [1.0] + [0.6] * 50 + [2.0] * 50))


@pytest.mark.parametrize(("later", "expected"), [(3.9, False), (4.1, True)])
def test_negative_losses_may_rise_by_three_times_their_size(model, later, expected):
    assert has_diverged(model, [-2.0] + [later] * 200)[-1] is expected


def test_negative_losses_that_fall_are_fine(model):
    assert not any(has_diverged(model, -(np.arange(1.0, 50.0) ** 2)))


def test_losses_that_stay_zero_are_fine(model):
    assert not any(has_diverged(model, [0.0] * 20))


def test_guard_is_the_same_inside_a_compiled_step(model):
    guard = DivergenceGuard(model)
    step = tf.function(guard.observe, jit_compile=True)
    losses, said = [1.0, *[0.1] * 9, 2.0, 3.0, 4.0, 0.1], []
    for loss in losses:
        step(tf.constant(loss))
        said.append(guard.has_diverged())
    assert said == list(reference(losses))
    assert said == [False] * 11 + [True] * 3


def test_guard_takes_a_loss_of_any_precision(model):
    guard = DivergenceGuard(model)
    guard.observe(tf.constant(1.0, "float64"))
    guard.observe(tf.constant(2.0, "float16"))
    assert not guard.has_diverged()


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
    assert guard.save()
    fit(model)
    kernel = model.trainable_variables[0]
    assert (kernel.numpy() != saved[0]).all()
    guard.restore()
    for variable, value in zip(variables, saved, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert int(model.optimizer.iterations) == 3


def test_state_is_put_back_as_often_as_needed(model):
    guard = DivergenceGuard(model)
    saved = model.get_weights()
    guard.save()
    for _ in range(2):
        fit(model)
        guard.restore()
        for actual, expected in zip(model.get_weights(), saved, strict=True):
            np.testing.assert_array_equal(actual, expected)


def observe(guard, *losses):
    for loss in losses:
        guard.observe(tf.constant(loss))


def save_as(guard, kernel, value):
    kernel.assign(np.full(kernel.shape, value))
    return guard.save()


def test_state_that_was_followed_by_a_good_epoch_is_put_back(model):
    guard, kernel = DivergenceGuard(model), model.trainable_variables[0]
    assert all(save_as(guard, kernel, value) for value in (1.0, 2.0, 3.0))
    observe(guard, np.nan)
    assert not save_as(guard, kernel, 4.0)
    for _ in range(2):
        guard.restore()
        assert np.unique(kernel.numpy()) == [2.0]


def test_state_put_back_has_to_prove_itself_again(model):
    guard, kernel = DivergenceGuard(model), model.trainable_variables[0]
    for value in (1.0, 2.0, 3.0):
        save_as(guard, kernel, value)
    guard.restore()
    save_as(guard, kernel, 5.0)
    guard.restore()
    assert np.unique(kernel.numpy()) == [2.0]


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
    observe(guard, 1.0, *[0.1] * 20, np.nan)
    assert guard.has_diverged()
    guard.restore()
    observe(guard, *[3.9] * 20)
    assert not guard.has_diverged()
    observe(guard, *[4.1] * 200)
    assert guard.has_diverged()
