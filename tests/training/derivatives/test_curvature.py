"""`curvature`: products with the Hessian, against differences of the gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_lr import _keras
from keras_lr.training.derivatives.curvature import Curvature
from keras_lr.training.derivatives.tensors import dense
from tests.bilinear_matrix import BilinearMatrix

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


AXIS = {"axis": -1, "keepdims": True}
FIVE = keras.initializers.Constant(5.0)


def mostly_dead():
    bias = keras.initializers.Constant(-1.5)
    return [layers.Dense(4, selected, bias_initializer=bias)]


def selected(x):
    """ReLU, whose gradient is selected too, as in compiled code: not 0 times inf."""
    return keras.ops.where(x > 0, x, keras.ops.zeros_like(x))


def root_of_squares(x):
    return keras.ops.sum(x**2, **AXIS) ** 0.5


MODELS = {
    "plain": lambda: [layers.Dense(4, "tanh")],
    "l2": penalized,
    "activity": with_activity_penalty,
    # Each of the seven words stands several times in a batch.
    "embedding": lambda: [layers.Embedding(7, 2), layers.Flatten()],
    "unused": lambda: [Unused(4, "tanh")],
    "batch_norm": lambda: [layers.Dense(4), layers.BatchNormalization()],
    "layer_norm": lambda: [layers.Dense(4), layers.LayerNormalization()],
    # Some rows are all dark, with a norm of 0.
    "norm": lambda: [*mostly_dead(), layers.Lambda(keras.ops.norm, arguments=AXIS)],
    "root": lambda: [*mostly_dead(), layers.Lambda(root_of_squares)],
    # Away from 0, where the second derivative jumps.
    "softsign": lambda: [layers.Dense(4, "softsign", bias_initializer=FIVE)],
    "gru": lambda: [layers.Reshape((3, 2)), layers.GRU(3)],
}
every_model = pytest.mark.parametrize("name", MODELS)
every_size = pytest.mark.parametrize("size", [None, 0.45, 9, 1.0, 99], ids=str)


def model_of(name, optimizer=None):
    # Weights with which no difference crosses the end of a ReLU, and no row has a
    # variance so small that differences of this length say little.
    keras.utils.set_random_seed(0)
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


def begin_anew(model):
    for variable in model.non_trainable_variables:
        if "seed_generator" in variable.path:
            variable.assign([1, 7])
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_state()


def gradient(model, data):
    """The gradient of the training loss, zero where there is none."""
    begin_anew(model)
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
    begin_anew(model)
    found = []
    with Curvature(model, size).recording(data) as recording:

        def apply(plain, grads, variables):
            found.extend(recording.products(dense(grads), variables, directions))

        with _keras.intercepted(model.optimizer, apply=apply):
            model.train_step(data)
    return found


def assert_close(actual, expected, tolerance=DIFFERENCES):
    for a, b in zip(actual, expected, strict=True):
        assert np.isfinite(b).all()
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def inner_product(first, second):
    return sum(np.sum(a * b) for a, b in zip(first, second, strict=True))


def first(data, rows):
    return tuple(each[:rows] for each in data)


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
@every_model
@pytest.mark.parametrize("size", [pytest.param(None, marks=pytest.mark.slow), 0.45])
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


def enlarging(layer):
    hidden = layers.Dense(6), layers.Reshape((2, 3, 1)), layer, layers.Flatten()
    head = layers.Dense(CLASSES, "softmax")
    model = keras.Sequential([*hidden, layers.Activation("tanh"), head])
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    model.build((None, FEATURES))
    return model


@pytest.mark.parametrize("size", [None, 9])
@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.UpSampling2D(2, interpolation="bilinear"),
        lambda: layers.Resizing(4, 6, interpolation="bilinear"),
    ],
    ids=["up_sampling", "resizing"],
)
def test_product_through_bilinear_resizing_is_that_through_its_matrix(make, size):
    model, twin, data = enlarging(make()), enlarging(BilinearMatrix()), batch()
    twin.set_weights(model.get_weights())
    directions = vectors(model.trainable_variables)
    (product,) = products(model, size, data, directions)
    (expected,) = products(twin, size, data, directions)
    for a, b in zip(product, expected, strict=True):
        # TensorFlow resizes in float32.
        np.testing.assert_allclose(a, b, atol=1e-6 * np.abs(b).max(), rtol=1e-6)


class Clipped(keras.Sequential):
    """Clips the gradient of each unit by the norm of its weights."""

    def clipped(self, data):
        x, y, _ = data
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, [each.value for each in variables])
        pairs = zip(gradients, variables, strict=True)
        return [self.clip(gradient, weight) for gradient, weight in pairs], variables

    def clip(self, gradient, weight):
        limit = 0.1 * keras.ops.norm(weight, axis=0) + 0.01
        norm = keras.ops.norm(gradient, axis=0)
        clipped = gradient * (limit / keras.ops.maximum(norm, 1e-6))
        return keras.ops.where(norm > limit, clipped, gradient)

    def train_step(self, data):
        gradients, variables = self.clipped(data)
        self.optimizer.apply(gradients, variables)
        return {}


def test_product_of_clipped_gradients_is_their_difference(monkeypatch):
    # One unit is dead in all rows, and its gradient is 0. The last bias is 0 too, where
    # its norm has no derivative: along `other` it does not change. From other weights a
    # norm may be at its limit, where the difference is over a kink.
    keras.utils.set_random_seed(0)
    model, data = Clipped([layers.Dense(4, "relu"), layers.Dense(CLASSES)]), batch()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss=loss)
    model.build((None, FEATURES))
    model.layers[0].bias.assign([-99.0, 0.0, 0.0, 0.0])
    vector, other = vectors(model.trainable_variables, 2)
    other[-1] = tf.zeros_like(other[-1])
    (product,) = products(model, None, data, [vector])
    monkeypatch.setattr(
        f"{__name__}.gradient", lambda model, data: model.clipped(data)[0]
    )
    # What is clipped is no gradient, and its derivative not symmetric: v'Ju = u'(J'v).
    expected = inner_product(difference(model, data, other), vector)
    np.testing.assert_allclose(inner_product(product, other), expected, rtol=1e-7)


def with_fixed_batch():
    inputs = keras.Input((FEATURES,))
    hidden = keras.ops.reshape(layers.Dense(4)(inputs), (ROWS, 4))
    return keras.Model(inputs, layers.Dense(CLASSES, "softmax")(hidden))


def with_state():
    inputs = keras.Input(batch_shape=(ROWS, FEATURES))
    sequence = layers.Reshape((3, 2))(inputs)
    hidden = layers.LSTM(4, stateful=True)(sequence)
    return keras.Model(inputs, layers.Dense(CLASSES, "softmax")(hidden))


@pytest.mark.parametrize(
    "is_known", [pytest.param(True, marks=pytest.mark.slow), False]
)
@pytest.mark.parametrize(
    "make", [with_fixed_batch, pytest.param(with_state, marks=pytest.mark.slow)]
)
def test_model_that_takes_no_part_has_the_curvature_of_the_whole(make, is_known):
    model, data = make(), batch()
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    (vector,) = directions = vectors(model.trainable_variables)
    expected = difference(model, data, vector)
    begin_anew(model)
    signature = [
        tf.TensorSpec([length if is_known else None, *each.shape[1:]], each.dtype)
        for each in data
        for length in [len(each)]
    ]

    def product(*data):
        return products(model, 9, data, directions)[0]

    traced = tf.function(product, input_signature=signature, autograph=False)
    with pytest.warns(UserWarning, match=r"whole batch.*curvature_batch_size=None"):
        actual = traced(*data)
    assert_close(actual, expected)


def test_sparse_batch_has_the_curvature_of_the_whole():
    inputs = keras.Input((FEATURES,), sparse=True)
    hidden = layers.Dense(4, "tanh")(inputs)
    model = keras.Model(inputs, layers.Dense(CLASSES, "softmax")(hidden))
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    x, *others = batch()
    sparse = tf.sparse.from_dense(x), *others
    (vector,) = directions = vectors(model.trainable_variables)
    with pytest.warns(UserWarning, match="whole batch"):
        (product,) = products(model, 0.5, sparse, directions)
    assert_close(product, difference(model, sparse, vector))


def test_warning_of_the_whole_batch_is_given_once():
    model, data = with_fixed_batch(), batch()
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    curvature = Curvature(model, 9)
    with pytest.warns(UserWarning, match="whole batch"), curvature.recording(data):
        pass
    with curvature.recording(data):  # Warnings are errors.
        pass
