"""`LipschitzLR` by closed forms: they equal brute force, and what it refuses."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lr
from tests import small_problem
from tests.references import lipschitz as reference
from tests.small_problem import BATCH, CLASSES, compiled, fit

# What it measures by default is tested in training/lipschitz/test_gradient_meter.py.
LipschitzLR = functools.partial(keras_lr.LipschitzLR, bound="strict")
SOFTMAX = "sparse_categorical_crossentropy"
# The paper's own rule except for the bound: 1/L of the last constant measured.
PLAIN = {"factor": 1.0, "memory": 0.0, "anneal": 0.0}
# A rate that rounds to nothing in float32 freezes the weights, so that what an epoch
# measured can be computed again after it.
FROZEN = {"min_learning_rate": 1e-30, "max_learning_rate": 1e-30}


def batches(array, size=BATCH):
    return [array[i : i + size] for i in range(0, len(array), size)]


def hidden_of(model):
    found, pending = [], list(model.layers)
    while pending:
        layer = pending.pop()
        found.append(layer)
        pending.extend(getattr(layer, "layers", []))
    return next(layer for layer in found if layer.name == "hidden")


def head_inputs(model, x):
    """What enters the head for each batch, in float64."""
    weights = [keras.ops.convert_to_numpy(w.value) for w in hidden_of(model).weights]
    kernel, bias = (w.astype("float64") for w in weights)
    return [np.maximum(batch @ kernel + bias, 0) for batch in batches(x)]


def assert_equals_brute_force(callback, model, x, bound, rtol=1e-5):
    inputs = head_inputs(model, x)
    norm = max(np.linalg.norm(a) for a in inputs)
    if bound == "strict":
        # The last batch is smaller, and has an m of its own.
        expected = max(reference.strict(SOFTMAX, a.tolist(), CLASSES) for a in inputs)
    else:
        # The authors divide by the nominal batch size.
        expected = (CLASSES - 1) / (CLASSES * BATCH) * norm
    np.testing.assert_allclose(callback.history["activation_norm"], norm, rtol=rtol)
    constants = callback.history["lipschitz_constant"]
    np.testing.assert_allclose(constants, expected, rtol=rtol)


# The two are the same code except for a factor.
both_bounds_slowly = pytest.mark.parametrize(
    "bound", [pytest.param("paper", marks=pytest.mark.slow), "strict"]
)


@both_bounds_slowly
@small_problem.every_form
def test_statistics_equal_brute_force_in_every_model_form(form, bound):
    model, callback = compiled(form), LipschitzLR(bound=bound, **FROZEN)
    fit(model, [callback], epochs=2)
    assert_equals_brute_force(callback, model, small_problem.data()[0], bound)


@both_bounds_slowly
@pytest.mark.parametrize(
    "kwargs",
    [
        pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
        {"steps_per_execution": 4, "jit_compile": False},
        pytest.param(
            {"steps_per_execution": 4, "jit_compile": True}, marks=pytest.mark.slow
        ),
        {"run_eagerly": True},
    ],
    ids=str,
)
def test_statistics_equal_brute_force_however_compiled(kwargs, bound):
    model, callback = compiled(**kwargs), LipschitzLR(bound=bound, **FROZEN)
    fit(model, [callback], epochs=2)
    assert_equals_brute_force(callback, model, small_problem.data()[0], bound)


@pytest.mark.parametrize(
    "kind", [pytest.param("dataset", marks=pytest.mark.slow), "py_dataset"]
)
def test_statistics_equal_brute_force_on_batched_data(kind):
    x, y = small_problem.data()
    data = {
        "dataset": tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH),
        "py_dataset": small_problem.OrderedData(x, y),
    }[kind]
    model, callback = compiled(), LipschitzLR(bound="strict", **FROZEN)
    fit(model, [callback], x=data)
    assert_equals_brute_force(callback, model, x, "strict")


@both_bounds_slowly
@pytest.mark.parametrize(
    ("policy", "rtol"),
    # Half the precision of each format, once for the layer and once for its input.
    [
        ("mixed_float16", 2e-3),
        pytest.param("mixed_bfloat16", 1.6e-2, marks=pytest.mark.slow),
        pytest.param("bfloat16", 1.6e-2, marks=pytest.mark.slow),
        ("float64", 1e-5),
    ],
)
def test_statistics_equal_brute_force_in_any_precision(policy, rtol, bound):
    keras.config.set_dtype_policy(policy)
    x, y = small_problem.data()
    model, callback = compiled(), LipschitzLR(bound=bound, **FROZEN)
    # Activations of some thousands: their squares overflow float16.
    fit(model, [callback], x=3000 * x, y=y, batch_size=BATCH, shuffle=False)
    assert_equals_brute_force(callback, model, 3000 * x, bound, rtol)


@pytest.mark.slow
@both_bounds_slowly
def test_statistics_on_two_replicas_equal_brute_force(two_replicas, bound):
    x, y = small_problem.data()
    x, y = x[:20], y[:20]
    with two_replicas.scope():
        model = compiled(jit_compile=False)
    callback = LipschitzLR(bound=bound, **FROZEN)
    fit(model, [callback], x=x, y=y, batch_size=BATCH, shuffle=False)
    assert_equals_brute_force(callback, model, x, bound)


def gradient_of(model, x, y):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True))
    return tape.gradient(loss, [w.value for w in model.trainable_variables])


@both_bounds_slowly
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_rate_of_a_batch_acts_on_its_own_update(bound, momentum):
    x, y = small_problem.data()
    x, y = x[:BATCH], y[:BATCH]
    model = compiled(optimizer=keras.optimizers.SGD(0.05, momentum=momentum))
    before = model.get_weights()
    gradient = gradient_of(model, x, y)
    a = head_inputs(model, x)[0].tolist()
    constant = {
        "paper": reference.paper_categorical_crossentropy(a, CLASSES),
        "strict": reference.strict(SOFTMAX, a, CLASSES),
    }[bound]
    callback = LipschitzLR(bound=bound, **PLAIN)
    fit(model, [callback], epochs=1, x=x, y=y, batch_size=BATCH)
    for w, old, g in zip(model.get_weights(), before, gradient, strict=True):
        expected = old - (1 - momentum) / constant * g.numpy()
        np.testing.assert_allclose(w, expected, rtol=1e-5, atol=1e-6)


def test_epoch_update_takes_the_constant_of_the_epoch_before():
    callback = LipschitzLR(bound="strict", update="epoch", **PLAIN)
    history = fit(compiled(), [callback], epochs=4)
    rates, constants = (
        np.array(callback.history[key])
        for key in ("learning_rate", "lipschitz_constant")
    )
    # Momentum is 0.5.
    np.testing.assert_allclose(rates[1:], 0.5 / constants[:-1], rtol=1e-6)
    assert history.history["learning_rate"] == rates.tolist()
    assert len(set(rates)) == 4


def regression(loss, **layer_kwargs):
    keras.utils.set_random_seed(1)
    head = keras.layers.Dense(2, name="logits", **layer_kwargs)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(7, "relu", name="hidden"), head]
    )
    model.compile(keras.optimizers.SGD(0.01), loss=loss)
    return model


@pytest.mark.parametrize("use_bias", [True, False])
def test_mean_squared_error_takes_the_observed_residuals(rng, use_bias):
    x, _ = small_problem.data()
    y = rng.normal(size=(len(x), 2))
    model = regression("mse", use_bias=use_bias)
    callback = LipschitzLR(bound="strict", **FROZEN)
    fit(model, [callback], x=x, y=y, batch_size=BATCH, shuffle=False)
    outputs = batches(model.predict(x, verbose=0))
    expected = max(
        reference.strict_mean_squared_error(
            a.tolist(), z.tolist(), t.tolist(), use_bias=use_bias
        )
        for a, z, t in zip(head_inputs(model, x), outputs, batches(y), strict=True)
    )
    assert callback.history["lipschitz_constant"][0] == pytest.approx(expected, 1e-5)


def test_mean_squared_error_in_the_papers_form(rng):
    x, _ = small_problem.data()
    y = rng.normal(size=(len(x), 2))
    model, callback = regression("mse"), LipschitzLR(bound="paper", **FROZEN)
    fit(model, [callback], x=x[:4], y=y[:4], batch_size=4)
    a, z = head_inputs(model, x[:4])[0], model.predict(x[:4], verbose=0)
    expected = reference.paper_mean_squared_error(
        a.tolist(), z.tolist(), y[:4].tolist()
    )
    assert callback.history["lipschitz_constant"][0] == pytest.approx(expected, 1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        pytest.param("mae", marks=pytest.mark.slow),
        pytest.param("log_cosh", marks=pytest.mark.slow),
        keras.losses.Huber(delta=0.5),
        pytest.param(
            keras.losses.MeanSquaredError(reduction="sum"), marks=pytest.mark.slow
        ),
        keras.losses.MeanAbsoluteError(reduction="mean_with_sample_weight"),
    ],
    ids=lambda loss: getattr(loss, "name", loss),
)
@pytest.mark.parametrize(
    "weighted", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_strict_bound_holds_for_the_heads_gradient(rng, loss, weighted):
    x, _ = small_problem.data()
    x, y = x[:BATCH], 3 * rng.normal(size=(BATCH, 2))
    weights = 10 * rng.uniform(size=BATCH) if weighted else None
    model, callback = regression(loss), LipschitzLR(bound="strict", **FROZEN)
    fit(model, [callback], 1, x=x, y=y, sample_weight=weights, batch_size=BATCH)
    head = model.get_layer("logits")
    with tf.GradientTape() as tape:
        value = model.compute_loss(x, y, model(x), weights)
    gradient = tape.gradient(value, [w.value for w in head.trainable_variables])
    norm = float(tf.linalg.global_norm(gradient))
    constant = callback.history["lipschitz_constant"][0]
    assert norm <= constant * (1 + 1e-6)
    assert constant < 20 * norm  # It is a bound, not a large number.


def test_masked_steps_count_as_in_keras_losses(rng):
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(6, 4, mask_zero=True, name="hidden"),
            keras.layers.Dense(CLASSES, "softmax", name="logits"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), loss=SOFTMAX)
    x = np.array([[1, 2, 0], [3, 0, 0]])
    y = rng.integers(0, CLASSES, (2, 3))
    callback = LipschitzLR(bound="strict", **FROZEN)
    fit(model, [callback], 1, x=x, y=y, batch_size=2)
    table = model.get_layer("hidden").get_weights()[0]
    expected = reference.strict(SOFTMAX, table[[1, 2, 3]].tolist(), CLASSES)
    assert callback.history["lipschitz_constant"][0] == pytest.approx(expected, 1e-5)


def regularized(regularizer, bias_regularizer=None):
    def form():
        return small_problem.sequential(
            kernel_regularizer=regularizer, bias_regularizer=bias_regularizer
        )

    return compiled(form)


@pytest.mark.parametrize(
    ("regularizer", "l1", "l2"),
    [
        pytest.param(keras.regularizers.L2(0.03), 0.0, 0.03, marks=pytest.mark.slow),
        pytest.param(keras.regularizers.L1(0.02), 0.02, 0.0, marks=pytest.mark.slow),
        (keras.regularizers.L1L2(0.02, 0.03), 0.02, 0.03),
    ],
    ids=["L2", "L1", "L1L2"],
)
def test_strict_weight_term_is_the_heads_penalty(regularizer, l1, l2):
    model = regularized(regularizer, keras.regularizers.L2(0.5))
    callback = LipschitzLR(bound="strict")
    fit(model, [callback], epochs=1)
    kernel, bias = (
        w.astype("float64") for w in model.get_layer("logits").get_weights()
    )
    expected = (
        reference.strict_l2(l2, np.linalg.norm(kernel))
        + reference.strict_l1(l1, kernel.size)
        + reference.strict_l2(0.5, np.linalg.norm(bias))
    )
    assert callback.history["weight_term"][0] == pytest.approx(expected, rel=1e-5)


def test_paper_weight_term_takes_the_largest_tensor_of_the_model():
    model = regularized(keras.regularizers.L2(0.03))
    callback = LipschitzLR(bound="paper", max_learning_rate=0.1)
    fit(model, [callback], epochs=1)
    largest = max(np.linalg.norm(w.astype("float64")) for w in model.get_weights())
    expected = reference.paper_l2(0.03, largest)
    assert callback.history["weight_term"][0] == pytest.approx(expected, rel=1e-5)


@both_bounds_slowly
def test_tikhonov_term_of_the_user_is_added(rng, bound):
    gamma = rng.normal(size=(7, 7))
    model = compiled()
    callback = LipschitzLR(bound=bound, tikhonov=gamma, max_learning_rate=0.1)
    fit(model, [callback], epochs=1)
    norms = [np.linalg.norm(w.astype("float64")) for w in model.get_weights()]
    kernel = np.linalg.norm(
        model.get_layer("logits").get_weights()[0].astype("float64")
    )
    expected = {
        "paper": reference.paper_tikhonov(gamma.tolist(), max(norms)),
        "strict": reference.strict_tikhonov(gamma.tolist(), kernel),
    }[bound]
    assert callback.history["weight_term"][0] == pytest.approx(expected, rel=1e-5)


def test_cifar_constant_of_the_paper():
    # Section 7.4: K_z 206.695, max ||w|| 43.257, lambda 1e-3, k 10, m 128.
    constant = 9 / (10 * 128) * 206.695 + 1e-3 * 43.257
    assert 1 / constant == pytest.approx(0.668190, abs=5e-7)
    head = keras.layers.Dense(
        10, "softmax", use_bias=False, kernel_regularizer=keras.regularizers.L2(1e-3)
    )
    model = keras.Sequential([keras.Input((1,)), head])
    kernel = np.full((1, 10), 43.257 / np.sqrt(10), "float32")
    head.set_weights([kernel])
    model.compile(keras.optimizers.SGD(1.0), loss=SOFTMAX)
    x = np.full((128, 1), 206.695 / np.sqrt(128))
    callback = LipschitzLR(bound="paper", **FROZEN)
    fit(model, [callback], 1, x=x, y=np.zeros(128), batch_size=128)
    assert 1 / callback.history["lipschitz_constant"][0] == pytest.approx(
        0.668190, abs=1e-6
    )


def test_forward_pass_measures_before_each_epoch():
    x, y = small_problem.data()
    model = compiled()
    inputs = head_inputs(model, x)
    callback = LipschitzLR(
        bound="paper",
        update="epoch",
        source="forward_pass",
        data=(x, y),
        batch_size=4,
        **PLAIN,
    )
    history = fit(model, [callback], epochs=1)
    norm = max(np.linalg.norm(a) for a in inputs)
    constant = (CLASSES - 1) / (CLASSES * BATCH) * norm
    assert callback.history["activation_norm"][0] == pytest.approx(norm, rel=1e-5)
    # Momentum is 0.5.
    assert history.history["learning_rate"][0] == pytest.approx(0.5 / constant, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("dataset", marks=pytest.mark.slow),
        "py_dataset",
        pytest.param("inputs", marks=pytest.mark.slow),
    ],
)
def test_forward_pass_takes_every_data_form(kind):
    x, y = small_problem.data()
    data = {
        "dataset": tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH),
        "py_dataset": small_problem.OrderedData(x, y),
        "inputs": x,
    }[kind]
    model = compiled()
    norm = max(np.linalg.norm(a) for a in head_inputs(model, x))
    callback = LipschitzLR(
        bound="paper", update="epoch", source="forward_pass", data=data, batch_size=4
    )
    fit(model, [callback], epochs=1)
    assert callback.history["activation_norm"][0] == pytest.approx(norm, rel=1e-5)


def two_outputs():
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(7, "relu", name="hidden")(inputs)
    first = keras.layers.Dense(CLASSES, "softmax", name="first")(hidden)
    second = keras.layers.Dense(1, name="second")(hidden)
    model = keras.Model(inputs, {"a": first, "b": second})
    model.compile(
        keras.optimizers.SGD(0.1),
        loss={"a": SOFTMAX, "b": "mae"},
        loss_weights={"a": 0.25, "b": 1.0},
    )
    return model


def two_outputs_behind_reshape():
    inputs = keras.Input((5,))
    first = keras.layers.Dense(CLASSES, "softmax", name="first")(inputs)
    second = keras.layers.Reshape((2, 1))(keras.layers.Dense(2, name="second")(inputs))
    model = keras.Model(inputs, [first, second])
    model.compile(keras.optimizers.SGD(0.1), loss=[SOFTMAX, "mae"])
    return model


def test_named_layer_of_several_outputs_has_its_own_loss_and_weight():
    x, y = small_problem.data()
    model = two_outputs()
    callback = LipschitzLR(bound="strict", layer="first", **FROZEN)
    targets = {"a": y[:BATCH], "b": np.zeros(BATCH)}
    fit(model, [callback], 1, x=x[:BATCH], y=targets, batch_size=BATCH)
    a = head_inputs(model, x[:BATCH])[0].tolist()
    expected = 0.25 * reference.strict(SOFTMAX, a, CLASSES)
    assert callback.history["lipschitz_constant"][0] == pytest.approx(expected, 1e-5)


def test_own_constant_stands_in_for_a_missing_formula():
    x, y = small_problem.data()
    model = compiled()
    model.compile(keras.optimizers.SGD(0.1), loss=own_loss)
    callback = LipschitzLR(bound="strict", constant=3.0, **FROZEN)
    fit(model, [callback], 1, x=x[:BATCH], y=y[:BATCH], batch_size=BATCH)
    a = head_inputs(model, x[:BATCH])[0].tolist()
    expected = 3.0 / np.sqrt(2) * reference.strict(SOFTMAX, a, CLASSES)
    assert callback.history["lipschitz_constant"][0] == pytest.approx(expected, 1e-5)


def own_loss(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)


def test_dead_activations_keep_the_last_rate_and_warn_once():
    model = compiled(optimizer=keras.optimizers.SGD(0.03125))
    hidden = model.get_layer("hidden")
    hidden.set_weights([np.zeros((5, 7)), -np.ones(7)])
    callback = LipschitzLR(bound="paper", anneal=0.0)
    with pytest.warns(UserWarning, match="keeps the last learning rate") as record:
        history = fit(model, [callback], epochs=2)
    assert history.history["learning_rate"] == [0.03125, 0.03125]
    assert len(record) == 1


def test_batch_that_is_not_finite_does_not_count():
    x, y = small_problem.data()
    x[5] = np.inf
    model, callback = compiled(), LipschitzLR(bound="strict", **FROZEN)
    model.compile(keras.optimizers.SGD(0.03125, clipvalue=1e-30), loss=SOFTMAX)
    history = fit(model, [callback], 1, x=x, y=y, batch_size=BATCH, shuffle=False)
    assert np.isfinite(callback.history["activation_norm"]).all()
    assert np.isfinite(history.history["learning_rate"]).all()


def fixed_features(inputs, optimizer, **kwargs):
    """A head on inputs whose norms differ from batch to batch, at a frozen rate."""
    head = keras.layers.Dense(CLASSES, "softmax", use_bias=False)
    model = keras.Sequential([keras.Input((inputs.shape[-1],)), head])
    model.compile(optimizer, loss=SOFTMAX)
    callback = LipschitzLR(bound="paper", **kwargs)
    steps = RatesOfSteps()
    targets = np.zeros(len(inputs))
    fit(model, [callback, steps], 1, x=inputs, y=targets, batch_size=2, shuffle=False)
    return steps.rates


class RatesOfSteps(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate.numpy()))


# K_z of four batches of two equal rows: 2, 4, 1 and 3, so that L = 2/3 K_z / 2.
NORMS = np.array([2.0, 4.0, 1.0, 3.0])
INPUTS = np.repeat(NORMS / np.sqrt(2), 2)[:, None]


@pytest.mark.parametrize(
    ("memory", "held"),
    [
        (0.0, [2, 4, 1, 3]),
        (1.0, [2, 4, 4, 4]),
        (0.5, [2, 4, 2, 3]),
        # 4 is measured in step 1, and of it sqrt((10 + 1) / (10 + t)) counts in step t.
        ("auto", [2, 4, 4 * (11 / 12) ** 0.5, 4 * (11 / 13) ** 0.5]),
    ],
)
def test_memory_holds_the_largest_constant(memory, held):
    sgd = keras.optimizers.SGD(0.1)
    rates = fixed_features(INPUTS, sgd, factor=1.0, memory=memory, anneal=0.0)
    np.testing.assert_allclose(rates, 3.0 / np.array(held), rtol=1e-5)


@pytest.mark.parametrize(
    ("anneal", "factors"),
    [(0.0, [1, 1, 1, 1]), (0.5, [1, 1, 1, 0.5]), (1.0, [1, 0.75, 0.5, 0.25])],
)
def test_rate_is_annealed_to_zero_over_the_last_part(anneal, factors):
    sgd = keras.optimizers.SGD(0.1)
    inputs = np.ones((8, 1)) * 3 / np.sqrt(2)
    rates = fixed_features(inputs, sgd, factor=2.0, anneal=anneal)
    # The last entry is the rate that was settled for the next epoch: there is none.
    np.testing.assert_allclose(rates, 2.0 * np.array(factors), rtol=1e-5)


def test_optimizer_that_normalizes_keeps_its_own_rate_annealed_and_warns():
    adam = keras.optimizers.Adam(0.25)
    with pytest.warns(UserWarning, match=r"gradient descent.*adam"):
        rates = fixed_features(INPUTS, adam, anneal=1.0)
    np.testing.assert_allclose(rates, [0.25, 0.1875, 0.125, 0.0625], rtol=1e-6)


ADAM_WARNS = pytest.mark.filterwarnings("ignore:`LipschitzLR` gives a learning rate")


@ADAM_WARNS
def test_second_fit_starts_from_the_compiled_rate_again():
    model = compiled(optimizer=keras.optimizers.Adam(0.25))
    first = fit(model, [LipschitzLR()])
    second = fit(model, [LipschitzLR()])
    assert second.history["learning_rate"] == first.history["learning_rate"]
    assert float(model.optimizer.learning_rate.numpy()) == 0.25


@ADAM_WARNS
def test_fit_after_an_interrupted_one_starts_from_the_compiled_rate():
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    model = compiled(optimizer=keras.optimizers.Adam(0.25))
    callback = LipschitzLR(anneal=1.0)
    with pytest.raises(KeyboardInterrupt):
        fit(model, [callback, Interrupt()], epochs=4)
    history = fit(model, [callback], epochs=2)
    steps = 2 * small_problem.STEPS
    rates = history.history["learning_rate"]
    assert rates[-1] == pytest.approx(0.25 / steps, rel=1e-5)


def test_head_that_is_called_twice_in_a_step_counts_one_step():
    class Twice(keras.Model):
        def __init__(self, core):
            super().__init__()
            self.core = core

        def call(self, inputs):
            return 0.5 * (self.core(inputs) + self.core(-inputs))

    x, y = small_problem.data()
    model = Twice(small_problem.sequential())
    model.compile(keras.optimizers.SGD(0.1), loss=SOFTMAX)
    head = model.core.get_layer("logits")
    steps = RatesOfSteps()
    callback = LipschitzLR(layer=head, anneal=1.0, **LIMITED)
    fit(model, [callback, steps], 1, x=x[:16], y=y[:16], batch_size=4)
    np.testing.assert_allclose(steps.rates, [0.1, 0.075, 0.05, 0.025], rtol=1e-5)


@ADAM_WARNS
@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_fit_without_an_epoch_leaves_the_rate_alone(optimizer):
    model = compiled(optimizer=optimizer(0.25))
    fit(model, [LipschitzLR()], epochs=0)
    assert float(model.optimizer.learning_rate.numpy()) == 0.25


@pytest.mark.parametrize("update", ["batch", "epoch"])
def test_later_initial_epoch_does_not_take_the_compiled_rate_for_a_measured_one(update):
    model = compiled(optimizer=keras.optimizers.SGD(1e-3))
    callback = LipschitzLR(anneal=0.0, update=update)
    history = fit(model, [callback], epochs=4, initial_epoch=2)
    constants = callback.history["lipschitz_constant"]
    assert history.history["learning_rate"][0] >= 2.0 / max(constants) * (1 - 1e-6)


def test_fit_continued_by_hand_holds_the_constant_of_the_first_part():
    x, y = small_problem.data()
    callback, model = LipschitzLR(memory=1.0, anneal=0.0), compiled()
    large = {"x": 100 * x, "y": y, "batch_size": BATCH, "shuffle": False}
    fit(model, [callback], epochs=2, **large)
    held = max(callback.history["lipschitz_constant"])
    fit(model, [callback], epochs=4, initial_epoch=2)
    assert max(callback.history["lipschitz_constant"][2:]) < held
    # Factor 2, momentum 0.5.
    rates = callback.history["learning_rate"][2:]
    np.testing.assert_allclose(rates, 2 * 0.5 / held, rtol=1e-5)


class Scaled(keras.layers.Layer):
    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), initializer="ones", trainable=False)

    def call(self, inputs):
        return inputs * self.scale


class LargeAtFirst(keras.callbacks.Callback):
    """Makes the inputs of the first epoch ten times as large."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.layers[0].scale.assign(10.0 if epoch == 0 else 1.0)


