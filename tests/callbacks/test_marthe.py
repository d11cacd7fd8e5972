"""`MARTHE` beside its slow reference, its options one by one, and what it refuses.

`test_marthe_derivatives` compares its tangents with differences of plain training.
"""

import copy
import functools
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lr
from keras_lr import HypergradientDescent
from keras_lr.training.derivatives import optimizer_tangent
from keras_lr.training.hypergradient.around_step import HypergradientStep
from tests.callbacks.watched_restart import Watch
from tests.references import marthe as reference

pytestmark = pytest.mark.usefixtures("float64")

BATCH, BATCHES, FEATURES, CLASSES = 6, 10, 4, 3
# Two ways of rounding 1e-16, of sums of some ten products, over 50 steps, in which a
# difference grows by the curvature; and hypergradients near 0 lose digits.
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
OPTIMIZERS = {
    "sgd": (reference.SGD(), keras.optimizers.SGD),
    "momentum": (
        reference.Momentum(0.875),
        functools.partial(keras.optimizers.SGD, momentum=0.875),
    ),
    "adam": (
        reference.Adam(0.875, 0.96875, 2.0**-20),
        lambda rate: keras.optimizers.Adam(rate, 0.875, 0.96875, 2.0**-20),
    ),
}
RATE = 0.0625
# Of no account in most tests: the rate is held.
HELD = {"update": "additive", "hyper_learning_rate": 0.0, "anneal": 0.0}
WHOLE = {"curvature_batch_size": None, "validation_batch_size": 99}


def draw(seed, rows):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, FEATURES)), rng.integers(0, CLASSES, rows)


TRAINING, VALIDATION = draw(0, BATCH * BATCHES), draw(1, 16)
# The next batch, which is the default, is the harder one to come by.
each_validation = pytest.mark.parametrize(
    "validation",
    [
        pytest.param(VALIDATION, id="data", marks=pytest.mark.slow),
        pytest.param(None, id="next_batch"),
    ],
)
WEIGHTS = 0.5 * np.random.default_rng(2).normal(size=(FEATURES + 1) * CLASSES)


def batches(data=TRAINING, size=BATCH):
    x, y = data
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(y), size)]


def regression(optimizer="sgd", *, rate=RATE, penalty=0.0, kind=keras.Sequential):
    """The reference's softmax regression, in Keras."""
    l2 = keras.regularizers.L2(penalty) if penalty else None
    layer = keras.layers.Dense(CLASSES, kernel_regularizer=l2)
    model = kind([keras.Input((FEATURES,)), layer])
    if isinstance(optimizer, str):
        optimizer = OPTIMIZERS[optimizer][1](rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss=loss, jit_compile=False)
    # TensorFlow traces a step twice that makes variables.
    model.optimizer.build(model.trainable_variables)
    kernel = FEATURES * CLASSES
    model.set_weights([WEIGHTS[:kernel].reshape(FEATURES, CLASSES), WEIGHTS[kernel:]])
    return model


def fit(model, *callbacks, data=TRAINING, batch_size=BATCH, epochs=1):
    kwargs = {"batch_size": batch_size, "epochs": epochs, "callbacks": list(callbacks)}
    return model.fit(*data, shuffle=False, verbose=0, **kwargs)


def expected(optimizer="sgd", validation=VALIDATION, *, epochs=1, **options):
    return reference.marthe(
        OPTIMIZERS[optimizer][0],
        WEIGHTS,
        batches() * epochs,
        validation,
        **{"learning_rate": RATE} | options,
    )


def assert_same_history(history, other):
    assert set(history) <= set(other)
    for name, values in history.items():
        np.testing.assert_allclose(values, other[name], err_msg=name, **CLOSE)


ADAPTATION = "hyper_learning_rate_adaptation"
ALGORITHMS = {
    "additive": {"discount": 0.75, "hyper_learning_rate": 0.01},
    "adaptive": {"discount": "adaptive", "hyper_learning_rate": 2e-3, ADAPTATION: 1e-2},
    "log": {"update": "log", "discount": 0.75, "hyper_learning_rate": 0.25},
    "automatic": {"update": "log", "discount": "auto", "hyper_learning_rate": 1.0},
}


