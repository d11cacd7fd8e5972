"""The guard of the callbacks, in trainings: what diverges, and what only looks so."""

import warnings

import keras
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

import keras_lr

# The guard is the same of both, and the walk is traced in half the time.
GUARDED = pytest.mark.parametrize(
    "kind", [pytest.param("MARTHE", marks=pytest.mark.slow), "LearningRateWalk"]
)
STEPS = 25


def digits(rows=500):
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[:rows]
    return (x[order] / 16).astype("float32"), y[order].astype("int32")


def network(optimizer, seed=0, layers=()):
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(32, kernel_initializer="he_normal")
    model = keras.Sequential(
        [
            keras.Input((64,)),
            hidden,
            *layers,
            keras.layers.ReLU(),
            keras.layers.Dense(10),
            keras.layers.Activation("softmax", dtype="float32"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    # TensorFlow traces a step twice that makes variables.
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model, *callbacks, data=None, epochs=10, **kwargs):
    x, y = data or digits()
    kwargs = {"batch_size": 20, "shuffle": False, "verbose": 0} | kwargs
    return model.fit(x, y, epochs=epochs, callbacks=[*callbacks], **kwargs)


def said(model, *callbacks, **kwargs):
    """The warnings of a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        fit(model, *callbacks, **kwargs)
    return [str(each.message) for each in caught]


class AtStep(keras.callbacks.Callback):
    """Does something to the model after a number of steps."""

    def __init__(self, step, act):
        super().__init__()
        self.step, self.act, self.count = step, act, 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count == self.step:
            self.act(self.model)


def kill(model):
    """Let no unit of the hidden layer be active any more."""
    bias = model.layers[0].bias
    bias.assign(np.full(bias.shape, -1e3))


@GUARDED
def test_network_that_dies_after_it_learned_is_rolled_back_within_an_epoch(kind):
    model, callback = network("sgd"), getattr(keras_lr, kind)()
    texts = said(model, callback, AtStep(110, kill))
    assert len(callback.restarts) == 1
    assert 110 < callback.restarts[0] <= 110 + 2 * STEPS
    assert "rolled weights and optimizer back" in texts[0]
    assert callback.history["loss"][-1] < 0.5


@pytest.mark.parametrize(
    ("kind", "policy", "with_norm"),
    [
        ("MARTHE", "float32", False),
        pytest.param("LearningRateWalk", "mixed_float16", True, marks=pytest.mark.slow),
        pytest.param("MARTHE", "mixed_float16", True, marks=pytest.mark.slow),
        pytest.param("MARTHE", "float32", True, marks=pytest.mark.slow),
        pytest.param("LearningRateWalk", "float32", False, marks=pytest.mark.slow),
        pytest.param("LearningRateWalk", "float32", True, marks=pytest.mark.slow),
    ],
)
def test_rate_a_thousand_times_too_high_is_found_within_an_epoch(
    kind, policy, with_norm
):
    keras.config.set_dtype_policy(policy)
    norms = [keras.layers.BatchNormalization()] * with_norm
    model = network(keras.optimizers.SGD(momentum=0.9), layers=norms)
    # As the compiled rate it would be divided by a hundred first.
    callback = getattr(keras_lr, kind)(initial_learning_rate=10.0)
    said(model, callback)
    keras.config.set_dtype_policy("float32")
    assert callback.restarts
    assert callback.restarts[0] <= 2 * STEPS
    assert np.mean(callback.history["loss"][-STEPS:]) < 1.0
    assert all(np.isfinite(each).all() for each in model.get_weights())


@GUARDED
def test_nan_in_the_inputs_is_said_once_and_costs_one_step(kind):
    """A ReLU turns it into 0, so that no loss shows it, but the gradient is NaN."""
    x, y = digits()
    x[110, 30] = np.nan
    model, callback = network("sgd"), getattr(keras_lr, kind)()
    texts = said(model, callback, data=(x, y), epochs=6)
    assert len(texts) == 1
    assert f"`{kind}` met a batch after 5 steps" in texts[0]
    assert callback.restarts == []
    assert all(np.isfinite(each).all() for each in model.get_weights())
    assert callback.history["loss"][-1] < 1.0


@pytest.mark.slow
@GUARDED
def test_nan_in_each_epoch_is_no_matter_of_the_rate(kind):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 4)).astype("float32"), rng.normal(1.0, 0.3, 64)
    y[40] = np.nan
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    callback = getattr(keras_lr, kind)()
    texts = said(model, callback, data=(x, y), batch_size=4, epochs=40)
    assert len(texts) == 1
    assert callback.restarts == []
    # At the noise floor `MARTHE` falls to the lowest rate, a thousandth of the first.
    assert float(model.optimizer.learning_rate) > 0.9e-7
    # The noise's variance is 0.09.
    assert model.evaluate(x[:40], y[:40], verbose=0) < 0.2


@GUARDED
def test_nan_everywhere_is_said_once_and_leaves_the_model(kind):
    x, y = digits()
    model, callback = network("sgd"), getattr(keras_lr, kind)()
    before = model.get_weights()
    texts = said(model, callback, data=(np.full_like(x, np.nan), y), epochs=3)
    assert len(texts) == 1
    assert "no learning rate helps" in texts[0]
    assert callback.restarts == []
    assert float(model.optimizer.learning_rate) > 0.9e-4
    for weight, value in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.slow
@GUARDED
def test_first_batches_without_weight_do_not_end_a_training(kind):
    """Their loss is 0, which any other loss is above."""
    x, y = digits()
    weights = np.ones(len(x), "float32")
    weights[:200] = 0.0
    model, callback = network("sgd"), getattr(keras_lr, kind)()
    texts = said(model, callback, sample_weight=weights, epochs=15)
    assert texts == []
    assert callback.restarts == []
    assert model.evaluate(x[200:], y[200:], verbose=0) < 1.0


@pytest.mark.slow
def test_fine_tuning_on_single_rows_is_left_alone():
    """The first loss is low, and single losses are hundreds of times as high."""
    x, y = digits()
    model = network("adam")
    fit(model, epochs=20)
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    before = model.evaluate(x, y, verbose=0)
    callback = keras_lr.MARTHE()
    assert said(model, callback, batch_size=1, epochs=1) == []
    assert callback.restarts == []
    assert model.evaluate(x, y, verbose=0) < before


class Stopped(Exception):  # noqa: N818
    """Ends a fit as a kill would."""


def stop(model):
    raise Stopped


def resumable(tmp_path, kind, seed, *others):
    """Fit once, or up to where it stops, and return what it ends with."""
    x, y = load_breast_cancer(return_X_y=True)
    x = ((x - x.mean(0)) / x.std(0)).astype("float32")
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(16, "relu")
    model = keras.Sequential([keras.Input((30,)), hidden, keras.layers.Dense(1)])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    callback = getattr(keras_lr, kind)(backup_dir=tmp_path / "state")
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    arguments = {"batch_size": 16, "epochs": 15, "data": (x, y[:, None] * 1.0)}
    fit(model, backup, callback, *others, **arguments)
    return model.get_weights(), callback


def assert_resumes(tmp_path, kind, seed, *, spoils=False):
    """Compare a training with one that is stopped in the ninth epoch of 36 steps."""

    def spoil():
        return [AtStep(8 * 36 - 10, kill)] if spoils else []

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected, whole = resumable(tmp_path / "whole", kind, seed, *spoil())
        end = AtStep(8 * 36 + 3, stop)
        with pytest.raises(Stopped):
            resumable(tmp_path / "cut", kind, seed, *spoil(), end)
        weights, callback = resumable(tmp_path / "cut", kind, seed)
    for weight, value in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(weight, value)
    after = [step for step in whole.restarts if step > 8 * 36]
    assert [step + 8 * 36 for step in callback.restarts] == after
    return whole


@pytest.mark.slow
def test_resumed_training_equals_the_uninterrupted_one(tmp_path):
    assert_resumes(tmp_path, "LearningRateWalk", 0)


@GUARDED
@pytest.mark.slow
def test_guard_resumes_under_suspicion(tmp_path, kind):
    """The weights are spoilt ten steps before the epoch's end: it judges after it."""
    whole = assert_resumes(tmp_path, kind, 0, spoils=True)
    assert any(8 * 36 < step < 9 * 36 for step in whole.restarts)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
@GUARDED
def test_sixteen_resumed_trainings_equal_the_uninterrupted_ones(tmp_path, kind, seed):
    assert_resumes(tmp_path, kind, seed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "units"),
    [("MARTHE", 0), ("MARTHE", 16), ("LearningRateWalk", 0)],
    ids=["MARTHE-linear", "MARTHE-network", "walk-linear"],
)
def test_targets_that_are_not_scaled_are_learned(kind, units):
    """Around 2e5, with a standard deviation of 1e5: the loss begins at 5e10."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8)).astype("float32")
    y = 2e5 + 1e5 * x[:, 0] + 1e4 * rng.normal(size=400)
    hidden = [keras.layers.Dense(units, "relu")] if units else []
    model = keras.Sequential([keras.Input((8,)), *hidden, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(), "mse", metrics=["r2_score"])
    data = x, y.astype("float32")[:, None]
    # The network is rolled back from the rate that the first steps climb to.
    said(model, getattr(keras_lr, kind)(), data=data, epochs=20)
    assert model.evaluate(*data, verbose=0, return_dict=True)["r2_score"] > 0.9
