"""`MARTHE`'s tangents are the derivatives of plain Keras training, in float64.

With a discount of 1 and a rate that is held, Z is dw / d eta and Delta is dE / d eta.
Both are compared with differences of trainings that know of no callback.
"""

import functools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers

import keras_lr

pytestmark = pytest.mark.usefixtures("float64")

BATCH, STEPS, CLASSES = 5, 8, 3
NODES, COEFFICIENTS = (-2, -1, 1, 2), (1 / 12, -8 / 12, 8 / 12, -1 / 12)
SPACING = 2.0**-17
# Of differences of fourth order at so small a part of the rate, the rounding is left,
# 1e-16 / 1e-5, times what the loss of digits in slopes near 0 makes of it.
DIFFERENCES = 1e-6
# The rate is held, and E is always the same.
HELD = {"update": "additive", "hyper_learning_rate": 0.0, "anneal": 0.0}
HELD |= {"validation_batch_size": 99}


def dense(units, *args, seed=1, **kwargs):
    initializer = keras.initializers.GlorotUniform(seed)
    return layers.Dense(units, *args, kernel_initializer=initializer, **kwargs)


def network(*hidden, shape=(6,), dtype="float64"):
    """Put a softmax on these layers."""
    head = dense(CLASSES, "softmax", seed=2)
    return keras.Sequential([keras.Input(shape, dtype=dtype), *hidden, head])


def penalized():
    l2 = keras.regularizers.L2(0.125)
    return network(dense(8, "tanh", kernel_regularizer=l2, bias_regularizer=l2))


def partly_dead():
    """Two of the eight units never fire."""
    bias = keras.initializers.Constant([0.25] * 6 + [-50.0] * 2)
    return network(dense(8, "relu", bias_initializer=bias, name="dead"))


def embedding():
    """Tokens stand several times in a batch, and in a row."""
    table = layers.Embedding(7, 4), layers.Flatten()
    return network(*table, shape=(5,), dtype="int64")


def distinct():
    """No token stands twice in a batch."""
    table = layers.Embedding(25, 4, name="distinct"), layers.Flatten()
    return network(*table, shape=(5,), dtype="int64")


def attention():
    inputs = keras.Input((6,))
    rows = layers.Reshape((3, 2))(inputs)
    mixed = layers.MultiHeadAttention(2, 3)(rows, rows)
    pooled = layers.GlobalAveragePooling1D()(mixed)
    return keras.Model(inputs, dense(CLASSES, "softmax")(pooled))


MODELS = {
    "plain": lambda: network(dense(8, "tanh")),
    "l2": penalized,
    # At a momentum of 1 the moving statistics, which E takes as given, do not move.
    "batch_norm": lambda: network(
        dense(8, use_bias=False), layers.BatchNormalization(momentum=1.0)
    ),
    "layer_norm": lambda: network(dense(8, "tanh"), layers.LayerNormalization()),
    "group_norm": lambda: network(dense(8, "tanh"), layers.GroupNormalization(2)),
    "dropout": lambda: network(dense(8, "tanh"), layers.Dropout(0.5, seed=3)),
    "stateful": lambda: network(
        dense(8), layers.BatchNormalization(), layers.Dropout(0.5, seed=3)
    ),
    "dead": partly_dead,
    "embedding": embedding,
    "distinct": distinct,
    "gru": lambda: network(layers.Reshape((3, 2)), layers.GRU(4)),
    "attention": attention,
}
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.25),
    "momentum": lambda: optimizers.SGD(0.0625, momentum=0.5),
    "nesterov": lambda: optimizers.SGD(0.0625, momentum=0.5, nesterov=True),
    "adam": lambda: optimizers.Adam(0.03125),
    "amsgrad": lambda: optimizers.Adam(0.03125, amsgrad=True),
    "adamw": lambda: optimizers.AdamW(0.03125, weight_decay=0.125),
    "rmsprop": lambda: optimizers.RMSprop(0.015625),
    "adagrad": lambda: optimizers.Adagrad(0.03125),
    # So small a step that no gradient changes its sign: there Lion has a jump.
    "lion": lambda: optimizers.Lion(2.0**-12),
    "nadam": lambda: optimizers.Nadam(0.03125),
    "muon": lambda: optimizers.Muon(0.03125),
    "adamo": lambda: keras_lr.AdaMo(0.25),
    "global_clipnorm": lambda: optimizers.Adam(0.03125, global_clipnorm=0.05),
    "clipnorm": lambda: optimizers.SGD(0.25, momentum=0.5, clipnorm=0.05),
    "clipvalue": lambda: optimizers.SGD(0.25, momentum=0.5, clipvalue=0.01),
}
CASES = [("plain", optimizer) for optimizer in OPTIMIZERS]
CASES += [("l2", "sgd"), ("l2", "adam"), ("batch_norm", "momentum")]
CASES += [("layer_norm", "momentum"), ("group_norm", "adam"), ("dropout", "adam")]
CASES += [("embedding", "momentum"), ("distinct", "adam"), ("gru", "adam")]
CASES += [("attention", "adam")]
# Of weights that never have a gradient.
DEAD = [("dead", "adam"), ("dead", "adamw"), ("dead", "rmsprop"), ("dead", "lion")]
# Each takes seconds to trace; these stay by default: the optimizer with the most
# state, a weight that changes in the forward pass, and dead ones.
FAST = [("plain", "adam"), ("batch_norm", "momentum"), ("dead", "adamw")]