# Each algorithm and each optimizer once; the rest slowly.
FAST = [("additive", "sgd"), ("log", "momentum"), ("automatic", "adam")]
PAIRS = [
    pytest.param(*pair, marks=[] if pair in FAST else [pytest.mark.slow])
    for pair in itertools.product(ALGORITHMS, OPTIMIZERS)
]


@pytest.mark.parametrize(("algorithm", "optimizer"), PAIRS)
def test_fifty_steps_are_those_of_the_reference(optimizer, algorithm):
    arguments = {"update": "additive"} | ALGORITHMS[algorithm]
    marthe = keras_lr.MARTHE(
        VALIDATION, anneal=0.0, initial_learning_rate=RATE, **WHOLE, **arguments
    )
    fit(regression(optimizer, rate=9.0, penalty=0.125), marthe, epochs=5)
    arguments["step_size"] = arguments.pop(ADAPTATION, None)
    slow = expected(optimizer, penalty=0.125, epochs=5, **arguments)
    assert len(marthe.history["loss"]) == 50
    assert_same_history(marthe.history, slow)
    if algorithm == "automatic":
        rates = np.array(slow["learning_rate"])
        overshoots = np.array(slow["overshoot"][:-1]) > reference.BRAKE_OF_VALIDATION
        # Rates rise and fall, and some would have risen without the brake.
        assert 5 < np.sum(rates[1:] > rates[:-1]) < 45
        assert np.sum(overshoots & (rates[1:] == rates[:-1])) > 0


@pytest.mark.parametrize(
    "algorithm", [pytest.param("automatic", marks=pytest.mark.slow), "adaptive"]
)
def test_compiled_steps_are_those_of_the_reference(algorithm, monkeypatch):
    """XLA writes to the tangents, the average and the last step where they lie."""
    monkeypatch.setattr(optimizer_tangent, "COMPILED_FROM", 1)
    test_fifty_steps_are_those_of_the_reference("adam", algorithm)


def test_validation_batches_go_round_the_shuffled_rows():
    """5 rows of 16 in each step; they are shuffled once, by a seed of 0."""
    arguments = {"update": "additive", "discount": 0.75, "hyper_learning_rate": 0.01}
    marthe = keras_lr.MARTHE(
        VALIDATION,
        validation_batch_size=5,
        curvature_batch_size=None,
        anneal=0.0,
        **arguments,
    )
    fit(regression(), marthe)
    order = np.random.default_rng(0).permutation(16)
    shuffled = VALIDATION[0][order], VALIDATION[1][order]
    slow = expected(validation=shuffled, validation_batch_size=5, **arguments)
    assert_same_history(marthe.history, slow)


@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param(name, marks=[] if name == "automatic" else [pytest.mark.slow])
        for name in ALGORITHMS
    ],
)
def test_without_validation_data_the_next_batch_takes_their_place(algorithm):
    """The reference goes round the training rows, one batch ahead."""
    arguments = {"update": "additive"} | ALGORITHMS[algorithm]
    marthe = keras_lr.MARTHE(
        anneal=0.0, initial_learning_rate=RATE, **WHOLE, **arguments
    )
    fit(regression("momentum"), marthe, epochs=2)
    arguments["step_size"] = arguments.pop(ADAPTATION, None)
    ahead = tuple(np.roll(each, -BATCH, axis=0) for each in TRAINING)
    arguments |= {"validation_batch_size": BATCH, "epochs": 2, "is_next_batch": True}
    slow = expected("momentum", ahead, **arguments)
    for name in ("hypergradient", "discount", "hyper_learning_rate"):
        assert math.isnan(marthe.history[name][-1])
        slow[name][-1] = math.nan
    assert set(marthe.history) == set(slow) & set(marthe.history) | {"loss"}
    assert "validation_loss" not in marthe.history
    assert_same_history(marthe.history, slow)