MODES = {
    "batch": {},
    "epoch": {"update": "epoch"},
    "forward_pass": {"update": "epoch", "bound": "strict", "source": "forward_pass"},
}


class Fading:
    """A training whose first L is far above the others, and forgotten slowly."""

    def __init__(self, mode, folder):
        self.arguments = dict(MODES[mode], factor=0.01, anneal=0.0)
        if mode == "forward_pass":
            self.arguments |= {"data": small_problem.data()[0], "batch_size": BATCH}
        self.folder = folder
        self.begin()

    def begin(self):
        """Make a new model, as after a kill."""
        hidden, logits = small_problem._layers()
        layers = [keras.Input((5,)), Scaled(), hidden, logits, keras.layers.Softmax()]
        self.model = keras.Sequential(layers)
        self.model.compile(keras.optimizers.SGD(0.1), SOFTMAX)
        self.callback = LipschitzLR(**self.arguments)

    def run(self, epochs, **kwargs):
        """Fit, with what to call before the callback."""
        backup = keras.callbacks.BackupAndRestore(self.folder)
        before = kwargs.pop("before", [backup])
        callbacks = [*before, LargeAtFirst(), self.callback]
        fit(self.model, callbacks, epochs, shuffle=False, **kwargs)
        return self.callback.history["learning_rate"]


