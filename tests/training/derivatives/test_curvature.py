"""`curvature`: products with the Hessian, against differences of the gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_lr import _keras
from keras_lr._keras.moments import twice_differentiable
from keras_lr.training.derivatives.curvature import Curvature
from keras_lr.training.derivatives.tensors import dense

pytestmark = pytest.mark.usefixtures("float64")

ROWS, FEATURES, CLASSES = 20, 6, 3
# Differences of fourth order: h^4 of the fifth derivative, and 1e-16 / h of rounding.
# Where the variance of a row is small its higher derivatives are large.
H, DIFFERENCES = 1e-3, 1e-7


class Unused(layers.Dense):
    """Has a weight that it does not use, whose gradient is `None`."""

    def build(self, shape):
        super().build(shape)
        self.unused = self.add_weight(shape=(2,), name="unused")


def penalized():
    l2 = keras.regularizers.L2(0.125)
    return [layers.Dense(4, "tanh", kernel_regularizer=l2, bias_regularizer=l2)]


def with_activity_penalty():
    return [layers.Dense(4, "tanh", activity_regularizer=keras.regularizers.L2(0.125))]


MODELS = {
    "plain": lambda: [layers.Dense(4, "tanh")],
    "l2": penalized,
    "activity": with_activity_penalty,
    # Each of the seven words stands several times in a batch.
    "embedding": lambda: [layers.Embedding(7, 2), layers.Flatten()],
    "unused": lambda: [Unused(4, "tanh")],
    "batch_norm": lambda: [layers.Dense(4), layers.BatchNormalization()],
    "layer_norm": lambda: [layers.Dense(4), layers.LayerNormalization()],
    "gru": lambda: [layers.Reshape((3, 2)), layers.GRU(3)],
}
every_model = pytest.mark.parametrize("name", MODELS)
every_size = pytest.mark.parametrize("size", [None, 0.45, 9, 1.0, 99], ids=str)


def model_of(name, optimizer=None):
    hidden = MODELS[name]()
    model = keras.Sequential([*hidden, layers.Dense(CLASSES, "softmax")])
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer or "sgd", loss=loss, metrics=["accuracy"])
    model.build((None, FEATURES))
    return model


def batch(name="plain", rows=ROWS):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, FEATURES))
    if name == "embedding":
        x = rng.integers(0, 7, (rows, FEATURES))
    y, sample_weight = rng.integers(0, CLASSES, rows), rng.uniform(0.5, 2.0, rows)
    return tuple(map(tf.constant, (x, y, sample_weight)))


def vectors(variables, number=1):
    rng = np.random.default_rng(1)
    return [
        [tf.constant(rng.normal(size=v.shape), v.dtype) for v in variables]
        for _ in range(number)
    ]


def start_seeds_anew(model):
    for variable in model.non_trainable_variables:
        if "seed_generator" in variable.path:
            variable.assign([1, 7])


def gradient(model, data):
    """The gradient of the training loss, zero where there is none."""
    start_seeds_anew(model)
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = _keras.training_loss(model, data)
    found = dense(tape.gradient(loss, [each.value for each in variables]))
    return [
        np.zeros(v.shape) if g is None else g.numpy()
        for g, v in zip(found, variables, strict=True)
    ]


def difference(model, data, vector):
    """The derivative of the gradient along a vector."""
    start = [each.numpy() for each in model.trainable_variables]
    ends = []
    for node in (1, -1, 2, -2):
        for variable, value, direction in zip(
            model.trainable_variables, start, vector, strict=True
        ):
            variable.assign(value + node * H * direction)
        ends.append(gradient(model, data))
    for variable, value in zip(model.trainable_variables, start, strict=True):
        variable.assign(value)
    return [
        (8 * (a - b) - (c - d)) / (12 * H) for a, b, c, d in zip(*ends, strict=True)
    ]


def products(model, size, data, directions):
    """H v in a training step, as the callbacks take it."""
    start_seeds_anew(model)
    found = []
    with twice_differentiable(), Curvature(model, size).recording(data) as recording:

        def apply(plain, grads, variables):
            found.extend(recording.products(dense(grads), variables, directions))

        with _keras.intercepted(model.optimizer, apply=apply):
            model.train_step(data)
    return found


def assert_close(actual, expected, tolerance=DIFFERENCES):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def first(data, rows):
    return tuple(each[:rows] for each in data)


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
@every_model
@pytest.mark.parametrize("size", [None, 0.45])
def test_product_is_the_derivative_of_the_gradient(name, size):
    model, data = model_of(name), batch(name)
    (vector,) = directions = vectors(model.trainable_variables)
    (product,) = products(model, size, data, directions)
    part = data if size is None else first(data, 9)  # 0.45 of 20 rows.
    assert_close(product, difference(model, part, vector))


@every_size
def test_products_of_several_vectors_are_those_of_each(size):
    model, data = model_of("plain"), batch()
    directions = vectors(model.trainable_variables, 3)
    together = products(model, size, data, directions)
    assert len(together) == 3
    for vector, product in zip(directions, together, strict=True):
        (alone,) = products(model, size, data, [vector])
        # The same sums, in an order of the kernels' own.
        assert_close(product, alone, 1e-13)


@pytest.mark.parametrize("size", [None, 9])
def test_weight_that_two_layers_add_has_its_curvature(size):
    class Sum(layers.Layer):
        def build(self, shape):
            both = [self.add_weight(shape=(shape[-1], CLASSES)) for _ in range(2)]
            self.first, self.second = both

        def call(self, inputs):
            return keras.ops.softmax(inputs @ (self.first + self.second))

    model, data = keras.Sequential([Sum()]), batch()
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    model.build((None, FEATURES))
    (vector,) = directions = vectors(model.trainable_variables)
    (product,) = products(model, size, data, directions)
    assert_close(product, difference(model, first(data, size), vector))


def test_whole_batch_shares_the_dropout_of_the_step():
    hidden = layers.Dense(4, "tanh"), layers.Dropout(0.5)
    model, data = keras.Sequential([*hidden, layers.Dense(CLASSES, "softmax")]), batch()
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    model.build((None, FEATURES))
    (vector,) = directions = vectors(model.trainable_variables)
    (product,) = products(model, None, data, directions)
    assert_close(product, difference(model, data, vector))


@pytest.mark.parametrize("size", [0.5, 9])
def test_pass_of_a_part_of_the_batch_changes_nothing(size):
    hidden = layers.Dense(4), layers.BatchNormalization(), layers.Dropout(0.5, seed=1)
    model, data = keras.Sequential([*hidden, layers.Dense(CLASSES)]), batch()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss=loss, metrics=["accuracy"])
    model.fit(
        *data[:2], verbose=0
    )  # Makes everything, the metrics' variables included.
    state = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    before = [each.numpy() for each in state]
    with Curvature(model, size).recording(data) as recording:
        variables = model.trainable_variables
        gradients = [tf.zeros_like(each.value) for each in variables]
        (product,) = recording.products(gradients, variables, vectors(variables))
    assert np.abs(product[0]).max() > 0.0
    for variable, old in zip(state, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)


def test_pass_of_a_part_of_the_batch_is_seen_by_no_metric_in_a_step():
    model, data = model_of("batch_norm"), batch()
    other = model_of("batch_norm")
    other.set_weights(model.get_weights())
    products(model, 9, data, vectors(model.trainable_variables))
    with _keras.intercepted(other.optimizer, apply=lambda *_: None):
        other.train_step(data)
    assert model.get_metrics_result() == other.get_metrics_result()
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Parabola(layers.Layer):
    """Its loss, the sum of (w x)^2, has the curvature 2 for each row."""

    def build(self, shape):
        self.w = self.add_weight(shape=(1,), initializer="ones")

    def call(self, inputs):
        return self.w * inputs


def rows_used(size, rows, *, is_known=True, kind=keras.Sequential):
    model = kind([Parabola()])
    model.compile("sgd", loss=lambda y, p: keras.ops.sum(p**2))
    model.build((None, 1))

    def count(x):
        (product,) = products(model, size, (x, x, None), [[tf.ones(1, "float64")]])
        return product[0][0] / 2

    length = rows if is_known else None
    signature = [tf.TensorSpec((length, 1), "float64")]
    counted = tf.function(count, input_signature=signature, autograph=False)
    return float(counted(tf.ones((rows, 1), "float64")))


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(
    ("size", "rows", "expected"),
    [
        (None, 20, 20),
        (0.5, 32, 16),
        (0.25, 33, 9),  # Rounded up.
        (0.25, 20, 8),  # At least eight.
        (0.5, 6, 6),  # Or all that there are.
        (0.001, 8, 8),
        (1.0, 20, 20),
        (9, 20, 9),
        (2, 20, 2),
        (20, 20, 20),
        (99, 20, 20),
    ],
)
def test_number_of_rows(size, rows, expected, is_known):
    assert rows_used(size, rows, is_known=is_known) == expected


def test_step_of_the_users_own_has_the_whole_batch():
    class Own(keras.Sequential):
        def train_step(self, data):
            return super().train_step(data)

    assert rows_used(0.5, 32, kind=Own) == 32


def test_scale_of_the_loss_is_that_of_the_step():
    optimizer = keras.optimizers.SGD(0.1, loss_scale_factor=8.0)
    scaled, plain, data = model_of("plain", optimizer), model_of("plain"), batch()
    plain.set_weights(scaled.get_weights())
    directions = vectors(plain.trainable_variables)
    for size in (None, 9):
        (expected,) = products(plain, size, data, directions)
        (actual,) = products(scaled, size, data, directions)
        assert_close(actual, [8.0 * each for each in expected], 1e-13)


def test_gradients_of_embeddings_become_dense():
    rows = tf.IndexedSlices(tf.constant([[1.0], [2.0]]), [1, 1], [3, 1])
    tensor = tf.constant([4.0])
    first, second, third = dense([rows, None, tensor])
    np.testing.assert_array_equal(first, [[0.0], [3.0], [0.0]])
    assert second is None
    np.testing.assert_array_equal(third, tensor)
