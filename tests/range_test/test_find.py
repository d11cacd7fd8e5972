import math
import random

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import keras_lr
from tests.small_problem import (
    BATCH,
    FEATURES,
    compiled,
    data,
    fit,
    sequential,
)

QUICK = {"steps": 10, "verbose": 0, "min_learning_rate": 1e-2, "max_learning_rate": 1.0}
"""Few trials; what they suggest is another matter."""
pytestmark = pytest.mark.filterwarnings(
    "ignore:No learning rate lowers", "ignore:The (low|high)est rate that may be tried"
)


class Unpacking(keras.Model):
    """Trains by a step of its own, which unpacks its batch into two."""

    def __init__(self, logs=("loss",), fails_at=math.inf, error=ArithmeticError):
        super().__init__()
        self.dense = keras.layers.Dense(3)
        self.keys, self.fails_at, self.error, self.calls = logs, fails_at, error, 0

    def call(self, x):
        return self.dense(x)

    def train_step(self, batch):
        self.calls += 1
        if self.calls == self.fails_at:
            raise self.error
        x, y = batch
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return dict.fromkeys(self.keys, loss)


def unpacking(**kwargs):
    model = Unpacking(**kwargs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    return model


def busy_model():
    """Return a model with statistics, random masks and metrics, in mid-training."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(3, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = data()
    model.compute_metrics(x, y, model(x, training=True))
    weights = model.trainable_variables
    model.optimizer.apply([keras.ops.ones_like(each) for each in weights], weights)
    model.make_train_function()
    return model


def state_of(model):
    """Return the bits of everything that may have changed."""
    every = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    generators = random.getstate(), str(np.random.get_state())  # noqa: NPY002
    return [each.numpy().tobytes() for each in every], generators


def one_weight(optimizer=None):
    """Return (w - 2)^2 with w = 1 at the start as a model, whose curvature is 2."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.layers[0].set_weights([np.ones((1, 1))])
    model.compile(optimizer or keras.optimizers.SGD(0.01), "mse")
    return model, (np.ones((8, 1), "float32"), np.full((8, 1), 2, "float32"))


def test_trials_are_those_of_gradient_descent_on_a_parabola():
    # Trials begin at 1e-3 if this is no rate to begin at.
    model, parabola = one_weight(keras.optimizers.SGD(0.0))
    result = keras_lr.find_learning_rate(model, parabola, steps=20, verbose=0)
    assert float(model.optimizer.learning_rate) == 0.0
    for trial in result.trials:
        # Each step multiplies the distance by 1 - 2 eta; it diverges above 1.
        factor = 1 - 2 * trial.learning_rate
        losses = [factor ** (2 * step) for step in range(10, 20)]
        assert trial.loss == pytest.approx(np.mean(losses), rel=1e-4)
        assert trial.gain > 0 or trial.learning_rate > 0.99
    assert result.untrained_loss == 1.0
    assert 0.02 < result.suggestion < 1.0
    assert result.is_sure
    assert result.code == (
        f"model.compile(keras.optimizers.SGD({result.suggestion:.3g}), ...)"
    )


def test_model_is_the_same_to_the_last_bit():
    model = busy_model()
    before, function = state_of(model), model.train_function
    keras_lr.find_learning_rate(model, data(), batch_size=BATCH, **QUICK)
    assert state_of(model) == before
    assert model.train_function is function


def test_fit_afterwards_is_the_same_to_the_last_bit():
    weights = []
    for looks in (False, True):
        keras.utils.set_random_seed(0)
        # It is built by its first batch.
        model = keras.Sequential(
            [keras.layers.Dropout(0.2), keras.layers.Dense(3, "softmax")]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        if looks:
            keras_lr.find_learning_rate(model, data(), batch_size=BATCH, **QUICK)
        fit(model, epochs=2, x=data()[0], y=data()[1], batch_size=BATCH, shuffle=True)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "error",
    [pytest.param(ArithmeticError, marks=pytest.mark.slow), KeyboardInterrupt],
)
def test_model_is_the_same_after_an_exception(error):
    model = unpacking(fails_at=1 + 10 + 5, error=error)
    model.dense.build((None, FEATURES))
    before = model.dense.get_weights()
    with pytest.raises(error):
        keras_lr.find_learning_rate(model, data(), batch_size=BATCH, **QUICK)
    for one, other in zip(model.dense.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
    assert int(model.optimizer.iterations) == 0


def test_step_of_the_users_own():
    model = unpacking()
    model.run_eagerly = False
    result = keras_lr.find_learning_rate(model, data(), batch_size=BATCH, **QUICK)
    assert len(result.trials) > 1
    # Its weights were made by the first batch.
    assert model.built
    assert int(model.optimizer.iterations) == 0


def test_step_of_the_users_own_must_return_the_loss():
    with pytest.raises(ValueError, match="Received: logs with cost"):
        keras_lr.find_learning_rate(unpacking(logs=("cost",)), data(), **QUICK)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
            marks=pytest.mark.slow,
        ),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1)),
        pytest.param(
            lambda: keras.optimizers.RMSprop(0.1, use_ema=True, global_clipnorm=1.0),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda: keras.optimizers.AdamW(0.1, weight_decay=0.1),
            marks=pytest.mark.slow,
        ),
        # It divides by the learning rate.
        pytest.param(lambda: keras.optimizers.Ftrl(0.1), marks=pytest.mark.slow),
    ],
    ids=["accumulation", "loss scale", "clipping", "decay", "division"],
)
def test_optimizers(make):
    model, parabola = one_weight(make())
    model.optimizer.build(model.trainable_variables)
    before = state_of(model)
    result = keras_lr.find_learning_rate(model, parabola, **QUICK)
    assert state_of(model) == before
    assert len({trial.loss for trial in result.trials}) == len(result.trials)


