"""`DivergenceGuard`: looks twice, judges by pairs, rolls all back."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

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


def observe(guard, losses, now=np.nan, good=np.nan, failed=0.0):
    """Let the guard see steps, `now` and `good` being the two losses of each batch."""
    columns = {"failed": failed, "loss_now": now, "loss_of_good": good}
    rows = {name: [value] * len(losses) for name, value in columns.items()}
    guard.observe({"loss": losses} | rows)


def started(model, values=()):
    guard = DivergenceGuard(model, values)
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


def test_state_is_good_if_nothing_was_suspicious_up_to_the_next_copy(model):
    kernel = model.trainable_variables[0]
    set_to(kernel, 0.0)
    guard = started(model)
    # Copies after 16, 32, 48 and 64 steps, the last but one is the good one.
    for value, good in ((1.0, 0.0), (2.0, 1.0), (3.0, 2.0), (4.0, 3.0)):
        set_to(kernel, value)
        observe(guard, [1.0] * 16)
        assert np.unique(guard.arrays()["guard_good_0"]) == [good]
    # None while the training is under suspicion.
    set_to(kernel, 5.0)
    observe(guard, [99.0] * 16)
    assert guard.is_suspicious
    for _ in range(2):
        guard.restore()
        assert np.unique(kernel.numpy()) == [3.0]


def test_state_rolled_back_to_has_to_prove_itself_again(model):
    kernel = model.trainable_variables[0]
    guard = started(model)
    for value in (1.0, 2.0, 3.0):
        set_to(kernel, value)
        observe(guard, [1.0] * 16)
    guard.restore()
    set_to(kernel, 5.0)
    observe(guard, [1.0] * 16)
    guard.restore()
    assert np.unique(kernel.numpy()) == [2.0]


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


def test_optimizer_is_renewed_on_request(model):
    guard = started(model)
    optimizer = model.optimizer.variables
    fresh = [each.numpy() for each in optimizer]
    for _ in range(2):
        fit(model)
        weights = model.get_weights()
        observe(guard, [1.0] * 16)
    fit(model)
    observe(guard, [1.0] * 16)
    guard.restore(renews_optimizer=True)
    for actual, expected in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(actual, expected)
    for variable, value in zip(optimizer, fresh, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_suspicion_is_confirmed_or_cleared_by_pairs(model):
    guard = started(model)
    observe(guard, [1.0] * 40)
    observe(guard, [9.0] * 16)
    assert guard.is_suspicious
    observe(guard, [9.0] * 8, now=9.0, good=9.0)
    assert guard.is_suspicious
    observe(guard, [9.0] * 8, now=9.0, good=9.0)
    assert not guard.is_suspicious
    assert not guard.has_diverged()
    # Not for 32 steps.
    observe(guard, [99.0] * 31)
    assert not guard.is_suspicious
    observe(guard, [99.0] * 8)
    observe(guard, [99.0] * 8, now=99.0, good=9.0)
    assert guard.has_diverged()


def test_loss_that_no_rate_cures_is_known(model):
    guard = started(model)
    observe(guard, [np.nan] * 16)
    observe(guard, [np.nan] * 8, now=np.nan, good=np.nan)
    assert guard.knows_no_cure
    assert not guard.has_diverged()
    observe(guard, [np.nan] * 100)
    assert not guard.is_suspicious


def test_guard_gives_up_where_no_state_gets_far(model):
    guard = started(model)
    for _ in range(7):
        assert not guard.is_off
        observe(guard, [np.nan] * 16)
        observe(guard, [np.nan] * 8, now=np.nan, good=1.0)
        assert guard.has_diverged()
        guard.restore()
    assert guard.is_off
    observe(guard, [np.nan] * 16)
    assert not guard.is_suspicious


def test_progress_between_restarts_is_a_new_beginning(model):
    guard = started(model)
    for _ in range(20):
        observe(guard, [np.nan] * 16)
        observe(guard, [np.nan] * 8, now=np.nan, good=1.0)
        guard.restore()
        for _ in range(4):
            observe(guard, [1.0] * 64)
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


def test_state_in_arrays_is_the_whole_state(model):
    rate = keras.Variable(0.5)
    first, second = started(model, [rate]), started(model, [rate])
    for losses in ([2.0] * 16, [1.0] * 32, [0.5] * 16, [2.4] * 16):
        fit(model, 1)
        observe(first, losses)
    assert first.is_suspicious
    observe(first, [2.4] * 4, now=2.4, good=0.5)
    named = {name: np.copy(each) for name, each in first.arrays().items()}
    second.set_arrays(named)
    for name, array in second.arrays().items():
        np.testing.assert_array_equal(array, named[name])
    for guard in (first, second):
        observe(guard, [2.4] * 4, now=2.4, good=0.5)
        assert guard.has_diverged()
        fit(model)
        guard.restore(renews_optimizer=True)
        np.testing.assert_array_equal(model.get_weights()[0], named["guard_good_0"])


def test_arrays_of_another_model_are_refused(model):
    guard = started(model)
    named = guard.arrays() | {"guard_good_0": np.zeros((2, 2))}
    with pytest.raises(ValueError, match="shapes"):
        guard.set_arrays(named)


def looked_at(model, batch):
    """The pair of a batch, once while nothing is suspicious and once while it is."""
    guard = started(model)
    before = {name: float(each) for name, each in guard.look(batch).items()}
    observe(guard, [np.nan] * 16)
    weights = model.get_weights()
    model.set_weights([each + 0.1 for each in weights])
    pair = {name: float(each) for name, each in guard.look(batch).items()}
    model.set_weights(weights)
    return before, pair


def test_pair_is_the_loss_of_a_batch_at_both_weights():
    x, y = np.float32([[1.0, 2.0]]), np.float32([[5.0]])
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((2,)), layer])
    model.compile(keras.optimizers.SGD(loss_scale_factor=8.0), loss="mse")
    model.optimizer.build(model.trainable_variables)
    before, pair = looked_at(model, (x, y))
    assert np.isnan(list(before.values())).all()
    # (5 - 1.1 * 3)^2 and (5 - 3)^2.
    assert pair == pytest.approx({"loss_now": 2.89, "loss_of_good": 4.0}, rel=1e-5)


def test_pair_has_the_same_random_numbers_and_leaves_no_trace():
    layers = [keras.layers.Dropout(0.5, seed=1), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    model.optimizer.build(model.trainable_variables)
    batch = np.random.default_rng(0).normal(size=(2, 8, 4)).astype("float32")
    guard = started(model)
    observe(guard, [np.nan] * 16)
    state = [np.copy(each.numpy()) for each in model.variables]
    pair = guard.look((batch[0], batch[1][:, :1]))
    assert float(pair["loss_now"]) == float(pair["loss_of_good"])
    for variable, value in zip(model.variables, state, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_model_whose_loss_only_its_own_step_knows_is_judged_by_its_losses():
    class Custom(keras.Model):
        def call(self, x):
            raise NotImplementedError

    model = Custom()
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
