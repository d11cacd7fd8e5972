"""What every public optimizer of the package must do inside `fit`."""

import functools

import keras
import numpy as np
import pytest

import keras_lr
from keras_lr import _keras
from tests import small_problem
from tests.every_optimizer import (
    EXACTLY,
    assert_same,
    every_default,
    state,
    values,
)
from tests.small_problem import BATCH, CLASSES, FEATURES, data, fit

# A rounding of the weights' last bits, over 24 steps in another order of summation.
CLOSE = {"rtol": 2e-5, "atol": 2e-6}
RATE = 0.25
LOSS = "sparse_categorical_crossentropy"
# The part of the data in which all batches have the same shape.
EVEN = {"x": data()[0][:20], "y": data()[1][:20], "batch_size": BATCH, "shuffle": False}


def compiled(optimizer, **kwargs):
    """Return a linear model, whose steps are traced faster than those of a network."""
    kernel = keras.initializers.GlorotUniform(seed=1)
    layer = keras.layers.Dense(CLASSES, "softmax", kernel_initializer=kernel)
    model = keras.Sequential([keras.Input((FEATURES,)), layer])
    model.compile(optimizer, LOSS, **kwargs)
    # TensorFlow traces a step twice that makes variables.
    model.optimizer.build(model.trainable_variables)
    return model


def train(case, epochs=4, callbacks=(), **kwargs):
    model = compiled(case(learning_rate=RATE), **kwargs)
    fit(model, callbacks, epochs)
    return model


def leaf(model):
    return _keras.leaf_optimizers(model.optimizer)[0]


def result(model):
    """Return the weights, and what the optimizer adds to Keras's state."""
    return [*model.get_weights(), *state(leaf(model)).values()]


@functools.cache
def expected(case):
    """Return the result of four epochs of plain training."""
    return tuple(result(train(case)))


@pytest.mark.slow
@every_default
def test_eager_training_equals_the_traced_one(case):
    assert_same(result(train(case, run_eagerly=True)), expected(case), **CLOSE)


@every_default
@pytest.mark.parametrize(
    "compile_kwargs",
    [
        pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
        {"steps_per_execution": 3},
    ],
    ids=str,
)
def test_every_way_to_compile_trains_alike(case, compile_kwargs):
    assert_same(result(train(case, **compile_kwargs)), expected(case), **CLOSE)