def test_losses_that_are_not_finite_end_a_trial_and_are_data():
    model, parabola = one_weight()
    x, y = parabola
    result = keras_lr.find_learning_rate(
        model, (1e10 * x, y), steps=10, min_learning_rate=1e-23, verbose=0
    )
    assert any(trial.gain == -math.inf for trial in result.trials)
    # The curvature is 2e20.
    assert 1e-22 < result.suggestion < 1e-20


def test_without_any_gain_it_is_not_sure():
    model, (x, y) = one_weight()
    model.set_weights([np.full((1, 1), 2.0)])
    with pytest.warns(UserWarning, match="No learning rate lowers the loss clearly"):
        result = keras_lr.find_learning_rate(model, (x, y), **QUICK)
    assert not result.is_sure
    assert "At no rate" in result.reason


# Thousands, as of prices; seconds since 1970.
@pytest.mark.parametrize("size", [1e4, 1e6, 1.7e9])
def test_inputs_that_are_not_scaled_are_said_and_not_learned_from_meanwhile(size):
    x = np.linspace(1.0, 2.0, 64, dtype="float32")[:, None] * size
    model, _ = one_weight()
    untrained = model.evaluate(x, x / size, batch_size=64, verbose=0)
    with pytest.warns(UserWarning, match="are not scaled"):
        found = keras_lr.find_learning_rate(
            model, (x, x / size), batch_size=64, steps=10, verbose=0
        )
    assert found.untrained_loss == pytest.approx(untrained, rel=1e-5)


def test_optimizer_that_divides_by_its_rate_has_a_loss_without_training_too():
    x, y = data()
    model = compiled(optimizer=keras.optimizers.Ftrl(0.1))
    found = keras_lr.find_learning_rate(model, (x, y), batch_size=BATCH, **QUICK)
    assert math.isfinite(found.untrained_loss)


@pytest.mark.parametrize(
    ("low", "high", "suggestion"),
    # The curvature is 2: 0.5 is best, and two digits would be below the limit.
    [(0.5123, 6.0, 0.5123), (1e-6, 5e-5, 2.2e-5)],
)
def test_suggestion_is_within_the_limits(low, high, suggestion):
    model, parabola = one_weight()
    limits = f"Received: (min_learning_rate={low:g}|max_learning_rate={high:g})[.]"
    with pytest.warns(UserWarning, match=limits):
        result = keras_lr.find_learning_rate(
            model,
            parabola,
            min_learning_rate=low,
            max_learning_rate=high,
            steps=10,
            verbose=0,
        )
    assert result.suggestion == pytest.approx(suggestion)
    assert result.reason.startswith("Of the rates that may be tried, one of ")
    assert ("no lower one may be tried" in result.reason) == (low > 0.1)


def test_progress_is_printed_and_an_iterator_at_its_end_is_mentioned(capsys):
    model, parabola = one_weight()
    with pytest.warns(UserWarning, match="has read all 3 batches"):
        keras_lr.find_learning_rate(
            model, iter([parabola] * 3), **{**QUICK, "verbose": 1}
        )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "learning rate 0.01: loss 0.7549"
    assert lines[-1].strip().startswith("model.compile(keras.optimizers.SGD(")


def plain(optimizer="sgd"):
    model = sequential()
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def frozen():
    model = sequential()
    model.trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def with_another():
    model = plain()
    model.other = keras.optimizers.Adam()
    return model


def with_several():
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("MultiOptimizer is public since Keras 3.15")
    first, second = keras.optimizers.SGD(), keras.optimizers.Adam()
    by_name = keras.optimizers.OptimizerMap(first, {"special": second})
    return plain(keras.optimizers.MultiOptimizer(by_name))


