import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lr
from keras_lr.comparison import policies
from keras_lr.comparison.policies import Policy
from keras_lr.comparison.runner import (
    RunRecord,
    RunSettings,
    has_risen,
    resolve_monitor,
    train,
)
from tests.comparison import linear_problem as problem

SETTINGS = RunSettings(epochs=3, batch_size=problem.BATCH)
STEPS = 6  # Two batches in each of three epochs.


def run(policy, settings=SETTINGS, build_model=problem.build_model, **kwargs):
    return train(build_model, problem.DATA, policy, settings, **kwargs)


def test_losses_are_those_of_gradient_descent_by_hand():
    record = run(policies.constant(0.25))
    # The error halves in each step: after an epoch, 2 / 4, then 2 / 16, 2 / 64.
    np.testing.assert_allclose(record.logs["val_loss"], [2**-2, 2**-6, 2**-10])
    assert record.initial_loss == 4
    assert (record.monitor, record.mode) == ("val_loss", "min")
    assert record.final_metric == record.best_metric == 2**-10
    assert (record.steps, record.diverged, record.error) == (STEPS, False, None)


def test_weights_of_the_training_rows_weigh_their_losses():
    weighted = ((problem.X, 2 * problem.X, np.full(problem.ROWS, 0.5, "float32")),)
    record = train(
        problem.build_model,
        (*weighted, problem.DATA[1]),
        policies.constant(0.5),
        SETTINGS,
    )
    # Half of the gradient and twice the rate: as above. The validation has no weights.
    np.testing.assert_allclose(record.logs["val_loss"], [2**-2, 2**-6, 2**-10])
    assert record.initial_loss == 4 * 0.5


def test_start_kind_and_code_of_a_run_are_known():
    record = run(policies.constant(0.25))
    assert (record.name, record.start, record.kind) == ("constant", 0.25, "constant")
    assert record.code == "model.optimizer.learning_rate = 0.25"
    assert (run(policies.default_rate()).start, record.error) == (None, None)


def test_optimizer_with_a_cosine_has_it_as_multiple():
    record = run(policies.adamo_cosine(momentum=0.5))
    assert (record.name, record.kind) == ("adamo_cosine", "optimizer")
    assert record.code.splitlines() == [
        "model.compile(keras_lr.AdaMo(momentum=0.5), ...)",
        "model.optimizer.learning_rate = keras.optimizers.schedules.CosineDecay("
        "initial_learning_rate=1, decay_steps=6, alpha=0, warmup_target=None, "
        "warmup_steps=0)",
    ]
    # After five of six steps (1 + cos(5 pi / 6)) / 2 = 0.067 are left of the rate.
    plain = run(policies.adamo(momentum=0.5))
    first, *_, last = zip(record.learning_rates, plain.learning_rates, strict=True)
    assert last[0] / last[1] < 0.5 < first[0] / first[1] < 1


def test_code_of_a_schedule_has_the_steps_of_the_run():
    code = run(policies.cosine_decay()).code
    # The compiled rate is read back from float32.
    assert "CosineDecay(initial_learning_rate=0.1, decay_steps=6, " in code


def test_rate_of_the_compiled_model_is_kept_by_default():
    record = run(policies.default_rate())
    np.testing.assert_allclose(record.learning_rates, 3 * [0.1])


def test_schedule_runs_over_the_steps_of_the_run():
    record = run(policies.cosine_decay(0.2))
    used = 0.1 * (1 + np.cos(np.pi * np.array([1, 3, 5]) / STEPS))
    np.testing.assert_allclose(record.learning_rates, used, rtol=1e-6)
    by_hand = 4.0
    for step in range(STEPS):
        by_hand *= (1 - 2 * 0.1 * (1 + np.cos(np.pi * step / STEPS))) ** 2
    np.testing.assert_allclose(record.final("val_loss"), by_hand, rtol=1e-5)


def test_recorded_rate_is_the_one_that_was_used():
    policy = policies.reduce_on_plateau(1e-9, patience=1, factor=0.5, min_delta=1)
    record = run(policy)
    # The loss does not improve by 1 after the first epoch: halved after the second.
    np.testing.assert_allclose(record.learning_rates, [1e-9, 1e-9, 5e-10])


def test_schedule_of_the_compiled_model_is_recorded_as_it_was_used():
    def build_model():
        halving = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
        return problem.build_model(keras.optimizers.SGD(halving))

    record = run(policies.default_rate(), build_model=build_model)
    # The second, fourth and sixth step.
    assert record.learning_rates == [2**-2, 2**-4, 2**-6]