@pytest.mark.parametrize("mode", MODES)
def test_age_of_the_constant_is_that_in_the_training_not_in_the_fit(mode, tmp_path):
    whole = Fading(mode, tmp_path / "whole").run(5)
    # The first L counts until the end, but less and less.
    assert whole[-1] > whole[-2] > whole[-3]
    pieces = Fading(mode, tmp_path / "pieces")
    for epoch in range(5):
        pieces.run(epoch + 1, initial_epoch=epoch, before=[])
    rates = pieces.callback.history["learning_rate"]
    np.testing.assert_allclose(rates, whole, rtol=1e-5)
    killed = Fading(mode, tmp_path / "killed")
    stop = keras.callbacks.LambdaCallback(on_epoch_begin=raise_at(3))
    with pytest.raises(RuntimeError, match="killed"):
        killed.run(5, before=[keras.callbacks.BackupAndRestore(killed.folder), stop])
    killed.begin()
    np.testing.assert_allclose(killed.run(5), whole[3:], rtol=1e-5)


def raise_at(epoch):
    def at_begin(begun, logs=None):
        if begun == epoch:
            raise RuntimeError("killed")

    return at_begin


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")
def test_data_of_unknown_length_count_their_steps_alike(tmp_path):
    """The step that finds no batch is none."""
    arrays = Fading("batch", tmp_path)
    known = arrays.run(4, before=[])
    x, y = small_problem.data()
    batches_of = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    arrays.begin()
    unknown = arrays.run(4, before=[], x=batches_of.filter(lambda *_: True))
    np.testing.assert_allclose(unknown, known, rtol=1e-5)