COSINE = keras.optimizers.schedules.CosineDecay(0.1, 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (sequential, "a compiled model. Received: model=<Sequential"),
        (lambda: plain(keras.optimizers.SGD(COSINE)), r"<CosineDecay>.*`SGD\(0.01\)`"),
        (lambda: plain(keras.optimizers.SGD(lambda: 0.1)), "learning_rate=<<lambda>>"),
        (lambda: plain(keras_lr.AutoAdam()), "<AutoAdam>, which sets its rate itself"),
        (frozen, "trainable weights"),
        (with_another, "one optimizer. Received: model .* with (sgd|SGD), other"),
        (with_several, "one optimizer. Received: model .* with "),
    ],
    ids=["plain", "schedule", "function", "ours", "frozen", "another", "several"],
)
def test_models_that_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        keras_lr.find_learning_rate(make(), data(), verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "`steps` must be a positive integer. Received: steps=0"),
        ({"steps": 9}, "`steps` must be at least 10"),
        ({"min_learning_rate": 0.0}, "min_learning_rate=0.0"),
        ({"max_learning_rate": math.inf}, "max_learning_rate=inf"),
        (
            {"min_learning_rate": 0.1, "max_learning_rate": 0.5},
            "at least ten times `min_learning_rate`",
        ),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
    ],
    ids=str,
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_lr.find_learning_rate(plain(), data(), verbose=0, **arguments)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (iter(()), "must have at least one batch"),
        (3, "Received: data=<int>"),
        (data()[0], "`data` must be"),
        ((data()[0], data()[1][:5]), "equally many rows"),
        (pd.DataFrame(data()[0]), "Received: data=<DataFrame>"),
        (tf.constant(data()[0]), "Received: data=<EagerTensor>"),
        (tf.data.Dataset.from_tensor_slices(data()), r"`[.]batch[(][.]{3}[)]` first"),
        ([data()] * 3, r"endless or not; for a list of batches pass `iter\(batches\)`"),
        ([data()] * 4, r"endless or not; for a list of batches pass `iter\(batches\)`"),
        ((*data(), np.full(len(data()[1]), np.nan)), "whose loss is nan in batch 1"),
        ((np.full_like(data()[0], np.nan), data()[1]), "must be finite before any"),
    ],
    ids=[
        "empty",
        "number",
        "x",
        "lengths",
        "frame",
        "tensor",
        "samples",
        "three",
        "four",
        "nan weights of rows",
        "nan",
    ],
)
def test_data_that_are_refused(batches, message):
    with pytest.raises(ValueError, match=message):
        keras_lr.find_learning_rate(plain(), batches, verbose=0)


class WithoutNaN(keras.layers.Layer):
    """Zero in place of NaN, as the `relu` of some processors."""

    def call(self, inputs):
        return keras.ops.where(keras.ops.isnan(inputs), 0.0, inputs)


def test_missing_values_that_the_loss_does_not_show_are_refused():
    x, y = data()
    layers = [keras.layers.Dense(8), WithoutNaN(), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers])
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = [each.numpy() for each in model.weights]
    x[0, 0] = np.nan
    with pytest.raises(ValueError, match="The gradient must be finite"):
        keras_lr.find_learning_rate(model, (x, y), verbose=0)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_rate_at_which_weights_and_not_the_loss_are_lost_is_no_gain():
    class Overflows(keras.optimizers.SGD):
        """Sets its weights to infinity at a rate of 0.05 or more."""

        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate)
            limit = keras.ops.where(learning_rate < 0.05, 0.0, np.inf)
            self.assign_add(variable, keras.ops.ones_like(variable) * limit)

    x, y = data()
    model = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dense(1)])
    model.compile(
        Overflows(0.01),
        lambda _, output: keras.ops.mean(
            keras.ops.where(keras.ops.isfinite(output), output, -100.0)
        ),
    )
    result = keras_lr.find_learning_rate(model, (x, y), verbose=0)
    lost = [each.learning_rate for each in result.trials if each.gain == -np.inf]
    assert lost
    assert min(lost) > 0.05 > result.suggestion


def test_x_and_y_may_be_passed_as_in_fit():
    x, y = data()
    results = [
        keras_lr.find_learning_rate(plain(), *each, **QUICK)
        for each in ((x, y), ((x, y),))
    ]
    assert results[0].trials == results[1].trials
    with pytest.raises(ValueError, match="`y` must be left out"):
        keras_lr.find_learning_rate(plain(), iter([(x, y)]), y, **QUICK)


def test_batches_have_a_size_already():
    dataset = tf.data.Dataset.from_tensors(data())
    with pytest.raises(ValueError, match="`batch_size` must be left out"):
        keras_lr.find_learning_rate(plain(), dataset, batch_size=3, verbose=0)


@pytest.mark.slow
def test_on_two_replicas(two_replicas):
    suggestions = []
    for strategy in (two_replicas, tf.distribute.get_strategy()):
        with strategy.scope():
            model = plain(keras.optimizers.SGD(0.1))
        before = model.get_weights()
        result = keras_lr.find_learning_rate(
            model, data(), batch_size=BATCH, steps=20, verbose=0
        )
        suggestions.append(result.suggestion)
        for one, other in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, other)
    assert suggestions[0] == pytest.approx(suggestions[1], rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    model = compiled(optimizer=keras.optimizers.Adam())
    before = state_of(model)
    result = keras_lr.find_learning_rate(model, data(), batch_size=BATCH, verbose=0)
    assert state_of(model) == before
    assert 1e-4 < result.suggestion < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("kwargs", [{"jit_compile": True}, {"steps_per_execution": 3}])
def test_ways_of_compiling(kwargs):
    results = [
        keras_lr.find_learning_rate(
            compiled(**each), data(), batch_size=BATCH, verbose=0
        )
        for each in ({}, kwargs)
    ]
    assert results[1].suggestion == pytest.approx(results[0].suggestion, rel=0.05)
