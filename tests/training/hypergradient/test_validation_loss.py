"""`ValidationLoss`: E and its gradient on the right rows, and nothing is touched."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_lr.training.hypergradient.validation_loss import ValidationLoss

# Differences of fourth order: h^4 of the fifth derivative, and 1e-16 / h of rounding.
H, DIFFERENCES = 1e-3, 1e-9


def numbers(rows=10, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    return x, rng.normal(size=(rows, 1))


def linear(optimizer="sgd", loss="mse", **kwargs):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1, **kwargs)])
    model.compile(optimizer, loss=loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def squared_errors(model, x, y):
    kernel, bias = (each.numpy() for each in model.trainable_variables)
    return ((x @ kernel + bias - y) ** 2)[:, 0]


def loss_of(model, data, batch_size=99):
    loss, _ = ValidationLoss(model, data, batch_size).gradient(
        model.trainable_variables
    )
    return float(loss)


def rows_seen(total, batch_size, evaluations):
    """The numbers of the rows of each batch."""
    seen = []

    def recorded(y, p):
        seen.append([int(each) for each in y.numpy()[:, 0]])
        return p

    model = linear(loss=recorded)
    x, y = np.zeros((total, 3)), np.arange(total)[:, None]
    validation = ValidationLoss(model, (x, y), batch_size)
    for _ in range(evaluations):
        validation.gradient(model.trainable_variables)
    return seen


@pytest.mark.parametrize(
    ("total", "batch_size", "evaluations"), [(10, 4, 5), (7, 3, 7), (9, 3, 3)]
)
def test_batches_are_cyclic_and_show_all_rows_equally(total, batch_size, evaluations):
    seen = rows_seen(total, batch_size, 2 * evaluations)
    assert all(len(batch) == batch_size for batch in seen)
    flat = [row for batch in seen for row in batch]
    order = flat[:total]
    assert sorted(order) == list(range(total))
    assert order != list(range(total))  # They may be sorted by class.
    assert flat == order * (2 * evaluations * batch_size // total)


@pytest.mark.parametrize("batch_size", [10, 99])
def test_whole_set_is_seen_in_order_each_time(batch_size):
    assert rows_seen(10, batch_size, 3) == 3 * [list(range(10))]


def test_batches_go_on_where_the_position_says():
    def first_row(position):
        rows = []
        model = linear(loss=lambda y, p: rows.append(int(y[0, 0])) or p)
        data = np.zeros((10, 3)), np.arange(10)[:, None]
        validation = ValidationLoss(model, data, 4)
        validation.position.assign(position)
        validation.gradient(model.trainable_variables)
        return rows[0], int(validation.position.value)

    seen = [row for batch in rows_seen(10, 4, 3) for row in batch]
    assert [first_row(each) for each in (0, 4, 8)] == [
        (seen[0], 4),
        (seen[4], 8),
        (seen[8], 2),
    ]


def test_batches_go_on_inside_a_traced_step():
    x, y = np.zeros((10, 3)), np.arange(10.0)[:, None]
    model = linear(loss=lambda y, p: keras.ops.mean(y) + 0.0 * p)
    validation = ValidationLoss(model, (x, y), 4)
    step = tf.function(lambda: validation.gradient(model.trainable_variables)[0])
    rows = rows_seen(10, 4, 5)
    assert [float(step()) for _ in range(5)] == [np.mean(each) for each in rows]


def test_loss_and_gradient_are_those_by_hand(float64):
    model, (x, y) = linear(), numbers()
    loss, (of_kernel, of_bias) = ValidationLoss(model, (x, y), 99).gradient(
        model.trainable_variables
    )
    kernel, bias = (each.numpy() for each in model.trainable_variables)
    error = x @ kernel + bias - y
    np.testing.assert_allclose(loss, (error**2).mean(), rtol=1e-14)
    np.testing.assert_allclose(of_kernel, 2 * x.T @ error / 10, rtol=1e-13)
    np.testing.assert_allclose(of_bias, [2 * error.mean()], rtol=1e-13)


def deep():
    hidden = layers.Dense(4, "tanh"), layers.BatchNormalization(), layers.Dropout(0.5)
    model = keras.Sequential([keras.Input((3,)), *hidden, layers.Dense(1)])
    model.compile("sgd", loss="mse", metrics=["mae"])
    model.fit(*numbers(seed=1), verbose=0)  # Moves the statistics.
    return model


@pytest.mark.parametrize("batch_size", [4, 99])
def test_gradient_is_that_of_differences_in_inference_mode(float64, batch_size):
    model, data = deep(), numbers()
    variables = model.trainable_variables
    _, gradients = ValidationLoss(model, data, batch_size).gradient(variables)
    rng = np.random.default_rng(1)
    vector = [rng.normal(size=v.shape) for v in variables]
    start, losses = [each.numpy() for each in variables], []
    for node in (1, -1, 2, -2):
        for variable, value, direction in zip(variables, start, vector, strict=True):
            variable.assign(value + node * H * direction)
        losses.append(loss_of(model, data, batch_size))
    a, b, c, d = losses
    slope = (8 * (a - b) - (c - d)) / (12 * H)
    product = sum(np.sum(g * v) for g, v in zip(gradients, vector, strict=True))
    assert float(product) == pytest.approx(slope, rel=DIFFERENCES, abs=DIFFERENCES)


def test_evaluation_touches_no_state():
    model = deep()
    state = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    before = [each.numpy() for each in state]
    ValidationLoss(model, numbers(), 4).gradient(model.trainable_variables)
    for variable, old in zip(state, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)


def test_regularizers_have_no_part(float64):
    l2 = keras.regularizers.L2(1.0)
    model, data = linear(kernel_regularizer=l2, activity_regularizer=l2), numbers()
    expected = squared_errors(model, *data).mean()
    assert loss_of(model, data) == pytest.approx(expected, rel=1e-14)


def test_loss_of_the_users_own_is_taken_as_it_is(float64):
    class Own(keras.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return keras.ops.mean(keras.ops.abs(y - y_pred)) + 3.0

    model, (x, y) = Own([keras.Input((3,)), layers.Dense(1)]), numbers()
    model.compile("sgd")
    expected = np.abs(model(x).numpy() - y).mean() + 3.0
    assert loss_of(model, (x, y)) == pytest.approx(expected, rel=1e-14)


def test_loss_of_the_users_own_has_its_regularizers(float64):
    class Own(keras.Sequential):
        def compute_loss(self, *args, **kwargs):
            return 2.0 * super().compute_loss(*args, **kwargs)

    l2 = keras.regularizers.L2(0.5)
    dense = layers.Dense(1, kernel_regularizer=l2)
    model, data = Own([keras.Input((3,)), dense]), numbers()
    model.compile("sgd", loss="mse")
    penalty = 0.5 * (dense.kernel.numpy() ** 2).sum()
    expected = 2.0 * (squared_errors(model, *data).mean() + penalty)
    assert loss_of(model, data) == pytest.approx(expected, rel=1e-14)


def test_model_whose_only_loss_is_added_in_a_layer_has_it(float64):
    class Added(layers.Layer):
        def call(self, inputs):
            self.add_loss(keras.ops.mean(inputs**2))
            return inputs

    model = keras.Sequential([keras.Input((3,)), layers.Dense(1), Added()])
    model.compile("sgd")
    x, y = numbers()
    expected = (model(x).numpy() ** 2).mean()
    assert loss_of(model, (x, y)) == pytest.approx(expected, rel=1e-14)


def test_sample_weights_weigh(float64):
    model, (x, y) = linear(), numbers()
    sample_weight = np.linspace(0.0, 2.0, 10)
    # Keras divides by the number of rows, not by the sum of the weights.
    expected = (sample_weight * squared_errors(model, x, y)).mean()
    actual = loss_of(model, (x, y, sample_weight))
    assert actual == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("batch_size", [4, 99])
def test_inputs_and_outputs_by_name_are_like_those_without(float64, batch_size):
    (x, y), (other, _) = numbers(), numbers(seed=1)
    left, right = (keras.Input((3,), name=name) for name in ("left", "right"))
    output = layers.Dense(1, name="out")(left * right)
    named = keras.Model({"left": left, "right": right}, {"out": output})
    listed = keras.Model([left, right], output)
    for model in (named, listed):
        model.compile("sgd", loss="mse")
    actual = loss_of(named, ({"left": x, "right": other}, {"out": y}), batch_size)
    assert actual == loss_of(listed, ([x, other], y), batch_size)
    assert actual == loss_of(linear_with(named), (x * other, y), batch_size)


def linear_with(model):
    other = linear()
    other.set_weights(model.get_weights())
    return other


def scaled_optimizers():
    sgd = keras.optimizers.SGD
    return {
        "dynamic": keras.optimizers.LossScaleOptimizer(sgd(0.1), initial_scale=1024.0),
        "static": sgd(0.1, loss_scale_factor=1024.0),
    }


@pytest.mark.parametrize("name", ["dynamic", "static"])
def test_scale_of_the_loss_is_divided_out(name):
    plain, scaled = linear(), linear(scaled_optimizers()[name])
    scaled.set_weights(plain.get_weights())
    loss, gradients = ValidationLoss(scaled, numbers(), 4).gradient(
        scaled.trainable_variables
    )
    expected, others = ValidationLoss(plain, numbers(), 4).gradient(
        plain.trainable_variables
    )
    # A power of two costs no rounding.
    for actual, other in zip((loss, *gradients), (expected, *others), strict=True):
        np.testing.assert_array_equal(actual, other)


def test_weight_without_a_part_in_the_loss_has_a_gradient_of_zero():
    model = linear()
    other = keras.Variable([1.0, 2.0])
    _, gradients = ValidationLoss(model, numbers(), 4).gradient([other])
    np.testing.assert_array_equal(gradients[0], [0.0, 0.0])


def test_gradient_of_an_embedding_is_dense():
    hidden = layers.Embedding(5, 2), layers.Flatten()
    model = keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(1)])
    model.compile("sgd", loss="mse")
    x, y = np.array([[1, 1], [1, 3]]), np.ones((2, 1))
    _, (gradient, *_) = ValidationLoss(model, (x, y), 99).gradient(
        model.trainable_variables
    )
    assert gradient.shape == (5, 2)
    assert [bool(np.any(row)) for row in gradient] == [False, True, False, True, False]


# Six rows are split in two, five go to both replicas.
@pytest.mark.parametrize("batch_size", [6, 5, 99])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_two_replicas_have_the_loss_and_gradient_of_one(
    two_replicas, batch_size, is_weighted
):
    data = (*numbers(), np.linspace(0.0, 2.0, 10))[: 3 if is_weighted else 2]
    single = linear()
    with two_replicas.scope():
        model = linear()
    model.set_weights(single.get_weights())
    validation = ValidationLoss(model, data, batch_size)
    alone = ValidationLoss(single, data, batch_size)

    @tf.function
    def step():
        return two_replicas.run(lambda: validation.gradient(model.trainable_variables))

    for _ in range(3):
        loss, gradients = step()
        expected, others = alone.gradient(single.trainable_variables)
        for each, other in zip((loss, *gradients), (expected, *others), strict=True):
            for copy in two_replicas.experimental_local_results(each):
                # Two sums of halves in place of one, in float32.
                np.testing.assert_allclose(copy, other, rtol=1e-6, atol=1e-6)