@pytest.mark.slow
def test_head_behind_an_evaluation_with_our_callback_goes_on():
    class Evaluate(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                x, y = small_problem.data()
                self.model.evaluate(x, y, callbacks=[callback], verbose=0)

    callback, steps = LipschitzLR(), RatesOfSteps()
    fit(compiled(), [callback, Evaluate(), steps], epochs=3)
    assert min(steps.rates) > 0.0


@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", pytest.param("sum", marks=pytest.mark.slow)]
)
def test_ignored_class_does_not_count_as_in_keras_losses(reduction):
    x, y = small_problem.data()
    x, y = x[:BATCH], np.array([0, -1, 2, -1])
    model = compiled()
    loss = keras.losses.SparseCategoricalCrossentropy(
        ignore_class=-1, reduction=reduction
    )
    model.compile(keras.optimizers.SGD(0.1), loss=loss)
    callback = LipschitzLR(bound="strict", **FROZEN)
    fit(model, [callback], 1, x=x, y=y, batch_size=BATCH)
    valid = head_inputs(model, x)[0][[0, 2]].tolist()
    expected = reference.strict(SOFTMAX, valid, CLASSES)
    if reduction == "sum":
        expected *= len(valid)
    assert callback.history["lipschitz_constant"][0] == pytest.approx(expected, 1e-5)