@every_default
def test_loaded_model_continues_as_the_saved_one(case, tmp_path):
    model = train(case, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(
        values(loaded.optimizer.variables),
        values(model.optimizer.variables),
        **EXACTLY,
    )
    fit(loaded, epochs=2)
    assert_same(result(loaded), expected(case), **EXACTLY)


@every_default
def test_weights_file_holds_the_state_of_the_optimizer(case, tmp_path):
    path = tmp_path / "model.weights.h5"
    train(case, epochs=2).save_weights(path)
    model = compiled(case(learning_rate=RATE))
    model.optimizer.build(model.trainable_variables)
    model.load_weights(path)
    fit(model, epochs=2)
    assert_same(result(model), expected(case), **EXACTLY)


class Interrupt(keras.callbacks.Callback):
    """Raises in the middle of the third epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == 2 * small_problem.STEPS + 2:
            raise KeyboardInterrupt


@every_default
def test_resume_from_a_backup_equals_the_uninterrupted_run(case, tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(KeyboardInterrupt):
        train(case, callbacks=[backup(), Interrupt()])
    model = train(case, callbacks=[backup()])
    assert_same(result(model), expected(case), **EXACTLY)


@every_default
def test_clone_compiled_from_the_config_trains_alike_and_apart(case):
    model = compiled(case(learning_rate=RATE))
    start = model.get_weights()
    fit(model, epochs=1)
    clone = keras.models.clone_model(model)
    clone.compile_from_config(model.get_compile_config())
    clone.set_weights(start)
    fit(clone, epochs=4)
    assert_same(result(clone), expected(case), **EXACTLY)
    fit(model, epochs=3)
    assert_same(result(model), expected(case), **EXACTLY)


@every_default
def test_no_later_fit_traces_the_step_again(case):
    model, traces = compiled(case(), jit_compile=False), []
    plain = model.compute_loss

    def counted(*args, **kwargs):
        traces.append(kwargs.get("training"))
        return plain(*args, **kwargs)

    model.compute_loss = counted
    fit(model, epochs=1, **EVEN)
    # TensorFlow traces a step twice that makes variables, as Keras's first one does.
    assert 1 <= len(traces) <= 2
    traces.clear()
    fit(model, epochs=1, **EVEN)
    model.optimizer.learning_rate = 0.5
    fit(model, epochs=2, **EVEN)
    assert traces == []


@every_default
def test_batch_with_a_nan_is_left_out_of_training(case):
    model, reference = (compiled(case(learning_rate=RATE)) for _ in range(2))
    x, y = EVEN["x"], EVEN["y"]
    spoilt = x.copy()
    spoilt[BATCH + 1, 2] = np.nan
    fit(model, epochs=2, **EVEN | {"x": spoilt})
    others = np.r_[0:BATCH, 2 * BATCH : 20]
    fit(reference, epochs=2, **EVEN | {"x": x[others], "y": y[others]})
    assert_same(result(model), result(reference), **EXACTLY)
    assert int(model.optimizer.iterations) == 2 * 5


@functools.cache
def after_an_epoch(case):
    """Return the state and the weights after five steps in float32."""
    model = compiled(case(learning_rate=RATE))
    fit(model, epochs=1, **EVEN)
    return state(leaf(model)), model.get_weights()


@every_default
@pytest.mark.parametrize(
    "policy",
    [
        "mixed_float16",
        *(
            pytest.param(policy, marks=pytest.mark.slow)
            for policy in ("mixed_bfloat16", "bfloat16")
        ),
    ],
)
def test_low_precision_follows_float32(case, policy):
    start = compiled("sgd").get_weights()
    float32, weights = after_an_epoch(case)
    keras.config.set_dtype_policy(policy)
    model = compiled(case(learning_rate=RATE), jit_compile=False)
    model.set_weights(start)
    if policy == "mixed_float16":
        # Keras has wrapped it; its initial scale would overflow, and skip steps.
        model.optimizer.build(model.trainable_variables)
        model.optimizer.dynamic_scale.assign(8.0)
    fit(model, epochs=1, **EVEN)
    low = state(leaf(model))
    for name in (*case.constants, "effective_learning_rate"):
        assert low[name].dtype == "float32"
        # bfloat16 has 8 bits: 0.4 % an operation, about five after each other.
        np.testing.assert_allclose(low[name], float32[name], rtol=0.02)
    assert low["observations"] == 5
    rate = leaf(model).effective_learning_rate
    assert rate == float(low["effective_learning_rate"]) > 0.0
    for a, b in zip(model.get_weights(), weights, strict=True):
        # The weights themselves are rounded to 0.4 % of 1, five times.
        np.testing.assert_allclose(a.astype("float32"), b, atol=0.02)


@every_default
def test_overflow_of_the_loss_scale_skips_the_step(case):
    keras.config.set_dtype_policy("mixed_float16")
    inner = case(learning_rate=RATE, weight_decay=0.25)
    # The largest number of float16 is 65504.
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**30)
    model = compiled(optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)
    before = result(model)
    fit(model, epochs=1, x=EVEN["x"][:BATCH], y=EVEN["y"][:BATCH])
    assert float(optimizer.dynamic_scale) == 2.0**29
    assert int(inner.iterations) == 0
    assert_same(result(model), before, **EXACTLY)


@every_default
def test_frozen_layer_stays_and_does_not_count(case):
    model = small_problem.compiled()
    hidden, logits = model.layers[0], model.layers[1]
    hidden.trainable = False
    model.compile(case(learning_rate=RATE), LOSS)
    start = hidden.get_weights()
    features = keras.Model(model.inputs[0], hidden.output)(data()[0])
    alone = keras.Sequential([keras.Input((7,)), keras.layers.Dense(3, "softmax")])
    alone.set_weights(logits.get_weights())
    alone.compile(case(learning_rate=RATE), LOSS)
    fit(model)
    fit(
        alone,
        x=keras.ops.convert_to_numpy(features),
        y=data()[1],
        batch_size=BATCH,
        shuffle=False,
    )
    assert_same(hidden.get_weights(), start, **EXACTLY)
    assert_same(logits.get_weights(), alone.get_weights(), **CLOSE)
    assert_same(
        list(state(leaf(model)).values()), list(state(leaf(alone)).values()), **CLOSE
    )


@every_default
def test_layer_frozen_between_fits_stays(case):
    model = small_problem.compiled(optimizer=case(learning_rate=RATE))
    fit(model, epochs=1)
    model.layers[0].trainable = False
    model.compile(model.optimizer, LOSS)
    start = model.get_weights()
    before = state(model.optimizer)
    fit(model, epochs=1)
    after = state(model.optimizer)
    assert_same(model.layers[0].get_weights(), start[:2], **EXACTLY)
    frozen = [name for name in before if "hidden" in name]
    assert len(frozen) == 2 * len(case.slots)
    assert_same([after[n] for n in frozen], [before[n] for n in frozen], **EXACTLY)
    assert after["observations"] == 2 * small_problem.STEPS
    assert not np.allclose(model.layers[1].get_weights()[0], start[2])


class Rates(keras.callbacks.Callback):
    """Records the effective rate after each epoch."""

    def on_train_begin(self, logs=None):
        self.recorded = []

    def on_epoch_end(self, epoch, logs=None):
        self.recorded.append(self.model.optimizer.effective_learning_rate)


def on_a_linear_loss(optimizer):
    """Return a model no gradient of which depends on the weights."""
    model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(2)])
    model.compile(optimizer, lambda y_true, y_pred: y_pred)
    return model


def recorded(model, epochs, *callbacks):
    recorder = Rates()
    # Before the others change the learning rate.
    history = fit(model, [recorder, *callbacks], epochs)
    return recorder.recorded, history.history


@functools.cache
def plain_rates(case):
    return np.array(recorded(on_a_linear_loss(case()), 5)[0])


@every_default
@pytest.mark.parametrize(
    ("callback", "multiples"),
    [
        (
            keras.callbacks.LearningRateScheduler(lambda epoch: (1.0, 0.5, 2.0)[epoch]),
            [1.0, 0.5, 2.0],
        ),
        (
            # Nothing is an improvement by 1e9.
            keras.callbacks.ReduceLROnPlateau("loss", 0.5, 1, min_delta=1e9),
            [1.0, 1.0, 0.5],
        ),
    ],
    ids=["LearningRateScheduler", "ReduceLROnPlateau"],
)
def test_learning_rate_of_a_callback_multiplies(case, callback, multiples):
    rates, logs = recorded(on_a_linear_loss(case()), 3, callback)
    assert logs["learning_rate"] == multiples
    # Multiples that are powers of two are exact.
    np.testing.assert_array_equal(rates, plain_rates(case)[:3] * multiples)


@every_default
def test_learning_rate_set_between_fits_multiplies(case):
    model = on_a_linear_loss(case())
    fit(model, epochs=2)
    model.optimizer.learning_rate = 0.25
    rates, _ = recorded(model, 3)
    np.testing.assert_array_equal(rates, plain_rates(case)[2:] * 0.25)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "share"),
    [(keras_lr.AutoAdam, 1.0), (keras_lr.AdaptiveRMSprop, 0.5)],
)
def test_rate_of_a_float8_layer_is_that_of_its_weights(optimizer, share):
    """Keras trains scales and histories of 3 x 1025 numbers beside the weights.

    After one step the rate is the root of the mean of g^2 by the norm of g, one by the
    root of the number of weights.
    """
    hidden = keras.layers.Dense(32, dtype="float8_from_float32")
    layers = [hidden, keras.layers.Dense(CLASSES, "softmax")]
    model = keras.Sequential([keras.Input((16,)), *layers])
    model.compile(optimizer(), LOSS)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 16)).astype("float32")
    model.fit(x, rng.integers(0, CLASSES, 32), epochs=1, batch_size=32, verbose=0)
    weights = 16 * 32 + 32 + 32 * CLASSES + CLASSES
    assert sum(w.size for w in model.get_weights()) == weights + 3 * 1025
    rate = model.optimizer.effective_learning_rate
    assert rate == pytest.approx(share / weights**0.5, rel=1e-4)
    # Each history has seen the batch.
    assert all(float(np.max(x)) > 0.0 for x in (hidden.inputs_amax_history.numpy(),))
