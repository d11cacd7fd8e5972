"""`LearningRateWalk` decides as a walk that really takes both steps, in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers

import keras_lr
from keras_lr import _keras
from keras_lr.training.derivatives import optimizer_tangent
from tests.references.walk import Walk

pytestmark = pytest.mark.usefixtures("float64")

BATCH, STEPS, CLASSES = 5, 16, 3
# Steps of a climb, and of a training whose rate falls.
CLIMB, FALL = 40, 60
# Of float64 in its last bits, over that many steps.
ROUNDING = {"rtol": 1e-10, "atol": 1e-13}


def dense(units, *args, seed=1, **kwargs):
    initializer = keras.initializers.GlorotUniform(seed)
    return layers.Dense(units, *args, kernel_initializer=initializer, **kwargs)


def network(*hidden):
    head = dense(CLASSES, "softmax", seed=2)
    return keras.Sequential([keras.Input((6,)), *hidden, head])


def penalized():
    return network(dense(8, "tanh", kernel_regularizer=keras.regularizers.L2(0.125)))


MODELS = {
    "plain": lambda: network(dense(8, "tanh")),
    "linear": lambda: network(dense(8)),
    "l2": penalized,
    "batch_norm": lambda: network(dense(8), layers.BatchNormalization()),
    "dropout": lambda: network(dense(8, "tanh"), layers.Dropout(0.5, seed=3)),
    "noise_and_norm": lambda: network(
        layers.GaussianNoise(0.5, seed=4), dense(8), layers.BatchNormalization()
    ),
}
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.25),
    "momentum": lambda: optimizers.SGD(0.125, momentum=0.5),
    "nesterov": lambda: optimizers.SGD(0.125, momentum=0.5, nesterov=True),
    "adam": lambda: optimizers.Adam(0.125),
    "adamw": lambda: optimizers.AdamW(0.125, weight_decay=0.125),
    "rmsprop": lambda: optimizers.RMSprop(0.0625),
    "lion": lambda: optimizers.Lion(0.03125),
    "clipped": lambda: optimizers.Adam(0.125, global_clipnorm=0.05),
}
FAST = [("noise_and_norm", "sgd")]
CASES = [("plain", name) for name in OPTIMIZERS]
CASES += [("l2", "adam"), ("batch_norm", "momentum"), ("dropout", "adam")]
CASES += [("noise_and_norm", "sgd")]
each_case = pytest.mark.parametrize(
    "case",
    [
        pytest.param(each, marks=[] if each in FAST else [pytest.mark.slow])
        for each in CASES
    ],
    ids="-".join,
)


def batches(steps=None, large=()):
    """Return batches with random labels, or more that can be learned.

    What the labels of these mean changes after the 40th. The inputs of large ones are
    three times as large.
    """
    rng = np.random.default_rng(0)
    rows = BATCH * (steps or STEPS)
    x, y = rng.normal(size=(rows, 6)), rng.integers(0, CLASSES, rows)
    if steps is not None:
        y = np.argmax(x[:, :CLASSES], axis=1)
        y[BATCH * CLIMB :] = (y[BATCH * CLIMB :] + 1) % CLASSES
    for each in large:
        x[BATCH * each : BATCH * (each + 1)] *= 3.0
    return [
        (x[start : start + BATCH], y[start : start + BATCH])
        for start in range(0, rows, BATCH)
    ]


def compiled(case):
    keras.utils.set_random_seed(0)
    model, optimizer = MODELS[case[0]](), OPTIMIZERS[case[1]]()
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss=loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def walked(case, *args, steps=None, large=(), **kwargs):
    """Train a model with the callback; return both."""
    model = compiled(case)
    walk = keras_lr.LearningRateWalk(*args, **kwargs)
    x, y = map(np.concatenate, zip(*batches(steps, large), strict=True))
    model.fit(x, y, BATCH, shuffle=False, verbose=0, callbacks=[walk])
    return model, walk


def reference(case, *args, rate=None, steps=None, large=(), **kwargs):
    """Train a model by the slow reference; return both, and the rates."""
    model = compiled(case)
    if rate is not None:
        model.optimizer.learning_rate.assign(rate)
    walk = Walk(model, *args, **kwargs)
    rates = [walk.train_on(batch) for batch in batches(steps, large)]
    return model, walk, rates


def numpy(variables):
    return [each.numpy() for each in variables]


def assert_equal(model, other):
    for a, b in zip(model.variables, other.variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), **ROUNDING)


@pytest.mark.slow
@each_case
def test_decisions_are_those_of_two_real_steps(case):
    model, walk = walked(case, 1.25, every=1, probe="loss")
    slow_model, slow, rates = reference(case, 1.25)
    taken, raised = zip(*slow.losses, strict=True)
    np.testing.assert_allclose(walk.history["learning_rate"], rates, **ROUNDING)
    np.testing.assert_allclose(walk.history["loss_after"], taken, **ROUNDING)
    np.testing.assert_allclose(walk.history["raised_loss"], raised, **ROUNDING)
    assert len(set(np.sign(np.diff(rates)))) == 2  # It went both ways.
    assert_equal(model, slow_model)


class HalfUsed(keras.Model):
    """Has a layer whose weights have no gradient."""

    def __init__(self):
        super().__init__()
        self.unused, self.used = dense(4, seed=3), dense(CLASSES, "softmax")
        self.build((None, 6))

    def call(self, x):
        self.unused(x)
        return self.used(x)

    def build(self, input_shape):
        self.unused.build(input_shape)
        self.used.build(input_shape)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_trial_of_many_weights_is_compiled_and_the_same(monkeypatch):
    monkeypatch.setitem(MODELS, "half_used", HalfUsed)
    case, kwargs = ("half_used", "adam"), {"every": 1, "probe": "loss"}
    _, plain = walked(case, 1.25, **kwargs)
    made = []

    def function(body, **options):
        made.append((body.__name__, plain_function(body, **options)))
        return made[-1][1]

    plain_function = tf.function
    monkeypatch.setattr(optimizer_tangent, "COMPILED_FROM", 1)
    monkeypatch.setattr(tf, "function", function)
    _, walk = walked(case, 1.25, **kwargs)
    traces = [
        f.experimental_get_tracing_count() for n, f in made if n == "_weights_after"
    ]
    assert traces == [1]
    for name, values in plain.history.items():
        np.testing.assert_allclose(walk.history[name], values, **ROUNDING)


def test_decisions_on_a_parabola_are_those_by_hand():
    """The table in docs/methods/walk.md: w <- (1 - eta) w, and the best rate is 1."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False)])
    model.compile(optimizers.SGD(0.5), loss="mse", jit_compile=False)
    model.set_weights([np.array([[1.0]])])
    walk = keras_lr.LearningRateWalk(1.25)
    # (x w)^2 = w^2 / 2
    x, y = np.full((4, 1), 2**-0.5), np.zeros((4, 1))
    model.fit(x, y, batch_size=1, verbose=0, callbacks=[walk])
    taken = [0.5, 0.1875, 0.041015625, 0.00096130371]
    raised = [0.375, 0.109375, 0.00439453125, -0.00905227661]
    rates = [0.5, 0.625, 0.78125, 0.9765625]
    history = {name: np.array(values) for name, values in walk.history.items()}
    np.testing.assert_allclose(history["learning_rate"], rates, **ROUNDING)
    np.testing.assert_allclose(2 * history["loss_after"], np.square(taken), rtol=1e-8)
    np.testing.assert_allclose(2 * history["raised_loss"], np.square(raised), rtol=1e-7)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.78125, rel=1e-12)