def test_votes_of_the_next_batch_by_limited_tangents_are_those_of_the_reference(
    monkeypatch,
):
    """With a limit so low that it acts in half of the steps, and more."""
    for module in (keras_lr.callbacks.marthe, reference):
        monkeypatch.setattr(module, "REACH", 0.125)
    marthe = keras_lr.MARTHE(anneal=0.0, initial_learning_rate=RATE, **WHOLE)
    fit(regression("adam"), marthe, epochs=5)
    ahead = tuple(np.roll(each, -BATCH, axis=0) for each in TRAINING)
    automatic = {"update": "log", "discount": "auto", "hyper_learning_rate": 0.3}
    data = {"validation_batch_size": BATCH, "epochs": 5, "is_next_batch": True}
    slow = expected("adam", ahead, **automatic, **data)
    assert sum(slow["is_limited"]) > 25
    for name in ("hypergradient", "discount", "hyper_learning_rate"):
        slow[name][-1] = math.nan
    assert_same_history(marthe.history, slow)


def test_without_validation_data_the_penalty_is_part_of_the_gradient():
    """<Z_{t+1}, g_{t+1}>, of the gradient that trains."""
    marthe = keras_lr.MARTHE(discount=0.75, **HELD, **WHOLE)
    fit(regression(penalty=0.125), marthe)
    slow = expected(discount=0.75, penalty=0.125)
    after = zip(slow["tangent"], slow["weights"], batches()[1:], strict=False)
    products = [Z @ reference.gradient(w, *batch, 0.125) for Z, w, batch in after]
    np.testing.assert_allclose(
        marthe.history["hypergradient"], [*products, math.nan], **CLOSE
    )