def effective_rates(callbacks=None):
    """Train by steps of length 0.25, and return the recorded and the logged rates."""

    def build_model():
        optimizer = keras_lr.AdaMo(momentum=0.0, variant="paper")
        return problem.build_model(optimizer)

    policy = Policy("normalized", 0.25, callbacks=callbacks)
    record = run(policy, build_model=build_model)
    return record.learning_rates, record.logs.get("learning_rate")


def test_rate_of_an_optimizer_that_finds_its_own_is_the_effective_one():
    # The weight is 0.25, 0.75, 1.25 before each epoch's second step; K = 2 (2 - w).
    expected = pytest.approx([0.25 / 3.5, 0.25 / 2.5, 0.25 / 1.5], rel=1e-7)
    assert effective_rates() == (expected, None)


@pytest.mark.slow
def test_effective_rate_comes_before_a_logged_multiple():
    def log_the_multiple():
        return [keras.callbacks.ReduceLROnPlateau("loss", patience=9)]

    recorded, logged = effective_rates(log_the_multiple)
    assert logged == [0.25] * 3
    assert recorded == effective_rates()[0]


def test_gradient_evaluations_are_steps_times_the_cost_of_a_step():
    record = run(Policy("three", 0.1, gradient_evaluations_per_step=3))
    assert record.gradient_evaluations == 3 * STEPS


def test_steps_count_batches_also_when_several_run_in_one_execution():
    def build_model():
        model = problem.build_model()
        model.compile("sgd", "mse", steps_per_execution=4)
        return model

    assert run(policies.constant(0.1), build_model=build_model).steps == STEPS


def test_loss_that_ends_above_its_start_has_diverged():
    # At 1.1 the error grows by 1.2 in each step, and stays finite.
    record = run(policies.constant(1.1))
    assert record.diverged
    assert np.isfinite(record.final_metric)


def test_dropout_that_raises_the_training_loss_is_no_divergence():
    def build_model():
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dropout(0.9), keras.layers.Dense(1, use_bias=False)]
        model = keras.Sequential([keras.Input((1,)), *layers])
        model.compile("sgd", "mse")
        # Without dropout the loss is 0.0004, with it that of inputs of 0 or 10.
        model.set_weights([np.full((1, 1), 1.98, "float32")])
        return model

    record = run(policies.constant(1e-12), build_model=build_model)
    assert record.final("loss") > 100 * record.initial_loss > 0
    assert not record.diverged


@pytest.mark.parametrize("sign", [1, -1])
def test_loss_that_another_rounding_leaves_above_its_start_has_not_risen(sign):
    loss = sign * np.float32(1.5794173)
    above = np.nextafter(loss, np.float32(np.inf))
    assert above > loss
    assert not has_risen(float(loss), float(above))
    assert not has_risen(float(loss), float(loss - 1))


@pytest.mark.parametrize(
    ("first", "last"),
    [(1.0, 1.0001), (-1.0, -0.9999), (0.0, 1e-9), (1.0, np.nan), (1.0, np.inf)],
)
def test_loss_that_is_higher_or_not_finite_has_risen(first, last):
    assert has_risen(first, last)


def test_second_epoch_with_a_loss_that_is_not_finite_is_the_last():
    record = run(policies.constant(1e25), RunSettings(5, problem.BATCH))
    assert record.diverged
    assert len(record.learning_rates) == 2


class _RollBack(keras.callbacks.Callback):
    """Breaks the first epoch, and rolls the weights back after it."""

    def on_train_begin(self, logs=None):
        self.start = self.model.get_weights()
        self.model.set_weights([np.full_like(each, np.nan) for each in self.start])

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.model.set_weights(self.start)


def test_run_that_is_rolled_back_continues():
    policy = policies.Policy("rolled_back", 0.1, callbacks=lambda: [_RollBack()])
    record = run(policy, RunSettings(3, problem.BATCH))
    assert len(record.learning_rates) == 3
    assert np.isnan(record.logs["loss"][0])
    assert not record.diverged


class _RolledBack(keras_lr.LipschitzLR):
    """Notes that it rolled the training back after three and after five steps."""

    def on_train_end(self, logs=None):
        super().on_train_end(logs)
        self.restarts += [3, 5]


def test_how_often_our_callbacks_rolled_back_is_recorded():
    policy = Policy("rolled_back", 0.1, callbacks=lambda: [_RolledBack()])
    assert run(policy, RunSettings(1, problem.BATCH)).restarts == 2
    assert run(policies.constant(0.25)).restarts == 0


class _BatchLosses(keras.callbacks.Callback):
    """Keeps losses; the random numbers that it draws must not disturb the others."""

    def __init__(self, losses, draws):
        super().__init__()
        self.losses = losses
        keras.random.normal((draws,))
        tf.random.normal((draws,))
        random.random()

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])