@pytest.mark.slow
def test_every_third_step_decides_alone():
    case = "plain", "momentum"
    model, walk = walked(case, 1.5, every=3, probe="loss")
    slow_model, slow, rates = reference(case, 1.5, every=3)
    np.testing.assert_allclose(walk.history["learning_rate"], rates, **ROUNDING)
    is_due = np.isfinite(walk.history["raised_loss"])
    np.testing.assert_array_equal(is_due, np.arange(1, STEPS + 1) % 3 == 0)
    found = np.array(walk.history["raised_loss"])[is_due]
    np.testing.assert_allclose(found, [b for _, b in slow.losses], **ROUNDING)
    assert_equal(model, slow_model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "probe", "memory"),
    [
        ("momentum", "slope", 0.5),
        ("adam", "loss", 0.9),
        ("sgd", "slope", 0.0),
        ("adam", "slope", 0.9),
    ],
)
def test_climb_is_that_of_the_reference(name, probe, memory):
    case = "plain", name
    model, walk = walked(case, every=3, probe=probe, anneal=0.0, steps=CLIMB)
    # A hundredth of the optimizer's own rate.
    rate = 0.01 * float(OPTIMIZERS[name]().learning_rate)
    kwargs = {"largest": 1.3, "probe": probe, "share": np.sqrt(1.0 - memory)}
    kwargs |= {"every": 3, "rate": rate, "steps": CLIMB}
    slow_model, slow, rates = reference(case, 1.01**3, **kwargs)
    np.testing.assert_allclose(walk.history["learning_rate"], rates, **ROUNDING)
    is_due = np.isfinite(walk.history["loss_after"])
    assert is_due.sum() == len(slow.losses) > CLIMB / 3
    assert max(walk.history["factor"]) > 1.2
    assert walk.restarts == []
    assert_equal(model, slow_model)