def test_training_that_is_rolled_back_forgets_tangents_votes_and_path(monkeypatch):
    made = []
    make = HypergradientStep.__init__

    def making(self, *args, **kwargs):
        make(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(HypergradientStep, "__init__", making)
    fit(regression("adam"), keras_lr.MARTHE())
    names = (
        "path",
        "path_rate",
        "learning_rate_average_0",
        "learning_rate_square_mean",
    )
    variables = [made[0].variables()[name] for name in names]
    assert all(np.any(each.numpy() != 0.0) for each in variables)
    made[0].restart(0.1)
    assert all(np.all(each.numpy() == 0.0) for each in variables)


def test_rate_stays_between_its_limits():
    limits = {"min_learning_rate": 0.05, "max_learning_rate": 0.07}
    arguments = {"update": "additive", "hyper_learning_rate": 0.1, "discount": 0.75}
    marthe = keras_lr.MARTHE(VALIDATION, anneal=0.0, **limits, **arguments, **WHOLE)
    fit(regression("momentum"), marthe, epochs=2)
    slow = expected("momentum", epochs=2, minimum=0.05, maximum=0.07, **arguments)
    assert_same_history(marthe.history, slow)
    assert {0.05, 0.07} <= set(marthe.history["learning_rate"])


@pytest.mark.parametrize(
    ("update", "formula"),
    [
        ("additive", lambda rate, delta, cosine: rate - 0.01 * delta),
        ("log", lambda rate, delta, cosine: rate * math.exp(-0.01 * cosine)),
    ],
)
def test_rate_moves_in_every_third_step(update, formula):
    marthe = keras_lr.MARTHE(
        VALIDATION,
        **HELD | {"update": update, "hyper_learning_rate": 0.01},
        initial_learning_rate=RATE,
        every=3,
        discount=0.75,
        **WHOLE,
    )
    fit(regression(), marthe)
    seen = np.isfinite(marthe.history["hypergradient"]).nonzero()[0]
    slow = expected(discount=0.75)  # At the first rate, which serves three steps.
    grad_E = reference.gradient(slow["weights"][2], *VALIDATION)
    delta, cosine = (
        slow["hypergradient"][2],
        reference.cosine(slow["tangent"][2], grad_E),
    )
    rates = marthe.history["learning_rate"]
    assert seen.tolist() == [2, 5, 8]
    assert rates[:3] == [RATE] * 3
    assert rates[3] == pytest.approx(formula(RATE, delta, cosine), rel=1e-12)
    assert [len(set(rates[i : i + 3])) for i in (0, 3, 6, 9)] == [1, 1, 1, 1]
    assert len(set(rates)) == 4


@each_validation
@pytest.mark.parametrize(
    "jit_compile",
    [
        pytest.param(False, id="graph"),
        pytest.param(True, id="xla", marks=pytest.mark.slow),
    ],
)
def test_one_step_hypergradient_is_taken_only_where_an_update_needs_it(
    validation, jit_compile
):
    def observed(every):
        descent = HypergradientDescent(validation, every=every, **HELD)
        tangents = []
        watch = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda *_, **__: tangents.append(
                descent._fit.around_step.tuned[0].tangents[0].values()[0][0].numpy()
            )
        )
        model = regression("adam")
        model.jit_compile = jit_compile
        fit(model, descent, watch)
        return np.array(descent.history["hypergradient"]), np.array(tangents)

    every_step, tangents = observed(1)
    every_third, kept = observed(3)
    seen = np.isfinite(every_third)
    np.testing.assert_allclose(every_third[seen], every_step[seen], rtol=1e-12)
    assert seen.nonzero()[0].tolist() == [[1, 4, 7], [2, 5, 8]][validation is not None]
    first = seen.argmax()
    assert not kept[:first].any()
    np.testing.assert_allclose(kept[first : first + 3], tangents[[first] * 3])


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        ({"update": "log"}, 0.01 * RATE),
        pytest.param(
            {"update": "log", "hyper_learning_rate": 0.5}, RATE, marks=pytest.mark.slow
        ),
        pytest.param({"update": "additive"}, RATE, marks=pytest.mark.slow),
        ({"update": "log", "initial_learning_rate": 0.75}, 0.75),
        pytest.param(
            {"update": "additive", "initial_learning_rate": 0.75},
            0.75,
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_first_rate_is_a_hundredth_only_where_all_is_automatic(arguments, first):
    callback = HypergradientDescent(VALIDATION, anneal=0.0, **arguments)
    fit(regression(), callback)
    assert callback.history["learning_rate"][0] == pytest.approx(first, rel=1e-15)


def test_rate_goes_on_from_where_another_fit_left_it():
    model = regression()
    fit(model, HypergradientDescent(VALIDATION, anneal=0.0))
    last = float(model.optimizer.learning_rate)
    again = HypergradientDescent(VALIDATION, anneal=0.0)
    fit(model, again)
    assert again.history["learning_rate"][0] == last


def test_rate_falls_linearly_to_zero_in_the_last_part_and_is_restored():
    """Of 10 steps, the last 4 have 1, 3/4, 1/2 and 1/4; the next one would have 0."""
    callback = HypergradientDescent(VALIDATION, **HELD | {"anneal": 0.4})
    model = regression()
    logs = fit(model, callback).history
    factors = [1.0] * 7 + [0.75, 0.5, 0.25]
    # The count of steps is in float32.
    expected_rates = pytest.approx([RATE * each for each in factors], rel=1e-6)
    assert callback.history["learning_rate"] == expected_rates
    assert logs["learning_rate"] == callback.history["learning_rate"][-1:]
    assert float(model.optimizer.learning_rate) == RATE


@pytest.mark.parametrize(
    ("arguments", "share"),
    [
        ({}, 0.25),
        pytest.param({"update": "additive"}, 0.25, marks=pytest.mark.slow),
        ({"hyper_learning_rate": 0.0}, 1.0),
        pytest.param(
            {"update": "additive", "hyper_learning_rate": 0.0},
            1.0,
            marks=pytest.mark.slow,
        ),
        ({"hyper_learning_rate": 0.0, "anneal": 0.5}, 0.2),
    ],
    ids=str,
)
def test_rate_is_annealed_where_all_is_automatic_or_on_request(arguments, share):
    """The last of ten steps has 1 / (10 anneal) of the rate before it is annealed."""
    callback = HypergradientDescent(VALIDATION, **arguments)
    model = regression()
    fit(model, callback)
    # Of the rate after the last update, which the optimizer is left with.
    before = callback.history["learning_rate"][-1] / share
    after = float(model.optimizer.learning_rate)
    assert before == pytest.approx(after, rel=0.5)
    if arguments.get("hyper_learning_rate") == 0.0:
        assert before == pytest.approx(RATE, rel=1e-6)


def test_rate_after_the_fit_is_the_one_of_the_last_update():
    arguments = {"update": "additive", "hyper_learning_rate": 0.01, "discount": 0.75}
    marthe = keras_lr.MARTHE(VALIDATION, anneal=0.0, **arguments, **WHOLE)
    model = regression()
    fit(model, marthe)
    slow = expected(**arguments)
    last = slow["learning_rate"][-1] - 0.01 * slow["hypergradient"][-1]
    assert float(model.optimizer.learning_rate) == pytest.approx(last, rel=1e-12)


def test_history_is_that_of_the_last_fit():
    callback = HypergradientDescent(VALIDATION, **HELD)
    fit(regression(), callback, epochs=2)
    fit(regression(rate=0.75), callback)
    assert callback.history["learning_rate"] == [0.75] * BATCHES
    assert {len(each) for each in callback.history.values()} == {BATCHES}


@pytest.mark.parametrize(
    ("part", "rows"),
    [
        (4, 4),
        pytest.param(0.75, 15, marks=pytest.mark.slow),
        (0.125, 8),
        *(pytest.param(part, 20, marks=pytest.mark.slow) for part in (1.0, 99)),
    ],
)
def test_curvature_is_that_of_the_first_rows_of_the_batch(part, rows):
    """Z_2 = Z_1 - eta H Z_1 - g_1, with H of these rows, and Z_1 = -g_0."""
    data = TRAINING[0][:40], TRAINING[1][:40]
    marthe = keras_lr.MARTHE(
        VALIDATION,
        discount=1.0,
        curvature_batch_size=part,
        validation_batch_size=99,
        **HELD,
    )
    fit(regression(penalty=0.125), marthe, data=data, batch_size=20)
    first, (x, y) = batches(data, 20)
    g = reference.gradient(WEIGHTS, *first, penalty=0.125)
    w = WEIGHTS - RATE * g
    curvature = reference.hessian_product(w, -g, x[:rows], y[:rows], 0.125)
    g_1 = reference.gradient(w, x, y, penalty=0.125)
    Z = -g - RATE * curvature - g_1
    delta = Z @ reference.gradient(w - RATE * g_1, *VALIDATION)
    assert marthe.history["hypergradient"][1] == pytest.approx(delta, rel=1e-12)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return batches(VALIDATION, 5)[index]


X, Y = VALIDATION
EVEN = X[::2], Y[::2]
FORMS = {
    "list": (lambda: [X, Y], VALIDATION),
    "dataset": (
        lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(5),
        VALIDATION,
    ),
    "py_dataset": (Batches, VALIDATION),
    # Weights of 2 and 0 in turns leave the mean of every other row.
    "weighted": (lambda: (X, Y, np.tile([2.0, 0.0], 8)), EVEN),
    "weighted_dataset": (
        lambda: tf.data.Dataset.from_tensor_slices(
            (X, Y, np.tile([2.0, 0.0], 8))
        ).batch(5),
        EVEN,
    ),
}


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(
            form,
            marks=[]
            if form in ("py_dataset", "weighted_dataset")
            else [pytest.mark.slow],
        )
        for form in FORMS
    ],
)
def test_validation_data_of_any_form_are_the_same(form):
    make, rows = FORMS[form]
    descent = HypergradientDescent(make(), validation_batch_size=99, **HELD)
    fit(regression(), descent)
    assert_same_history(descent.history, expected(validation=rows, discount=0.0))