def test_policies_share_initial_weights_and_batch_order_at_a_seed(rng):
    x = rng.normal(size=(12, 3)).astype("float32")
    y = rng.normal(size=(12, 1)).astype("float32")

    def build_model():
        layers = [keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        model.compile("sgd", "mse")
        return model

    def batch_losses(seed, draws):
        losses = []
        policy = Policy("p", 1e-30, callbacks=lambda: [_BatchLosses(losses, draws)])
        settings = RunSettings(2, 3)
        train(build_model, ((x, y), (x, y)), policy, settings, seed=seed)
        return losses

    assert batch_losses(0, draws=1) == batch_losses(0, draws=5)
    assert batch_losses(0, draws=1) != batch_losses(1, draws=1)


def test_first_metric_is_monitored_and_judged_by_its_direction():
    def build_model():
        return problem.build_model(metrics=["mae", keras.metrics.R2Score(name="r2")])

    record = run(policies.constant(0.25), build_model=build_model)
    assert (record.monitor, record.mode) == ("val_mae", "min")
    np.testing.assert_allclose(record.metric, [2**-1, 2**-3, 2**-5])


def test_monitor_must_be_a_metric_of_the_model():
    model = problem.build_model()
    model.evaluate(*problem.DATA[0], verbose=0)
    with pytest.raises(ValueError, match="must be one of the model's metrics"):
        resolve_monitor(model, "val_accuracy", None)


def inaccuracy(y, predicted):
    return keras.ops.mean(keras.ops.abs(y - predicted) > 0.5)


def accumulated_cost(y, predicted):
    return keras.ops.mean(keras.ops.abs(y - predicted))


@pytest.mark.parametrize("metric", [inaccuracy, accumulated_cost])
def test_direction_of_a_metric_that_keras_does_not_know_must_be_given(metric):
    model = problem.build_model(metrics=[metric])
    model.evaluate(*problem.DATA[0], verbose=0)
    with pytest.raises(ValueError, match="Pass `mode='max'` or `mode='min'`"):
        resolve_monitor(model, None, None)
    assert resolve_monitor(model, None, "min") == (metric.__name__, "min")


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        (keras.metrics.MeanIoU(2), "max"),
        (keras.metrics.MeanSquaredError(name="accuracy_of_a_kind"), "min"),
        (keras.metrics.AUC(name="q"), "max"),
        ("mae", "min"),
        ("accuracy", "max"),
    ],
)
def test_direction_of_a_metric_is_that_of_keras(metric, mode):
    model = problem.build_model(metrics=[metric])
    model.evaluate(problem.X, problem.X, verbose=0)
    assert resolve_monitor(model, None, None)[1] == mode


def test_directions_of_several_outputs_are_known():
    x = keras.Input((1,))
    outputs = {name: keras.layers.Dense(1, name=name)(x) for name in ("a", "b")}
    model = keras.Model(x, outputs)
    metrics = {"a": ["accuracy"], "b": ["mae"]}
    model.compile("sgd", dict.fromkeys("ab", "mse"), metrics=metrics)
    model.evaluate(problem.X, dict.fromkeys("ab", problem.X), verbose=0)
    modes = {
        name: resolve_monitor(model, name, None)[1]
        for name in ("a_accuracy", "b_mae", "a_loss", "loss")
    }
    assert modes == {
        "a_accuracy": "max",
        "b_mae": "min",
        "a_loss": "min",
        "loss": "min",
    }


def test_best_metric_ignores_what_is_not_finite():
    logs = {"val_acc": [0.5, 0.75, float("nan")]}
    record = RunRecord("p", 0, monitor="val_acc", mode="max", logs=logs)
    assert record.best_metric == 0.75
    assert np.isnan(record.final_metric)


def test_record_without_epochs_has_no_metric():
    record = RunRecord("p", 0, monitor="val_acc")
    assert np.isnan([record.final_metric, record.best_metric]).all()


class Poison(keras.callbacks.Callback):
    """Makes the weights NaN before the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            weights = self.model.get_weights()
            self.model.set_weights([np.nan * weight for weight in weights])


def test_metric_of_weights_that_are_not_finite_is_none():
    def build_model():
        return problem.build_model(metrics=["accuracy"])

    policy = Policy("poisoned", callbacks=lambda: [Poison()])
    record = run(policy, build_model=build_model)
    # What predicts NaN is never right here, and would be with one class of 0.
    np.testing.assert_array_equal(record.logs["val_accuracy"], [0.0, np.nan, np.nan])
    assert record.diverged
    assert np.isnan(record.final_metric)
    assert record.validation_rows == problem.ROWS
