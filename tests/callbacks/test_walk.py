"""What `LearningRateWalk` is given, what it records, what it refuses.

`test_walk_decisions` compares its decisions with two steps that are really taken.
"""

import copy
import math

import keras
import numpy as np
import pytest

import keras_lr
from tests.callbacks.watched_restart import Watch


def linear(rows=40):
    x = np.random.default_rng(0).normal(size=(rows, 4)).astype("float32")
    return x, x @ np.array([1.0, -2.0, 3.0, 0.5], "float32")


def regression(optimizer=None, **kwargs):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    optimizer = optimizer or keras.optimizers.SGD(0.0625)
    model.compile(optimizer, loss="mse", jit_compile=False, **kwargs)
    # TensorFlow traces a step twice that makes variables.
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model, *callbacks, epochs=1, data=None, **kwargs):
    x, y = data or linear()
    kwargs = {"batch_size": 4, "shuffle": False, "verbose": 0} | kwargs
    return model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **kwargs)


def walk(factor=1.25, **kwargs):
    return keras_lr.LearningRateWalk(factor, **kwargs)


def test_history_has_an_entry_for_each_step():
    tuned = walk(probe="loss", hyperparameters=("learning_rate", "momentum"))
    optimizer = keras.optimizers.SGD(0.0625, momentum=0.5)
    logs = fit(regression(optimizer), tuned, epochs=2).history
    names = "learning_rate", "momentum", "factor", "loss", "loss_after"
    assert [*tuned.history] == [*names, "raised_loss", "momentum_raised_loss"]
    assert {len(each) for each in tuned.history.values()} == {20}
    assert tuned.history["learning_rate"][0] == 0.0625
    # What is tuned is in the logs; the rest only on request.
    assert logs.keys() == {"loss", "learning_rate", "momentum"}
    for name in ("learning_rate", "momentum"):
        assert logs[name] == [tuned.history[name][9], tuned.history[name][19]]


def test_slope_takes_the_place_of_the_losses():
    tuned = walk(probe="slope")
    fit(regression(), tuned)
    names = "learning_rate", "factor", "loss", "loss_after", "slope"
    assert [*tuned.history] == [*names]


@pytest.mark.slow
def test_gradient_descent_on_two_replicas_walks_as_on_one_device(two_replicas):
    data = linear(rows=160)
    one, two = (keras_lr.LearningRateWalk(anneal=0.0, every=3) for _ in range(2))
    keras.utils.set_random_seed(0)
    fit(regression(), one, data=data)
    keras.utils.set_random_seed(0)
    with two_replicas.scope():
        model = regression()
    fit(model, two, data=data)
    assert len(set(one.history["learning_rate"])) > 5
    for name, values in one.history.items():
        np.testing.assert_allclose(two.history[name], values, rtol=1e-5, atol=1e-5)


def test_epoch_logs_the_last_trial_that_there_was():
    """Of ten steps, the ninth decides."""
    tuned = walk(probe="slope", every=3, log_diagnostics=True)
    logs = fit(regression(), tuned).history
    assert logs.keys() == {"loss", *tuned.history}
    assert logs["slope"] == [tuned.history["slope"][8]]
    assert math.isnan(tuned.history["slope"][9])


def test_walk_ends_between_its_limits():
    tuned = walk(probe="loss", min_learning_rate=0.05, max_learning_rate=0.07)
    fit(regression(), tuned, epochs=3)
    rates = np.array(tuned.history["learning_rate"])
    assert rates.max() == np.float32(0.07)
    assert rates.min() >= np.float32(0.05)


def test_rate_is_annealed_at_the_end_and_does_not_walk_any_more():
    tuned = walk(probe="loss", anneal=0.5)
    model = regression()
    fit(model, tuned, epochs=2)
    rates, raised = tuned.history["learning_rate"], tuned.history["raised_loss"]
    last = rates[11] / 0.9
    assert last in (pytest.approx(1.25 * rates[10]), pytest.approx(rates[10] / 1.25))
    assert rates[11:] == pytest.approx([last * (9 - i) / 10 for i in range(9)])
    assert np.isfinite(raised[:11]).all()
    assert np.isnan(raised[11:]).all()
    assert float(model.optimizer.learning_rate) == pytest.approx(last)