def linear():
    x, y = np.random.default_rng(0).normal(size=(80, 4)), [1.0, -2.0, 3.0, 0.5]
    return x, x @ y


# What setup.cfg ignores in Keras, which `pytest.warns` passes on without its place.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("update", "rate"),
    [pytest.param("additive", 0.125, marks=pytest.mark.slow), ("log", 128.0)],
)
def test_training_that_diverges_is_rolled_back_and_ends_well(update, rate):
    """The additive update starts with a step of 1, the other one with too high a rate.

    The state to go back to in the first two epochs is that of the beginning.
    """
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    momentum = keras.optimizers.SGD(rate, momentum=0.5)
    model.compile(momentum, loss="mse", jit_compile=False)
    arguments = {"update": update, "initial_learning_rate": rate}
    marthe = keras_lr.MARTHE(linear(), **arguments, **WHOLE)
    watch = Watch(marthe)
    # TensorFlow's own remarks on numbers that overflow are no concern of ours.
    with pytest.warns(
        UserWarning, match=r"`MARTHE` noticed after \d+ steps.* diverges"
    ):
        logs = fit(model, marthe, watch, data=linear(), batch_size=4, epochs=10)
    for after, before in zip(watch.after, watch.before, strict=True):
        np.testing.assert_array_equal(after, before)
    # A candidate after 16 steps, and eight pairs, of which four are in the epoch of 20
    # steps; the rest is looked at eight steps later.
    assert marthe.restarts[0] == 28
    # Steps that were rolled back are not in the mean of their epoch of 20 steps.
    last = max(step for step in marthe.restarts if step < 40)
    rest = np.mean(marthe.history["loss"][last:40])
    assert logs.history["loss"][1] == pytest.approx(rest, rel=1e-5)
    # The last steps may be rolled back too.
    assert model.evaluate(*linear(), verbose=0) < 0.01 * marthe.history["loss"][0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("update", "linear"),
        ("hyper_learning_rate", -1.0),
        ("hyper_learning_rate", math.nan),
        ("hyper_learning_rate", "fast"),
        (ADAPTATION, -1.0),
        (ADAPTATION, math.inf),
        (ADAPTATION, "auto"),
        ("discount", 1.5),
        ("discount", -0.5),
        ("discount", "fixed"),
        ("anneal", 1.5),
        ("validation_batch_size", 0),
        ("validation_batch_size", 2.5),
        ("curvature_batch_size", 0),
        ("curvature_batch_size", 0.0),
        ("curvature_batch_size", 1.5),
        ("hyperparameters", ("momentum",)),
        ("hyperparameters", ("learning_rate", "momentum", "momentum")),
        ("every", 0),
        ("every", True),
        ("initial_learning_rate", 0.0),
        ("initial_learning_rate", math.nan),
        ("min_learning_rate", -1.0),
        ("min_learning_rate", 10.5),
        ("max_learning_rate", math.inf),
    ],
)
def test_wrong_argument_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"`{name}`.* Received: .*{name}="):
        keras_lr.MARTHE(**{name: value})


