"""`DivergenceGuard`: looks twice, judges by pairs, rolls all back."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lr import _keras
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


def observe(guard, losses, good=np.nan, failed=0.0):
    """Let the guard see steps, `good` being the loss at the good weights."""
    columns = {"failed": failed, "loss_now": np.nan, "loss_of_good": good}
    rows = {name: [value] * len(losses) for name, value in columns.items()}
    guard.observe({"loss": losses} | rows)


def advance(guard, loss=1.0, good=2.0):
    """Let the guard make a copy, and compare it with the good one."""
    observe(guard, [loss] * 16, good)
    observe(guard, [loss] * 8, good)


def started(model, values=(), **options):
    guard = DivergenceGuard(model, values, **options)
    guard.start()
    return guard


@pytest.mark.parametrize("name", ["adam", "scaled"])
def test_restored_state_is_the_saved_one_to_the_last_bit(name):
    model = trained_by(optimizers()[name])
    fit(model)
    variables = [*model.weights, *model.optimizer.variables]
    saved = [each.numpy() for each in variables]
    guard = started(model)
    for _ in range(2):
        fit(model)
        kernel = model.trainable_variables[0]
        assert (kernel.numpy() != saved[0]).all()
        guard.restore()
        for variable, value in zip(variables, saved, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)
        assert int(model.optimizer.iterations) == 3


def set_to(kernel, value):
    kernel.assign(np.full(kernel.shape, value))


def test_copy_is_good_if_the_losses_after_it_are_lower(model):
    kernel = model.trainable_variables[0]
    set_to(kernel, 0.0)
    guard = started(model)
    set_to(kernel, 1.0)
    observe(guard, [1.0] * 16)
    set_to(kernel, 9.0)
    observe(guard, [1.0] * 7, good=2.0)
    # Seven pairs are too few.
    assert np.unique(guard.arrays()["guard_good_0"]) == [0.0]
    observe(guard, [1.0], good=2.0)
    guard.restore()
    assert np.unique(kernel.numpy()) == [1.0]


def test_copy_that_is_no_better_is_not_good(model):
    kernel = model.trainable_variables[0]
    set_to(kernel, 0.0)
    guard = started(model)
    for value, loss, expected in ((1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (3.0, 0.5, 3.0)):
        set_to(kernel, value)
        advance(guard, loss, good=2.0 if value == 1.0 else 1.0)
        assert np.unique(guard.arrays()["guard_good_0"]) == [expected]


def test_no_copy_is_made_under_suspicion(model):
    kernel = model.trainable_variables[0]
    guard = started(model)
    set_to(kernel, 1.0)
    advance(guard)
    set_to(kernel, 5.0)
    observe(guard, [99.0] * 40, good=np.nan)
    for _ in range(2):
        guard.restore()
        assert np.unique(kernel.numpy()) == [1.0]


def test_copies_become_rarer_in_a_long_training(model):
    guard, copies = started(model), []
    for step in range(1, 401):
        before = guard.arrays()["guard_state"]
        observe(guard, [1.0])
        after = guard.arrays()["guard_state"]
        if json.loads(str(before))["last_copy"] != json.loads(str(after))["last_copy"]:
            copies.append(step)
    # At least 16 steps, then a quarter of those so far: s >= 4 / 3 of the last one.
    assert copies == [16, 32, 48, 64, 86, 115, 154, 206, 275, 367]


def test_values_go_back_too_until_others_are_accepted(model):
    rate = keras.Variable(0.5)
    guard = started(model, [rate])
    rate.assign(4.0)
    guard.restore()
    assert float(rate.value) == 0.5
    rate.assign(0.25)
    guard.accept_values()
    rate.assign(4.0)
    guard.restore()
    assert float(rate.value) == 0.25


@pytest.mark.parametrize("steps_before", [0, 1], ids=["fresh", "used"])
def test_optimizer_is_renewed_on_request(model, steps_before):
    if steps_before:
        fit(model, steps_before)
    guard = started(model, renews_optimizer=True)
    optimizer = model.optimizer.variables
    fresh = [each.numpy() for each in optimizer]
    fit(model)
    weights = model.get_weights()
    advance(guard)
    fit(model)
    guard.restore()
    for actual, expected in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(actual, expected)
    for variable, value in zip(optimizer, fresh, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_suspicion_is_confirmed_or_cleared_by_pairs(model):
    guard = started(model)
    observe(guard, [1.0] * 7)
    observe(guard, [9.0] * 9)
    assert guard.is_suspicious
    assert guard.probes
    observe(guard, [9.0] * 8, good=9.0)
    assert guard.is_suspicious
    observe(guard, [9.0] * 8, good=9.0)
    assert not guard.is_suspicious
    assert not guard.has_diverged()
    # Not for 32 steps.
    observe(guard, [99.0] * 31, good=99.0)
    assert not guard.is_suspicious
    observe(guard, [99.0] * 8, good=9.0)
    assert guard.is_suspicious
    assert guard.has_diverged()


def test_first_pairs_are_the_loss_at_the_initial_weights(model):
    """In the losses of the first steps the training may have diverged already."""
    guard = started(model)
    observe(guard, [2.0, *[1e6] * 6, *[4.0] * 9])
    observe(guard, [4.0] * 8, good=2.0)
    # A rise by half of it and no scatter.
    assert guard.has_diverged()


def test_divergence_that_raises_no_suspicion_is_found_where_a_copy_is_due(model):
    guard = started(model)
    advance(guard, 1.0, good=2.0)
    for loss in (1.02, 1.05, 1.1, 1.2, 1.3, 1.4):
        advance(guard, loss, good=1.0)
        assert not guard.is_suspicious
    # Half of the gain from 2 to 1.
    advance(guard, 1.55, good=1.0)
    assert guard.has_diverged()


def test_weights_that_moved_far_in_vain_have_diverged(model):
    kernel = model.trainable_variables[0]
    for move, expected in ((0.0, False), (0.5, False), (20.0, True)):
        guard = started(model)
        before = model.get_weights()
        kernel.assign(kernel.value + move)
        advance(guard, 2.0, good=2.0)
        assert guard.has_diverged() is expected
        kernel.assign(before[0])
        # Once there was progress, it is no rule any more.
        guard = started(model)
        advance(guard, 1.0, good=2.0)
        kernel.assign(kernel.value + move)
        advance(guard, 1.0, good=1.0)
        assert not guard.has_diverged()
        kernel.assign(before[0])


def test_loss_that_no_rate_cures_is_known(model):
    guard = started(model)
    observe(guard, [np.nan] * 16)
    observe(guard, [np.nan] * 8, good=np.nan)
    assert guard.knows_no_cure
    assert not guard.has_diverged()
    observe(guard, [np.nan] * 100)
    assert not guard.is_suspicious


def test_guard_gives_up_where_no_state_gets_far(model):
    guard = started(model)
    for _ in range(7):
        assert not guard.is_off
        observe(guard, [np.nan] * 8)
        observe(guard, [np.nan] * 8, good=1.0)
        assert guard.has_diverged()
        guard.restore()
    assert guard.is_off
    observe(guard, [np.nan] * 16)
    assert not guard.is_suspicious
    assert not guard.probes


def test_progress_between_restarts_is_a_new_beginning(model):
    guard, good = started(model), 1.0
    for _ in range(20):
        observe(guard, [np.nan] * 8)
        observe(guard, [np.nan] * 8, good=good)
        assert guard.has_diverged()
        guard.restore()
        advance(guard, 0.9 * good, good)
        good *= 0.9
    assert not guard.is_off


def test_last_suspicion_of_a_fit_is_judged_by_the_losses_alone(model):
    guard = started(model)
    observe(guard, [10.0**k for k in range(10)])
    assert guard.is_suspicious
    assert not guard.has_diverged()
    guard.conclude()
    assert guard.has_diverged()
    guard = started(model)
    observe(guard, [1.0, 90.0] * 5)
    assert guard.is_suspicious
    guard.conclude()
    assert not guard.has_diverged()


@pytest.mark.parametrize("renews_optimizer", [False, True])
def test_state_in_arrays_is_the_whole_state(model, renews_optimizer):
    rate = keras.Variable(0.5)
    first, second = (
        started(model, [rate], renews_optimizer=renews_optimizer) for _ in range(2)
    )
    for loss in (2.0, 1.0):
        fit(model, 1)
        advance(first, loss, good=3.0 * loss)
    observe(first, [9.0] * 16)
    assert first.is_suspicious
    observe(first, [9.0] * 4, good=0.5)
    named = {name: np.copy(each) for name, each in first.arrays().items()}
    second.set_arrays(named)
    for name, array in second.arrays().items():
        np.testing.assert_array_equal(array, named[name])
    for guard in (first, second):
        observe(guard, [9.0] * 4, good=0.5)
        assert guard.has_diverged()
        fit(model)
        guard.restore()
        np.testing.assert_array_equal(model.get_weights()[0], named["guard_good_0"])


def test_arrays_of_another_model_are_refused(model):
    guard = started(model)
    named = guard.arrays() | {"guard_good_0": np.zeros((2, 2))}
    with pytest.raises(ValueError, match="shapes"):
        guard.set_arrays(named)


class Custom(keras.Sequential):
    """Has a training step of its own, whose loss may be another one."""

    def train_step(self, data):
        return super().train_step(data)


@pytest.mark.parametrize("kind", [keras.Sequential, Custom])
def test_pair_is_the_loss_of_a_batch_at_both_weights(kind):
    x, y = np.float32([[1.0, 2.0]]), np.float32([[5.0]])
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = kind([keras.Input((2,)), layer])
    model.compile(keras.optimizers.SGD(loss_scale_factor=8.0), loss="mse")
    model.optimizer.build(model.trainable_variables)
    guard = started(model)
    assert np.isnan([float(each) for each in guard.look((x, y)).values()]).all()
    observe(guard, [np.nan] * 16)
    set_to(layer.kernel, 1.1)
    pair = {name: float(each) for name, each in guard.look((x, y)).items()}
    # (5 - 1.1 * 3)^2 and (5 - 3)^2. A standard step says the first itself.
    now = 2.89 if kind is Custom else np.nan
    expected = {"loss_now": now, "loss_of_good": 4.0}
    assert pair == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_pair_has_the_same_random_numbers_and_leaves_no_trace():
    layers = [keras.layers.Dropout(0.5, seed=1), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    model.optimizer.build(model.trainable_variables)
    batch = np.random.default_rng(0).normal(size=(2, 8, 4)).astype("float32")
    guard = started(model)
    observe(guard, [np.nan] * 16)
    state = [np.copy(each.numpy()) for each in model.variables]
    data = batch[0], batch[1][:, :1]
    pair = [float(guard.look(data)["loss_of_good"]) for _ in range(2)]
    assert pair[0] == pair[1]
    assert pair[0] == float(_keras.training_loss(model, data))
    changed = [
        bool((variable.numpy() != value).any())
        for variable, value in zip(model.variables, state, strict=True)
    ]
    # The last line has trained the statistics and drawn a mask.
    assert sum(changed) == 3


def test_model_whose_loss_only_its_own_step_knows_is_judged_by_its_losses():
    class Silent(keras.Model):
        def call(self, x):
            raise NotImplementedError

    model = Silent()
    model.compile("sgd")
    model.built = True
    model.optimizer.build([])
    guard = started(model)
    pair = tf.function(guard.look)(np.ones((2, 2)))
    assert np.isnan([float(each) for each in pair.values()]).all()
    observe(guard, [1.0] * 16)
    observe(guard, [1.0] * 16)
    observe(guard, [9.0] * 16)
    assert guard.has_diverged()