def test_steps_between_trials_have_none():
    tuned = walk(probe="loss", every=4)
    fit(regression(), tuned)
    is_due = np.isfinite(tuned.history["raised_loss"])
    np.testing.assert_array_equal(is_due, np.arange(1, 11) % 4 == 0)
    rates = np.array(tuned.history["learning_rate"])
    changes = np.flatnonzero(np.diff(rates)) + 1
    assert changes.tolist() == [4, 8]


def rates_of(model, **kwargs):
    tuned = walk(1.05, every=2, probe="slope", smoothing=0.5)
    fit(model, tuned, epochs=2, **kwargs)
    return tuned.history["learning_rate"]


@pytest.mark.parametrize(
    "argument",
    [
        pytest.param({"run_eagerly": True}, marks=pytest.mark.slow),
        {"steps_per_execution": 4},
        pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
    ],
)
def test_rates_are_the_same_however_the_step_is_compiled(argument):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0625), loss="mse", **argument)
    expected = rates_of(regression())
    keras.utils.set_random_seed(0)
    assert rates_of(model) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_replicas_decide_as_one_device_with_the_same_global_batch(two_replicas):
    expected = rates_of(regression())
    keras.utils.set_random_seed(0)
    with two_replicas.scope():
        model = regression()
    assert rates_of(model) == pytest.approx(expected, rel=1e-6)
    assert len(set(expected)) > 3


def spoilt():
    """The third batch has a number that is none."""
    x, y = linear()
    y = y.copy()
    y[9] = np.nan
    return x, y


LEFT_OUT = r"`LearningRateWalk` met a batch after 2 steps .* left its step out"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("probe", ["loss", "slope"])
def test_batch_that_is_not_finite_is_left_out_and_decides_nothing(probe):
    tuned, model = walk(probe=probe), regression()
    with pytest.warns(UserWarning, match=LEFT_OUT):
        fit(model, tuned, data=spoilt())
    rates = np.array(tuned.history["learning_rate"])
    trials = tuned.history["slope" if probe == "slope" else "raised_loss"]
    assert [*np.isnan(trials)] == [number == 2 for number in range(len(trials))]
    assert rates[3] == rates[2]
    assert (np.diff(rates) != 0.0).sum() == len(rates) - 2
    assert np.isfinite(model.get_weights()[0]).all()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("probe", "column"), [("loss", "raised_loss"), ("slope", "slope")]
)
def test_step_that_loss_scaling_leaves_out_says_nothing(probe, column):
    sgd = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0625), 8.0)
    tuned = walk(probe=probe, smoothing=0.5)
    model = regression(sgd)
    with pytest.warns(UserWarning, match=LEFT_OUT):
        fit(model, tuned, data=spoilt())
    rates = tuned.history["learning_rate"]
    assert rates[3] == rates[2]
    assert np.isfinite(model.get_weights()[0]).all()
    assert np.isfinite(tuned.history[column][3:]).all()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_scale_of_the_loss_is_not_in_the_slope():
    plain, scaled = (walk(probe="slope") for _ in range(2))
    keras.utils.set_random_seed(0)
    fit(regression(), plain)
    keras.utils.set_random_seed(0)
    sgd = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0625), 8.0)
    fit(regression(sgd), scaled)
    # A power of two, so that nothing is rounded otherwise.
    np.testing.assert_allclose(
        scaled.history["slope"], plain.history["slope"], rtol=1e-6
    )


def test_what_a_step_does_not_use_has_no_slope():
    names = "learning_rate", "ema_momentum"  # Without `use_ema`.
    tuned = walk(probe="slope", hyperparameters=names)
    fit(regression(), tuned)
    assert set(tuned.history["ema_momentum_slope"]) == {0.0}
    assert 0.0 not in tuned.history["slope"]


def test_rate_of_half_precision_follows_that_of_float32():
    rates = {}
    for policy in ("float32", "bfloat16"):
        keras.config.set_dtype_policy(policy)
        tuned = keras_lr.LearningRateWalk(anneal=0.0)
        keras.utils.set_random_seed(0)
        fit(regression(), tuned, data=linear(160))
        rates[policy] = np.array(tuned.history["learning_rate"])
    keras.config.set_dtype_policy("float32")
    # Until a trial in bfloat16 is taken for near that is far.
    assert len(set(rates["float32"][:28])) >= 10
    np.testing.assert_allclose(rates["bfloat16"][:28], rates["float32"][:28], rtol=0.01)