@pytest.mark.parametrize("kind", [HypergradientDescent, keras_lr.RTHO])
def test_discount_of_the_ends_is_theirs(kind):
    with pytest.raises(TypeError, match="discount"):
        kind(discount=0.5)


@pytest.mark.parametrize("name", ["momentum", "weight_decay", "clipnorm", "heat"])
def test_hyperparameter_that_the_optimizer_was_not_given_is_refused(name):
    marthe = keras_lr.MARTHE(hyperparameters=("learning_rate", name))
    with pytest.raises(ValueError, match=f"positive floats. Received: {name}="):
        fit(regression("sgd"), marthe)


class WritesBeside(keras.optimizers.SGD):
    """Counts its steps in a variable that Keras does not know of."""

    def build(self, variables):
        super().build(variables)
        self.count = tf.Variable(0.0)

    def update_step(self, gradient, variable, learning_rate):
        self.count.assign_add(1.0)
        super().update_step(gradient, variable, learning_rate)


class WritesDirectly(keras.optimizers.SGD):
    """Writes to TensorFlow's variable of a weight."""

    def update_step(self, gradient, variable, learning_rate):
        variable._value.assign_sub(learning_rate * gradient)


class CallsNumPy(keras.optimizers.SGD):
    """Computes outside of TensorFlow, where nothing has a derivative."""

    def update_step(self, gradient, variable, learning_rate):
        gradient = tf.numpy_function(np.sign, [gradient], gradient.dtype)
        super().update_step(gradient, variable, learning_rate)


SGD = keras.optimizers.SGD
CONDITIONAL = {
    "gradient_accumulation_steps=2": {"gradient_accumulation_steps": 2},
    "ema_overwrite_frequency=3": {"use_ema": True, "ema_overwrite_frequency": 3},
}


@pytest.mark.parametrize("received", CONDITIONAL)
def test_optimizer_that_steps_otherwise_at_times_is_refused(received):
    model = regression(SGD(RATE, **CONDITIONAL[received]))
    with pytest.raises(ValueError, match=f"same step at each.*Received: {received}"):
        fit(model, keras_lr.MARTHE())