@pytest.mark.parametrize(
    ("name", "memory"),
    [
        ("momentum", 0.5),
        pytest.param("sgd", 0.0, marks=pytest.mark.slow),
        pytest.param("adam", 0.9, marks=pytest.mark.slow),
    ],
)
def test_rate_falls_as_in_the_reference_while_losses_are_higher_than_before(
    name, memory
):
    case = "plain", name
    model, walk = walked(case, every=3, anneal=0.0, steps=FALL)
    share = np.sqrt(1.0 - memory)
    rate = 0.01 * float(OPTIMIZERS[name]().learning_rate)
    kwargs = {"largest": 1.3, "probe": "slope", "share": share, "every": 3}
    kwargs |= {"rate": rate, "steps": FALL}
    slow_model, slow, rates = reference(case, 1.01**3, **kwargs)
    assert 0 < sum(slow.falls) < FALL - CLIMB
    np.testing.assert_allclose(walk.history["learning_rate"], rates, **ROUNDING)
    assert_equal(model, slow_model)


@pytest.mark.parametrize(
    ("name", "memory"),
    [
        ("sgd", 0.0),
        pytest.param("momentum", 0.5, marks=pytest.mark.slow),
        pytest.param("adam", 0.9, marks=pytest.mark.slow),
    ],
)
def test_step_with_a_large_gradient_is_shortened_as_in_the_reference(name, memory):
    # Before the 20th, nobody knows what is large. A trial is due in each step.
    case, large = ("linear", name), (2, 20)
    kwargs = {"every": 1, "steps": CLIMB, "large": large}
    model, walk = walked(case, anneal=0.0, **kwargs)
    kwargs |= {"largest": 1.3, "probe": "slope", "share": np.sqrt(1.0 - memory)}
    rate = 0.01 * float(OPTIMIZERS[name]().learning_rate)
    slow_model, slow, rates = reference(case, 1.01, rate=rate, **kwargs)
    short = [step for step, each in enumerate(slow.shortenings) if each < 1.0]
    assert min(short) >= 20
    assert 20 in short
    assert 0.1 < min(slow.shortenings) < 1.0
    np.testing.assert_allclose(walk.history["learning_rate"], rates, **ROUNDING)
    assert_equal(model, slow_model)