def test_head_within_a_layer_of_the_users_own_can_be_named():
    @keras.saving.register_keras_serializable("tests")
    class Block(keras.Layer):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(CLASSES, "softmax", name="inner")

        def build(self, shape):
            self.dense.build(shape)

        def call(self, inputs):
            return self.dense(inputs)

    model = keras.Sequential([keras.Input((5,)), Block()])
    model.compile(keras.optimizers.SGD(0.1), loss=SOFTMAX)
    callback = LipschitzLR(layer="inner", **FROZEN)
    x, _ = small_problem.data()
    fit(model, [callback], epochs=1)
    norms = [np.linalg.norm(batch) for batch in batches(x.astype("float64"))]
    assert callback.history["activation_norm"][0] == pytest.approx(max(norms), 1e-5)


def test_targets_that_are_not_scaled_are_said_and_do_no_damage():
    """A floor of 1e-6, as in 0.1.0, is above 1/L and ends in weights of NaN."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8)).astype("float32")
    y = 2e5 + 1e5 * x[:, :1]
    kernel = keras.initializers.GlorotUniform(seed=1)
    hidden = keras.layers.Dense(16, "relu", kernel_initializer=kernel)
    head = keras.layers.Dense(1, kernel_initializer=kernel)
    model = keras.Sequential([keras.Input((8,)), hidden, head])
    model.compile(keras.optimizers.SGD(momentum=0.875), "mse")
    callback, number = LipschitzLR(memory=1.0, anneal=0.0), []

    def count(batch, logs):
        number.append(len(caught))

    # Nobody knows the constant before the first step has measured it.
    counting = keras.callbacks.LambdaCallback(on_train_batch_end=count)
    with pytest.warns(UserWarning, match="standardize them") as caught:
        fit(model, [callback, counting], 12, x=x, y=y, batch_size=8)
    assert set(number) == {1}
    assert len(caught) == 1
    assert all(np.isfinite(each).all() for each in model.get_weights())
    constant = max(callback.history["lipschitz_constant"])
    expected = 2.0 * 0.125 / constant
    assert callback.history["learning_rate"][-1] == pytest.approx(expected, rel=1e-5)
    assert expected < 1e-6


LIMITED = {"min_learning_rate": 0.1, "max_learning_rate": 0.1}


def test_limits_hold():
    limits = {"min_learning_rate": 0.25, "max_learning_rate": 0.26, "anneal": 0.0}
    history = fit(compiled(), [LipschitzLR(**limits)])
    rates = history.history["learning_rate"]
    assert all(0.25 <= rate <= 0.26 * (1 + 1e-6) for rate in rates)


def test_verbose_prints_the_sentence_of_keras(capsys):
    fit(compiled(), [LipschitzLR(verbose=1)], epochs=2)
    assert "Epoch 1: LipschitzLR setting learning rate to 0." in capsys.readouterr().out


def test_diagnostics_in_the_logs_are_those_of_the_history():
    callback = LipschitzLR(log_diagnostics=True)
    logs = fit(compiled(), [callback], epochs=2).history
    assert len(logs["activation_norm"]) == 2
    assert callback.history.items() <= logs.items()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"bound": "loose"}, r"`bound` must be one of .*Received: bound='loose'"),
        ({"update": "step"}, r"`update` must be one of .*Received: update='step'"),
        ({"source": "oracle"}, r"`source` must be one of .*source='oracle'"),
        ({"min_learning_rate": 0.0}, r"0 < `min_learning_rate`.*=0.0"),
        ({"max_learning_rate": np.inf}, r"`max_learning_rate` < inf.*=inf"),
        ({"min_learning_rate": 2.0, "max_learning_rate": 1.0}, r"<= `max.*=2.0.*=1.0"),
        ({"source": "forward_pass"}, r"`data` must be given with"),
        ({"data": np.zeros((2, 2))}, r"`data` must be given with"),
        (
            {"source": "forward_pass", "data": np.zeros((2, 2)), "update": "batch"},
            r"`update` must be \"epoch\"",
        ),
        ({"factor": 0.0}, r"`factor` must be .*positive.*factor=0.0"),
        ({"memory": 1.5}, r"`memory` must be between 0 and 1.*memory=1.5"),
        ({"anneal": -0.1}, r"`anneal` must be between 0 and 1.*anneal=-0.1"),
        ({"constant": -1.0, "bound": "strict"}, r"`constant` must be a positive"),
        ({"constant": 1.0, "bound": "paper"}, r"with `bound=\"strict\"`.*='paper'"),
    ],
)
def test_wrong_arguments_are_refused_by_the_constructor(kwargs, message):
    with pytest.raises(ValueError, match=message):
        LipschitzLR(**kwargs)


def model_of(*layers, loss=SOFTMAX):
    model = keras.Sequential([keras.Input((5,)), *layers])
    model.compile(keras.optimizers.SGD(0.1), loss=loss)
    return model


def dense(activation=None, units=CLASSES, **kwargs):
    return keras.layers.Dense(units, activation, **kwargs)


def convolutional():
    return model_of(
        keras.layers.Reshape((5, 1)),
        keras.layers.Conv1D(CLASSES, 5),
        keras.layers.Flatten(),
    )


LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize(
    ("make", "kwargs", "message"),
    [
        (convolutional, {}, r"`keras.layers.Dense` layer as the last.*flatten"),
        (two_outputs, {}, r"needs one head. Received: a model with 2 outputs"),
        (lambda: model_of(dense()), {}, r"behind a softmax.*\('linear',\)"),
        (
            lambda: model_of(dense("softmax"), loss=own_loss),
            {},
            r"`loss` must be one.*own",
        ),
        (
            lambda: model_of(dense("softmax"), loss="kl_divergence"),
            {},
            r"kl_divergence",
        ),
        (lambda: model_of(dense("gelu"), loss="mae"), {}, r"steeper than 1.*gelu"),
        (
            lambda: model_of(dense(), keras.layers.ELU(5.0), loss="mae"),
            {},
            r"steeper than 1.*'alpha': 5.0",
        ),
        (two_outputs_behind_reshape, {"layer": "second"}, r"its loss is known among"),
        (
            lambda: model_of(dense("softmax"), loss=None),
            {},
            r"must be given to `compile",
        ),
        (
            lambda: model_of(
                dense("softmax", kernel_regularizer="orthogonal_regularizer")
            ),
            {},
            r"regularizers L1, L2 and L1L2.*OrthogonalRegularizer",
        ),
        (
            lambda: model_of(dense("softmax", activity_regularizer="l2")),
            {},
            r"`activity_regularizer`",
        ),
        (
            lambda: model_of(dense("softmax")),
            {"layer": "x"},
            r"`layer` must be a layer",
        ),
        (
            lambda: model_of(keras.layers.ReLU(name="r"), dense("softmax")),
            {"layer": "r"},
            r"`layer` must be a `keras.layers.Dense`.*type ReLU",
        ),
        (
            lambda: model_of(dense(units=2), loss="mae"),
            {"bound": "paper"},
            r"`bound` must be \"strict\" for the loss 'mean_absolute_error'",
        ),
        (
            lambda: model_of(dense("sigmoid"), loss="binary_crossentropy"),
            {"bound": "paper"},
            r"`bound` must be \"strict\".*with 3 outputs",
        ),
        (
            lambda: model_of(
                dense(), loss=keras.losses.MeanSquaredError(reduction="none")
            ),
            {"bound": "strict"},
            r"reduced to one number.*'none'",
        ),
        (
            lambda: model_of(dense(), loss=LOGITS),
            {"tikhonov": np.zeros((3, 4))},
            r"column for each input of the weights, 5",
        ),
    ],
)
def test_model_without_a_formula_is_refused_before_the_first_step(
    make, kwargs, message
):
    model = make()
    weights = model.get_weights()
    x, y = small_problem.data()
    with pytest.raises(ValueError, match=message):
        fit(model, [LipschitzLR(**kwargs)], 1, x=x, y=y)
    for new, old in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    ("make", "loss"),
    [
        (lambda: dense("sigmoid", 1), "binary_crossentropy"),
        (dense, LOGITS),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                (
                    lambda: dense(None, 1),
                    keras.losses.BinaryCrossentropy(from_logits=True),
                ),
                (lambda: dense(None, 1), "hinge"),
                (lambda: dense("relu", 1), "mse"),
                (lambda: dense("tanh", 2), "mae"),
            )
        ),
    ],
)
def test_defaults_work_for_every_supported_head(make, loss):
    x, y = small_problem.data()
    head = make()
    targets = y if head.units == CLASSES else np.ones((len(y), head.units))
    model = model_of(head, loss=loss)
    history = fit(model, [LipschitzLR()], 1, x=x, y=targets)
    assert np.isfinite(history.history["learning_rate"]).all()