# What setup.cfg ignores in Keras, which `pytest.warns` passes on without its place.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_training_that_diverges_is_rolled_back_and_ends_well():
    tuned = walk("auto", initial_learning_rate=4.0)
    model, watch = regression(keras.optimizers.SGD(0.5, momentum=0.5)), Watch(tuned)
    with pytest.warns(UserWarning, match=r"`LearningRateWalk` noticed.* diverges"):
        logs = fit(model, tuned, watch, data=linear(80), epochs=10)
    for after, before in zip(watch.after, watch.before, strict=True):
        np.testing.assert_array_equal(after, before)
    # Suspicious after 16 steps, sure after the first eight pairs: four are in the epoch
    # of 20 steps, the rest is looked at eight steps later.
    assert tuned.restarts[0] == 28
    assert tuned.history["learning_rate"][28] == pytest.approx(0.04, rel=1e-6)
    assert np.isfinite(logs.history["loss"]).all()
    assert tuned.history["loss"][-1] < 0.01 * tuned.history["loss"][0]


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        ({}, 0.000625),
        ({"every": 1, "probe": "loss"}, 0.000625),
        ({"factor": 1.5}, 0.0625),
        ({"initial_learning_rate": 0.25}, 0.25),
    ],
)
def test_first_rate_is_a_hundredth_only_where_all_is_automatic(arguments, first):
    tuned = keras_lr.LearningRateWalk(**arguments)
    fit(regression(), tuned)
    assert tuned.history["learning_rate"][0] == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ("slope", 10)),
        ({"factor": 1.5}, ("loss", 1)),
        ({"probe": "loss"}, ("loss", 10)),
        ({"factor": 1.5, "every": 3, "probe": "slope"}, ("slope", 3)),
    ],
)
def test_number_is_the_rule_as_the_source_has_it(arguments, expected):
    tuned = keras_lr.LearningRateWalk(**arguments)
    assert (tuned.probe_used, tuned.steps_per_trial) == expected


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        ({}, 0.5),  # Of twice a part of the way to 0, once.
        ({"factor": 1.5, "anneal": 0.5}, 0.5),
        pytest.param({"factor": 1.5}, 1.5, marks=pytest.mark.slow),
        ({"anneal": 0.0}, 1.01**10),  # A trial, and the next batches do not agree yet.
    ],
)
def test_rate_is_annealed_where_all_is_automatic_or_on_request(arguments, last):
    # From other weights the next batches may agree, and the rate climbs faster.
    keras.utils.set_random_seed(0)
    tuned = keras_lr.LearningRateWalk(**arguments)
    fit(regression(), tuned, epochs=2)
    before, after = tuned.history["learning_rate"][-2:]
    assert after / before in (pytest.approx(last), pytest.approx(1 / last))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_training_is_not_rolled_back_where_that_is_not_asked_for():
    tuned = walk(1.01, initial_learning_rate=4.0)
    model = regression(keras.optimizers.SGD(0.5, momentum=0.5))
    with pytest.warns(UserWarning, match="weights that have grown too large"):
        fit(model, tuned, epochs=4)
    assert tuned.restarts == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("factor", 1.0),
        ("factor", 0.5),
        ("factor", math.inf),
        ("factor", math.nan),
        ("factor", "fast"),
        ("every", 0),
        ("every", 1.5),
        ("every", True),
        ("probe", "gradient"),
        ("smoothing", 1.0),
        ("smoothing", -0.5),
        ("hyperparameters", ("momentum",)),
        ("hyperparameters", ("learning_rate", "learning_rate")),
        ("anneal", 1.5),
        ("initial_learning_rate", 0.0),
        ("min_learning_rate", -1.0),
        ("max_learning_rate", math.inf),
    ],
)
def test_wrong_argument_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"`{name}`.* Received: .*{name}="):
        keras_lr.LearningRateWalk(**{name: value})


def test_hyperparameter_that_the_optimizer_was_not_given_is_refused():
    tuned = walk(hyperparameters=("learning_rate", "momentum"))
    with pytest.raises(ValueError, match=r"positive floats. Received: momentum="):
        fit(regression(), tuned)