@each_case
def test_plain_training_at_the_rates_of_the_walk_is_equal_to_the_last_bit(case):
    """Nothing but the rate is changed: no weight, slot, statistic or seed."""
    model, walk = walked(case, 1.25, every=1, probe="loss")
    plain = compiled(case)
    for rate, batch in zip(walk.history["learning_rate"], batches(), strict=True):
        plain.optimizer.learning_rate.assign(rate)
        plain.train_on_batch(*batch)
    own = [*model.variables, *model.optimizer.variables]
    others = [*plain.variables, *plain.optimizer.variables]
    # TensorFlow adds up what a batch normalization consists of in another order where
    # its graph has more in it.
    tolerance = ROUNDING if "norm" in case[0] else {"rtol": 0.0, "atol": 0.0}
    is_rate = [each is plain.optimizer.learning_rate for each in others]
    for a, b, skip in zip(own, others, is_rate, strict=True):
        if not skip:
            np.testing.assert_allclose(a.numpy(), b.numpy(), **tolerance)


def loss_by_rate(case, walk, number):
    """Return the loss of a batch after its step, as a function of the step's rate."""
    model = compiled(case)
    slow = Walk(model, 2.0)
    data = batches()
    rates = walk.history["learning_rate"]
    for rate, batch in zip(rates[:number], data[:number], strict=True):
        model.optimizer.learning_rate.assign(rate)
        model.train_on_batch(*batch)
    before = slow.state()

    def loss(rate):
        weights = slow.weights_after(rate, data[number], before)
        return slow.loss_at(weights, data[number], before)

    return loss, rates[number]


@each_case
def test_slope_is_the_derivative_of_the_loss_after_the_step(case):
    _, walk = walked(case, 1.25, every=1, probe="slope")
    number = 5
    loss, rate = loss_by_rate(case, walk, number)
    spacing = 2.0**-14 * rate
    differences = [loss(rate + k * spacing) for k in (-2, -1, 1, 2)]
    expected = np.dot(differences, (1, -8, 8, -1)) / (12 * spacing)
    # Rounding, 1e-16 of the loss over a spacing of 1e-5.
    assert walk.history["slope"][number] == pytest.approx(expected, rel=1e-8)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize(
    ("name", "smoothing"),
    [pytest.param("plain", 0.5, marks=pytest.mark.slow), ("half_used", 0.0)],
)
def test_slope_of_gradient_descent_is_that_of_any_optimizer(
    monkeypatch, name, smoothing
):
    monkeypatch.setitem(MODELS, "half_used", HalfUsed)
    options = {"every": 3, "smoothing": smoothing, "anneal": 0.0}
    _, known = walked((name, "sgd"), **options)
    monkeypatch.setattr(_keras.PureStep, "is_plain_descent", False)
    _, found = walked((name, "sgd"), **options)
    assert np.isfinite(found.history["slope"]).sum() > 3
    for column, values in found.history.items():
        np.testing.assert_allclose(known.history[column], values, **ROUNDING)


def test_smoothed_walk_sees_the_average_go_down_the_slope_of_the_batch():
    case, own_rate = ("plain", "sgd"), {"initial_learning_rate": 0.03125}
    _, walk = walked(case, every=1, smoothing=0.75, anneal=0.0, **own_rate)
    plain = compiled(case)
    weights = plain.trainable_variables

    def gradients(batch):
        x, y = map(tf.convert_to_tensor, batch)
        with tf.GradientTape() as tape:
            loss = plain.compute_loss(x, y, plain(x, training=True))
        return [g.numpy() for g in tape.gradient(loss, [w.value for w in weights])]

    def product(first, second):
        return sum(np.sum(a * b) for a, b in zip(first, second, strict=True))

    average = [np.zeros(w.shape) for w in weights]
    for number, batch in enumerate(batches()):
        own = gradients(batch)
        average = [0.75 * a + 0.25 * g for a, g in zip(average, own, strict=True)]
        step = [each / (1 - 0.75 ** (number + 1)) for each in average]
        for weight, each in zip(weights, step, strict=True):
            weight.assign_sub(walk.history["learning_rate"][number] * each)
        after = -product(gradients(batch), step)
        assert walk.history["slope"][number] == pytest.approx(after, rel=1e-10)