@pytest.mark.parametrize("kind", [WritesBeside, WritesDirectly, CallsNumPy])
def test_optimizer_that_leaves_keras_is_refused_by_name(kind):
    model = regression(kind(RATE))
    with pytest.raises(ValueError, match=f"takes the optimizer.*<{kind.__name__}>"):
        fit(model, keras_lr.MARTHE())
    np.testing.assert_array_equal(model.get_weights()[1], WEIGHTS[-CLASSES:])


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (lambda: tf.data.Dataset.from_tensors(VALIDATION).repeat(), "RepeatDataset"),
        (lambda: tf.data.Dataset.from_tensors(VALIDATION).take(0), "TakeDataset"),
        (lambda: (X, Y[:-1]), r"\(\(16, 4\), \(15,\)\)"),
        (lambda: (X[:0], Y[:0]), r"\(\(0, 4\), \(0,\)\)"),
        (lambda: (X,), r"\(\(16, 4\),\)"),
        (lambda: X, "ndarray"),
    ],
    ids=["endless", "no_batches", "unequal", "no_rows", "no_labels", "array"],
)
def test_wrong_validation_data_are_refused(make, received):
    with pytest.raises(ValueError, match=f"`validation_data` must.*{received}"):
        fit(regression(), keras_lr.MARTHE(make()))


class Custom(keras.Sequential):
    """Trains by the step of Keras's guide."""

    calls = 1

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_weights)
        for _ in range(self.calls):
            self.optimizer.apply(gradients, self.trainable_weights)
        return {"loss": loss}


class Scaled(Custom):
    """Trains by the same step, for half precision too."""

    def compute_loss(self, *args, **kwargs):
        return self.optimizer.scale_loss(super().compute_loss(*args, **kwargs))


class Twice(Custom):
    calls = 2


class Never(Custom):
    calls = 0


@pytest.mark.parametrize(("kind", "times"), [(Never, 0), (Twice, 2)])
def test_step_that_does_not_call_its_optimizer_once_is_refused(kind, times):
    with pytest.raises(ValueError, match=f"once. Received: .* {times} times"):
        fit(regression(kind=kind), keras_lr.MARTHE())


@pytest.mark.parametrize("kind", [Custom, pytest.param(Scaled, marks=pytest.mark.slow)])
@each_validation
def test_custom_training_step_gives_the_same_numbers(kind, validation):
    arguments = {"update": "additive", "hyper_learning_rate": 0.01, "discount": 0.75}

    def history(kind):
        marthe = keras_lr.MARTHE(validation, **arguments, **WHOLE)
        fit(regression("momentum", kind=kind), marthe)
        return marthe.history

    of_custom, plain = history(kind), history(keras.Sequential)
    if kind is Custom:
        # Its loss is not seen: only what is given to `scale_loss` is.
        assert np.isnan(of_custom.pop("loss")).all()
    assert_same_history(of_custom, plain)


@each_validation
def test_custom_training_step_whose_loss_is_not_seen_does_not_diverge(validation):
    marthe = keras_lr.MARTHE(validation, every=2)
    fit(regression(kind=Custom), marthe, epochs=4)
    assert marthe.restarts == []