def parameters(cases):
    return [
        pytest.param(each, marks=[] if each in FAST else [pytest.mark.slow])
        for each in cases
    ]


each_case = pytest.mark.parametrize("case", parameters(CASES + DEAD), ids="-".join)
each_dead_case = pytest.mark.parametrize("case", parameters(DEAD), ids="-".join)


def examples(model, rows, seed):
    """Inputs and labels; the last input of the dead model is 0 in training."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, rows)
    if any(layer.name == "distinct" for layer in model.layers):
        batches = [rng.permutation(25) for _ in range(-(-rows // BATCH))]
        return np.concatenate(batches).reshape(-1, 5)[:rows], y
    if model.inputs[0].dtype == "int64":
        return rng.integers(0, 7, (rows, 5)), y
    x = rng.normal(size=(rows, 6))
    if any(layer.name == "dead" for layer in model.layers):
        x[:, 5] *= seed
    return x, y


def numpy(variables):
    return [each.numpy() for each in variables]


class Trained:
    """A model that can be trained from the same start again and again."""

    def __init__(self, model, optimizer):
        keras.utils.set_random_seed(0)
        self.model = MODELS[model]()
        loss = "sparse_categorical_crossentropy"
        self.model.compile(OPTIMIZERS[optimizer](), loss=loss, jit_compile=False)
        self.optimizer = self.model.optimizer
        self.optimizer.build(self.model.trainable_variables)
        self.rate = float(self.optimizer.learning_rate)
        self.data = examples(self.model, BATCH * STEPS, seed=0)
        self.validation = examples(self.model, 16, seed=1)
        self._start = self.everything()

    def everything(self):
        """All numbers, those of layers with a state among them."""
        return numpy([*self.model.variables, *self.optimizer.variables])

    def weights(self):
        return numpy(self.model.trainable_variables)

    def loss(self):
        """E, without regularizers."""
        x, y = self.validation
        p = self.model(x, training=False).numpy()
        return -np.log(p[np.arange(len(y)), y]).mean()

    def fit(self, *callbacks, rate=None, last_rate=None):
        """Train anew; the last step at a rate of its own, if there is one."""
        variables = [*self.model.variables, *self.optimizer.variables]
        for variable, value in zip(variables, self._start, strict=True):
            variable.assign(value)
        parts = [slice(None)]
        if last_rate is not None:
            parts = [slice(-BATCH), slice(-BATCH, None)]
        for part, of_part in zip(parts, (rate, last_rate), strict=False):
            self.optimizer.learning_rate = of_part or self.rate
            x, y = (each[part] for each in self.data)
            kwargs = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
            self.model.fit(x, y, callbacks=list(callbacks), **kwargs)

    def slopes(self, of="rate"):
        """The derivatives of weights, as one vector, and of E by a rate."""
        h = SPACING * self.rate
        of_weights, of_loss = 0.0, 0.0
        for node, coefficient in zip(NODES, COEFFICIENTS, strict=True):
            self.fit(**{of: self.rate + node * h})
            of_weights += coefficient / h * flat(self.weights())
            of_loss += coefficient / h * self.loss()
        return of_weights, of_loss


def flat(arrays):
    return np.concatenate([each.ravel() for each in arrays])


class Tangent(keras.callbacks.Callback):
    """Reads Z while it is there."""

    def __init__(self, marthe):
        super().__init__()
        self.marthe = marthe

    def on_train_batch_end(self, batch, logs=None):
        (tuned,) = self.marthe._fit.around_step.tuned
        self.weights, self.slots = map(numpy, tuned.tangents[0].variables)


@functools.cache
def run(case):
    """All that the tests look at of a case; it takes a second or two."""
    trained = Trained(*case)
    start = trained.weights()
    trained.fit()
    plain = trained.everything()
    marthe = keras_lr.MARTHE(
        trained.validation, discount=1.0, curvature_batch_size=None, **HELD
    )
    tangent = Tangent(marthe)
    trained.fit(marthe, tangent)
    return types.SimpleNamespace(
        start=start,
        plain=plain,
        everything=trained.everything(),
        history=marthe.history,
        tangent=tangent,
        loss=trained.loss(),
        slopes=trained.slopes(),
    )


@each_case
def test_last_hypergradient_is_the_derivative_of_the_validation_loss(case):
    slope = run(case).slopes[1]
    last = run(case).history["hypergradient"][-1]
    assert last == pytest.approx(slope, rel=DIFFERENCES)


@each_case
def test_tangent_is_the_derivative_of_the_weights(case):
    slopes = run(case).slopes[0]
    error = np.linalg.norm(flat(run(case).tangent.weights) - slopes)
    assert error < DIFFERENCES * np.linalg.norm(slopes)


@each_case
def test_training_at_a_held_rate_is_plain_to_the_last_bit(case):
    for with_marthe, plain in zip(run(case).everything, run(case).plain, strict=True):
        np.testing.assert_array_equal(with_marthe, plain)


@pytest.mark.parametrize("rows", [pytest.param(None, marks=pytest.mark.slow), 3])
def test_statistics_and_seeds_are_those_of_plain_training_to_the_last_bit(rows):
    """The passes of E and of a part of the batch for the curvature leave no trace."""
    trained = Trained("stateful", "adam")
    trained.fit()
    plain = trained.everything()
    trained.fit(keras_lr.MARTHE(trained.validation, curvature_batch_size=rows, **HELD))
    for with_marthe, of_plain in zip(trained.everything(), plain, strict=True):
        np.testing.assert_array_equal(with_marthe, of_plain)


@each_case
def test_validation_loss_is_that_of_the_weights_after_the_step(case):
    last = run(case).history["validation_loss"][-1]
    # Two ways of rounding.
    assert last == pytest.approx(run(case).loss, rel=1e-13)


@each_dead_case
def test_weights_without_gradients_leave_everything_finite(case):
    tangent = run(case).tangent
    everything = [*tangent.weights, *tangent.slots, *run(case).history.values()]
    assert all(np.isfinite(each).all() for each in everything)


def without_gradient(kernel):
    return np.concatenate([kernel[5], kernel[:5, 6:].ravel()])


def test_weight_decay_alone_moves_weights_without_gradients():
    """w_T = w_0 (1 - eta lambda)^T, and its derivative by eta."""
    found = run(("dead", "adamw"))
    start, tangent = found.start[0], found.tangent.weights[0]
    expected = -STEPS * 0.125 * (1 - 0.03125 * 0.125) ** (STEPS - 1) * start
    np.testing.assert_allclose(
        without_gradient(tangent), without_gradient(expected), rtol=1e-13
    )


@pytest.mark.slow
def test_weights_without_gradients_have_no_tangent_in_adam():
    tangent = run(("dead", "adam")).tangent.weights[0]
    assert not without_gradient(tangent).any()


@pytest.mark.parametrize(
    "case",
    [
        ("plain", "momentum"),
        pytest.param(("plain", "adamw"), marks=pytest.mark.slow),
        pytest.param(("l2", "sgd"), marks=pytest.mark.slow),
        pytest.param(("dropout", "adam"), marks=pytest.mark.slow),
    ],
    ids="-".join,
)
def test_hypergradient_descent_takes_the_derivative_by_the_last_rate(case):
    trained = Trained(*case)
    descent = keras_lr.HypergradientDescent(trained.validation, **HELD)
    trained.fit(descent)
    _, slope = trained.slopes(of="last_rate")
    last = descent.history["hypergradient"][-1]
    assert last == pytest.approx(slope, rel=DIFFERENCES)


SECOND = {
    "weight_decay": lambda: optimizers.AdamW(0.03125, weight_decay=0.125),
    "momentum": lambda: optimizers.SGD(0.0625, momentum=0.5, nesterov=True),
    "beta_1": lambda: optimizers.Adam(0.03125, beta_1=0.75),
    "beta_2": lambda: optimizers.Nadam(0.03125, beta_2=0.875),
    "rho": lambda: optimizers.RMSprop(0.015625, rho=0.75, weight_decay=0.125),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=[] if each == "momentum" else [pytest.mark.slow])
        for each in SECOND
    ],
)
def test_hypergradient_of_another_hyperparameter_is_its_derivative(name, monkeypatch):
    """With a discount of 1, at held values; those of the rate are what they were."""
    monkeypatch.setitem(OPTIMIZERS, name, SECOND[name])
    trained = Trained("plain", name)
    trained.fit()
    plain = trained.everything()
    names = ("learning_rate", name)
    rtho = keras_lr.RTHO(
        trained.validation, hyperparameters=names, curvature_batch_size=None, **HELD
    )
    trained.fit(rtho)
    value = getattr(trained.optimizer, name)
    h, slope = SPACING * value, 0.0
    for node, coefficient in zip(NODES, COEFFICIENTS, strict=True):
        setattr(trained.optimizer, name, value + node * h)
        trained.model.make_train_function(force=True)  # Which has the old number.
        trained.fit()
        slope += coefficient / h * trained.loss()
    setattr(trained.optimizer, name, value)
    trained.model.make_train_function(force=True)
    last = rtho.history[f"{name}_hypergradient"][-1]
    assert last == pytest.approx(slope, rel=DIFFERENCES)
    assert rtho.history[name] == [value] * STEPS
    last, slope = rtho.history["hypergradient"][-1], trained.slopes()[1]
    assert last == pytest.approx(slope, rel=DIFFERENCES)
    trained.fit(rtho)
    for with_rtho, of_plain in zip(trained.everything(), plain, strict=True):
        np.testing.assert_allclose(with_rtho, of_plain, rtol=1e-13, atol=1e-15)


def test_adam_squares_the_gradients_of_a_repeated_token_one_by_one():
    """Where Keras's step is not a function of the gradient; the tangent is of one.

    If this fails Keras adds them up first, and the tangent is exact for it too.
    """
    table = keras.Variable(np.ones((2, 1)), dtype="float64")
    adam = optimizers.Adam(0.5, beta_2=0.5)
    adam.apply([tf.IndexedSlices([[1.0], [1.0]], [0, 0], (2, 1))], [table])
    velocity = next(each for each in adam.variables if "velocity" in each.name)
    np.testing.assert_array_equal(velocity.numpy(), [[0.5 * (1 + 1)], [0.0]])


class Schedule(keras.callbacks.Callback):
    """Plain training at rates given from outside."""

    def __init__(self, rates):
        super().__init__()
        self.rates = rates

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.rates[batch]


def test_hypergradient_is_by_the_rate_before_annealing():
    trained = Trained("plain", "momentum")
    factors = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25])
    anneal = HELD | {"anneal": 0.5}
    rtho = keras_lr.RTHO(trained.validation, curvature_batch_size=None, **anneal)
    trained.fit(rtho)
    h, slope = SPACING * trained.rate, 0.0
    for node, coefficient in zip(NODES, COEFFICIENTS, strict=True):
        trained.fit(Schedule((trained.rate + node * h) * factors))
        slope += coefficient / h * trained.loss()
    assert rtho.history["learning_rate"] == list(trained.rate * factors)
    last = rtho.history["hypergradient"][-1]
    assert last == pytest.approx(slope, rel=DIFFERENCES)