@pytest.mark.parametrize(
    ("name", "high"),
    [
        ("sgd", 4.0),
        pytest.param("momentum", 2.0, marks=pytest.mark.slow),
        pytest.param("adam", 1.0, marks=pytest.mark.slow),
    ],
)
def test_slope_decides_as_the_loss_does_for_a_factor_near_one(name, high):
    kwargs = {"factor": 1.0 + 2**-20, "every": 1, "initial_learning_rate": high}
    _, by_loss = walked(("plain", name), probe="loss", **kwargs)
    _, by_slope = walked(("plain", name), probe="slope", **kwargs)
    rates = by_loss.history["learning_rate"]
    assert len(set(np.sign(np.diff(rates)))) == 2
    assert by_slope.history["learning_rate"] == rates


@pytest.mark.slow
def test_slope_and_loss_may_differ_for_a_large_factor():
    """The slope is downhill at the rate, and the loss at twice the rate is higher."""
    case = "plain", "sgd"
    _, walk = walked(case, 8.0, every=1, probe="slope")
    slopes = np.array(walk.history["slope"])
    higher = []
    for number in range(6):
        loss, rate = loss_by_rate(case, walk, number)
        higher.append(loss(8.0 * rate) > loss(rate))
    assert (slopes[:6][higher] < 0).any()


@pytest.mark.slow  # Each step is traced anew.
def test_momentum_is_tried_with_the_step_at_another_momentum():
    case = "plain", "momentum"
    names = ("learning_rate", "momentum")
    _, walk = walked(case, 1.25, every=1, probe="loss", hyperparameters=names)
    model = compiled(case)
    slow = Walk(model, 1.25)
    rate, momentum = 0.125, 0.5
    for number, batch in enumerate(batches()):
        before = slow.state()
        losses = []
        for tried in (
            (rate, momentum),
            (1.25 * rate, momentum),
            (rate, 1 - (1 - momentum) / 1.25),
        ):
            weights = after_step(slow, *tried, batch, before)
            losses.append(slow.loss_at(weights, batch, before))
        found = [
            walk.history[name][number]
            for name in ("loss_after", "raised_loss", "momentum_raised_loss")
        ]
        # Keras takes the momentum in its code to float32.
        np.testing.assert_allclose(found, losses, rtol=1e-6)
        after_step(slow, rate, momentum, batch, before)
        rate *= 1.25 if losses[1] < losses[0] else 1 / 1.25
        momentum = 1 - (1 - momentum) * (1 / 1.25 if losses[2] < losses[0] else 1.25)
        momentum = max(momentum, 1e-30)  # At 0, Keras leaves the velocity alone.
    assert walk.history["momentum"][-1] != 0.5


def after_step(slow, rate, momentum, batch, before):
    """Return the weights after a step at a momentum, which Keras holds in its code."""
    slow.model.optimizer.momentum = momentum
    slow.model.make_train_function(force=True)
    return slow.weights_after(rate, batch, before)


def test_gradients_are_smoothed_before_the_optimizer_gets_them():
    case = "plain", "sgd"
    model, walk = walked(case, 1.25, every=1, probe="loss", smoothing=0.75)
    plain = compiled(case)
    average = [np.zeros(w.shape) for w in plain.trainable_variables]
    for number, (rate, batch) in enumerate(
        zip(walk.history["learning_rate"], batches(), strict=True)
    ):
        old = numpy(plain.trainable_variables)
        plain.optimizer.learning_rate.assign(1.0)
        plain.train_on_batch(*batch)
        gradients = [
            a - b for a, b in zip(old, numpy(plain.trainable_variables), strict=True)
        ]
        average = [0.75 * a + 0.25 * g for a, g in zip(average, gradients, strict=True)]
        total = 1 - 0.75 ** (number + 1)
        for variable, a, m in zip(plain.trainable_variables, old, average, strict=True):
            variable.assign(a - rate * m / total)
    for a, b in zip(model.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), **ROUNDING)