@each_validation
def test_factor_of_the_loss_is_not_in_the_hypergradient(validation):
    """The optimizer divides the gradient by it."""

    def hypergradients(**kwargs):
        marthe = keras_lr.MARTHE(validation, **HELD, **WHOLE)
        fit(regression(SGD(RATE, momentum=0.5, **kwargs)), marthe)
        return marthe.history["hypergradient"]

    np.testing.assert_allclose(
        hypergradients(loss_scale_factor=4.0), hypergradients(), **CLOSE
    )


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_rate_rolled_back_in_the_last_steps_of_a_fit_is_the_one_it_ends_with():
    """Of ten steps, all of which diverge: they are looked at after the last."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(SGD(128.0), loss="mse", jit_compile=False)
    marthe = keras_lr.MARTHE(initial_learning_rate=128.0)
    x, y = linear()
    with pytest.warns(UserWarning, match=r"continues with a learning rate of 0\.1\b"):
        fit(model, marthe, data=(x[:40], y[:40]), batch_size=4)
    # The rate that it began with, at most 10, divided by a hundred.
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)


def test_epoch_logs_the_last_hypergradient_that_is_known():
    marthe = keras_lr.MARTHE(VALIDATION, every=4, log_diagnostics=True, **HELD)
    logs = fit(regression(), marthe).history
    assert logs["hypergradient"] == [marthe.history["hypergradient"][7]]


def test_restarts_of_a_copy_are_its_own():
    marthe = keras_lr.MARTHE()
    copy.deepcopy(marthe).restarts.append(1)
    assert marthe.restarts == []


def test_tangents_are_in_float32_and_right_in_half_precision():
    keras.config.set_floatx("float32")

    def hypergradients(policy):
        keras.config.set_dtype_policy(policy)
        rtho = keras_lr.RTHO(VALIDATION, **HELD, **WHOLE)
        kinds = set()
        watch = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda *_, **__: kinds.update(
                each.dtype
                for part in rtho._fit.around_step.tuned[0].tangents[0].variables
                for each in part
            )
        )
        fit(regression("adam"), rtho, watch)
        assert kinds == {"float32"}
        return rtho.history["hypergradient"]

    # 2^-11 of each layer's output and of the Hessian's product, over ten steps.
    expected = pytest.approx(hypergradients("float32"), rel=0.02)
    assert hypergradients("mixed_float16") == expected


@pytest.mark.slow
def test_plain_fit_afterwards_takes_the_momentum_that_was_tuned():
    """Keras's step has it as a number in its trace."""
    model = regression(SGD(RATE, momentum=0.5))
    plain = {"batch_size": 8, "shuffle": False, "verbose": 0}
    model.fit(*TRAINING, **plain)
    marthe = keras_lr.MARTHE(hyperparameters=("learning_rate", "momentum"), every=1)
    logs = fit(model, marthe, epochs=2).history
    assert logs.keys() == {"loss", "learning_rate", "momentum"}
    tuned = model.optimizer.momentum
    assert abs(tuned - 0.5) > 1e-3
    twin = regression(SGD(float(model.optimizer.learning_rate), momentum=tuned))
    twin.optimizer.build(twin.trainable_variables)
    twin.set_weights(model.get_weights())
    pairs = zip(twin.optimizer.variables, model.optimizer.variables, strict=True)
    for variable, value in pairs:
        variable.assign(value.value)
    for each in (model, twin):
        each.fit(*TRAINING, **plain)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@keras.saving.register_keras_serializable(package="tests")
class WithoutSecondDerivative(keras.layers.Layer):
    """The identity, whose gradient's own derivative is NaN."""

    def call(self, inputs):
        @tf.custom_gradient
        def identity(x):
            @tf.custom_gradient
            def gradient(upstream):
                return tf.identity(upstream), lambda _: tf.fill(
                    tf.shape(upstream), tf.constant(math.nan, upstream.dtype)
                )

            return tf.identity(x), gradient

        return identity(inputs)


def test_rate_does_not_stay_at_a_hundredth_without_any_hypergradient():
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(4),
            WithoutSecondDerivative(),
            keras.layers.Dense(CLASSES, "softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(RATE), "sparse_categorical_crossentropy")
    marthe = keras_lr.MARTHE(anneal=0.0)
    before = model.evaluate(*TRAINING, verbose=0)
    with pytest.warns(UserWarning, match=r"10 hypergr.* not finite.* 20 s") as caught:
        fit(model, marthe, epochs=4)
    rates, deltas = (
        np.array(marthe.history[each]) for each in ("learning_rate", "hypergradient")
    )
    assert len(caught) == 1
    # That of a tangent without a past is finite, the next one is not.
    np.testing.assert_array_equal(np.isfinite(deltas[:20]), [False, True] * 10)
    assert rates[0] == pytest.approx(0.01 * RATE, rel=1e-12)
    # The reduction to a hundredth is undone, in a step that moves the rate too.
    assert np.max(rates[1:] / rates[:-1]) == pytest.approx(100.0, rel=0.35)
    assert model.evaluate(*TRAINING, verbose=0) < before