@pytest.mark.parametrize(
    "argument", [{"gradient_accumulation_steps": 2}, {"ema_overwrite_frequency": 2}]
)
def test_optimizer_that_steps_otherwise_at_times_is_refused(argument):
    argument = argument | {"use_ema": "ema_overwrite_frequency" in argument}
    sgd = keras.optimizers.SGD(0.0625, **argument)
    with pytest.raises(ValueError, match=r"same step at each batch.*Received: "):
        fit(regression(sgd), walk())


class CallsNumPy(keras.optimizers.SGD):
    """Computes outside of TensorFlow."""

    def update_step(self, gradient, variable, learning_rate):
        import tensorflow as tf

        gradient = tf.numpy_function(np.sign, [gradient], gradient.dtype)
        super().update_step(gradient, variable, learning_rate)


def test_optimizer_that_leaves_keras_is_refused_by_name():
    with pytest.raises(ValueError, match=r"takes the optimizer.*<CallsNumPy>"):
        fit(regression(CallsNumPy(0.0625)), walk())


@pytest.mark.parametrize(
    "probe", [pytest.param("loss", marks=pytest.mark.slow), "slope"]
)
def test_frozen_weights_and_embeddings_are_walked_over(probe):
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int64"),
            keras.layers.Embedding(7, 4),
            keras.layers.Flatten(),
            keras.layers.Dense(5, trainable=False),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(0.0625), loss="mse", jit_compile=False)
    rng = np.random.default_rng(0)
    data = rng.integers(0, 7, (40, 3)), rng.normal(size=40)
    tuned = walk(probe=probe)
    fit(model, tuned, data=data)
    found = tuned.history["slope" if probe == "slope" else "raised_loss"]
    assert np.isfinite(found).all()


def test_restarts_of_a_copy_are_its_own():
    tuned = walk()
    copy.deepcopy(tuned).restarts.append(1)
    assert tuned.restarts == []


def test_loss_scale_factor_does_not_change_the_rates():
    rates = []
    for factor in (None, 1024.0):
        keras.utils.set_random_seed(0)
        tuned = keras_lr.LearningRateWalk(anneal=0.0)
        optimizer = keras.optimizers.SGD(0.0625, momentum=0.5, loss_scale_factor=factor)
        fit(regression(optimizer), tuned, data=linear(240))
        rates.append(tuned.history["learning_rate"])
    np.testing.assert_allclose(rates[1], rates[0], rtol=1e-5)
    assert rates[0][-1] > 10 * rates[0][0]


@pytest.mark.parametrize("every", [1, 27, 100])
def test_automatic_factor_can_grow_however_rare_the_trials(every):
    tuned = keras_lr.LearningRateWalk(every=every)
    fit(regression(), tuned)
    assert 0.999 * 1.01 < tuned.history["factor"][0] < 1.001 * 1.3**0.5


class RateBetweenSteps(keras.callbacks.Callback):
    """Sees the optimizer as a checkpoint between two steps does."""

    def on_train_begin(self, logs=None):
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


def batches_with(special, number=40):
    """Inputs and targets of equal batches, one of which has targets 20 times as far."""
    x, y = linear(rows=4)
    far = np.where(np.arange(number) == special, 20.0, 1.0)
    return np.tile(x, (number, 1)), np.concatenate([each * y for each in far])


def test_step_with_a_large_gradient_has_a_lower_rate_and_no_other_step():
    tuned, seen = keras_lr.LearningRateWalk(anneal=0.0), RateBetweenSteps()
    fit(regression(), tuned, seen, data=batches_with(30))
    rates = np.array(tuned.history["learning_rate"])
    assert rates[30] < 0.5 * rates[29]
    # What is saved after the step has the rate from before it, or of a trial.
    assert seen.rates[30] >= 0.9 * rates[29]
    assert rates[31] >= 0.9 * rates[29]


def test_rows_without_weight_do_not_make_all_others_large():
    tuned = keras_lr.LearningRateWalk(anneal=0.0)
    x, y = batches_with(None, number=120)
    weights = np.ones(len(x))
    weights[4 * 25 : 4 * 110] = 0.0
    model = regression(keras.optimizers.SGD(1e-4))
    fit(model, tuned, data=(x, y), sample_weight=weights)
    rates = np.array(tuned.history["learning_rate"])
    assert rates[110] >= rates[109]
