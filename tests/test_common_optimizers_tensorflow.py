"""What every public optimizer must do with what only TensorFlow has.

Replicas of a `tf.distribute` strategy, and the sparse gradients of embeddings.
"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lr import _keras
from tests.every_optimizer import (
    EXACTLY,
    ROUNDING,
    assert_same,
    every_default,
    every_optimizer,
    every_stored,
    gradients,
    state,
    step,
    values,
    weights,
)
from tests.small_problem import data, fit

ROWS = [4, 0, 4, 2, 4]


def sparse_and_dense(seed):
    """Return rows of a gradient, one of them three times, and their sum."""
    rows = np.random.default_rng(seed).normal(size=(len(ROWS), 3)).astype("float32")
    dense = np.zeros((6, 3), "float32")
    np.add.at(dense, ROWS, rows)
    return tf.IndexedSlices(tf.constant(rows), tf.constant(ROWS), (6, 3)), dense


def table_and_bias():
    table = np.linspace(-1.0, 1.0, 18).reshape(6, 3)
    return [
        keras.Variable(table, dtype="float32", name="table"),
        keras.Variable([0.5, -0.75], dtype="float32", name="bias"),
    ]


@every_optimizer
@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"clipnorm": 1.0}, marks=pytest.mark.slow),
        {"global_clipnorm": 1.0},
        pytest.param({"clipvalue": 0.5, "weight_decay": 0.25}, marks=pytest.mark.slow),
        {"gradient_accumulation_steps": 2, "loss_scale_factor": 4.0},
    ],
    ids=str,
)
def test_sparse_gradient_with_repeated_rows_equals_the_dense_one(case, extra):
    sparse, dense = case(**extra), case(**extra)
    actual, expected = table_and_bias(), table_and_bias()
    for index, (_, bias) in enumerate(gradients(4)):
        rows, matrix = sparse_and_dense(index)
        step(sparse, actual, [rows, bias])
        step(dense, expected, [matrix, bias])
    assert_same(values(actual), values(expected))
    assert_same(state(sparse), state(dense))


@every_default
def test_sparse_gradient_with_a_nan_is_left_out(case):
    (sparse, dense), variables = sparse_and_dense(0), table_and_bias()[:1]
    spoilt = tf.IndexedSlices(sparse.values * np.nan, sparse.indices, (6, 3))
    optimizer, reference = case(), case()
    actual = step(optimizer, variables, [dense], [spoilt])
    assert_same(actual, step(reference, table_and_bias()[:1], [dense]), **EXACTLY)


TOKENS = 6


def token_model(optimizer, *, embeds):
    """Return a model on tokens, by their rows or by a product with their codes."""
    table = keras.initializers.RandomUniform(seed=1)
    inputs = keras.Input((4,), dtype="int32")
    if embeds:
        embedding = keras.layers.Embedding(TOKENS, 3, embeddings_initializer=table)
        rows = embedding(inputs)
    else:
        codes = keras.ops.one_hot(inputs, TOKENS)
        rows = keras.layers.Dense(3, use_bias=False, kernel_initializer=table)(codes)
    outputs = keras.layers.Softmax()(keras.ops.mean(rows, axis=1))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def token_data():
    """Return sequences that hold tokens several times, and never the last one."""
    x = np.random.default_rng(0).integers(0, TOKENS - 1, (20, 4))
    return {"x": x, "y": data()[1][:20], "batch_size": 4, "shuffle": False}


# 15 steps, whose sums are rounded in another order.
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


def assert_same_training(model, other):
    assert_same(values(model.weights), values(other.weights), **CLOSE)
    actual, expected = state(model.optimizer), state(other.optimizer)
    assert_same(list(actual.values()), list(expected.values()), **CLOSE)


@every_default
def test_embedding_trains_as_the_product_with_a_dense_table(case):
    make = functools.partial(
        case, learning_rate=0.25, global_clipnorm=0.2, weight_decay=0.25
    )
    models = [token_model(make(), embeds=embeds) for embeds in (True, False)]
    for model in models:
        fit(model, **token_data())
    assert_same_training(*models)


@every_default
def test_embedding_trains_in_mixed_float16(case):
    keras.config.set_dtype_policy("mixed_float16")
    model = token_model(case(learning_rate=0.25), embeds=True)
    (start,) = model.get_weights()
    fit(model, **token_data())
    (end,) = model.get_weights()
    assert_same([end[-1]], [start[-1]])
    assert (np.abs(end[:-1] - start[:-1]).max(axis=1) > 1e-3).all()


def step_on_replicas(strategy, make_optimizer, of_steps, make_variables=weights):
    """Step in the strategy; the gradients have an axis for the replicas in front."""
    with strategy.scope():
        variables = make_variables()
        optimizer = make_optimizer()
        optimizer.build(variables)

    @tf.function
    def distributed(*grads):
        def replica():
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            optimizer.apply([tf.convert_to_tensor(g)[index] for g in grads], variables)

        strategy.run(replica)

    for grads in of_steps:
        distributed(*map(tf.constant, grads))
    return optimizer, variables


def on_both(of_steps, seed=1):
    """Split gradients in two unequal parts, one for each replica."""
    others = gradients(len(of_steps), seed)
    return [
        [np.stack([g - o, o]) for g, o in zip(grads, other, strict=True)]
        for grads, other in zip(of_steps, others, strict=True)
    ]


def assert_replicas_agree(variables):
    for variable in variables:
        first, second = (each.numpy() for each in variable.value.values)
        # Scalars are copied. Elsewhere TensorFlow's kernels may round differently.
        assert_same([first], [second], **(ROUNDING if variable.shape else EXACTLY))


EXTRAS = [
    pytest.param({}, marks=pytest.mark.slow),
    # The paper's variants have it by default.
    pytest.param({"clipnorm": 1.0}, marks=pytest.mark.slow),
    {"global_clipnorm": 1.0},
    pytest.param({"clipvalue": 0.5, "weight_decay": 0.25}, marks=pytest.mark.slow),
    {"use_ema": True, "ema_momentum": 0.5},
]


def assert_replicas_equal_one_device(strategy, case, extra):
    raw = gradients(3)
    make = functools.partial(case, **extra)
    optimizer, variables = step_on_replicas(strategy, make, on_both(raw))
    reference, expected = make(), weights()
    step(reference, expected, *raw)
    # The sum of the parts is rounded, too.
    tolerance = {"rtol": 2 * ROUNDING["rtol"], "atol": 2 * ROUNDING["atol"]}
    assert_same(values(variables), values(expected), **tolerance)
    assert_same(state(optimizer), state(reference), **tolerance)
    assert_same(values(optimizer.variables), values(reference.variables), **tolerance)
    assert_replicas_agree([*variables, *optimizer.variables])


@every_default
@pytest.mark.parametrize("extra", EXTRAS, ids=str)
def test_replicas_step_by_the_sum_of_their_gradients(case, extra, two_replicas):
    assert_replicas_equal_one_device(two_replicas, case, extra)


@every_optimizer
def test_replicas_step_by_the_sum_in_both_variants(case, two_replicas):
    if case.variant != "supremum":
        assert_replicas_equal_one_device(two_replicas, case, {"clipnorm": 1.0})


@every_default
def test_replicas_step_by_the_sum_of_unscaled_gradients(case, two_replicas):
    def make():
        return keras.optimizers.LossScaleOptimizer(case(), initial_scale=4.0)

    raw = gradients(3)
    scaled = [[4.0 * each for each in parts] for parts in on_both(raw)]
    optimizer, variables = step_on_replicas(two_replicas, make, scaled)
    reference, expected = case(), weights()
    step(reference, expected, *raw)
    assert_same(values(variables), values(expected), rtol=4e-6, atol=6e-7)
    assert_same(state(optimizer.inner_optimizer), state(reference), rtol=4e-6)


@every_default
@pytest.mark.parametrize("replica", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_nan_on_one_replica_leaves_the_step_out_on_both(case, replica, two_replicas):
    first, bad, last = on_both(gradients(3))
    bad[0][replica, 0, 0] = np.nan
    optimizer, variables = step_on_replicas(two_replicas, case, [first, bad, last])
    reference, expected = step_on_replicas(two_replicas, case, [first, last])
    assert_same(values(variables), values(expected))
    assert_same(state(optimizer), state(reference))
    assert_replicas_agree([*variables, *optimizer.variables])


def with_scale():
    """Return weights, and a variable that its gradient overwrites, as in float8."""
    scale = keras.Variable(1.0, name="scale")
    scale.overwrite_with_gradient = True
    return [*weights(), scale]


@every_stored
def test_scale_is_overwritten_and_no_weight(case):
    actual, expected = with_scale(), weights()
    of_steps = gradients(2)
    optimizer, reference = case(weight_decay=0.25), case(weight_decay=0.25)
    step(optimizer, actual, *([*grads, np.float32(8.0)] for grads in of_steps))
    step(reference, expected, *of_steps)
    assert_same(values(actual), [*values(expected), 8.0], **EXACTLY)
    assert_same(state(optimizer), state(reference), **EXACTLY)


@every_default
def test_replicas_do_not_sum_a_scale(case, two_replicas):
    of_steps = [[*grads, np.float32([8.0, 8.0])] for grads in on_both(gradients(2))]
    _, variables = step_on_replicas(two_replicas, case, of_steps, with_scale)
    assert values(variables)[-1] == 8.0


@every_default
@pytest.mark.xfail(
    raises=RuntimeError,
    reason="keras#20582: Keras accumulates in a branch, where replicas cannot meet",
)
def test_replicas_accumulate_gradients(case, two_replicas):
    make = functools.partial(case, gradient_accumulation_steps=2)
    step_on_replicas(two_replicas, make, on_both(gradients(2)))


@every_default
@pytest.mark.xfail(
    raises=RuntimeError,
    reason="Keras overwrites by the average in a branch, as in keras#20582",
)
def test_replicas_overwrite_by_the_moving_average(case, two_replicas):
    make = functools.partial(case, use_ema=True, ema_overwrite_frequency=2)
    step_on_replicas(two_replicas, make, on_both(gradients(2)))


@every_default
@pytest.mark.parametrize(
    "policy", ["float32", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
def test_replicas_train_as_one_device_at_the_same_global_batch(
    case, policy, two_replicas
):
    keras.config.set_dtype_policy(policy)

    def make():
        optimizer = case(learning_rate=0.25)
        if policy == "mixed_float16":
            # Keras's initial scale overflows, and skips the first steps.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 8.0)
        return token_model(optimizer, embeds=True)

    with two_replicas.scope():
        model = make()
    reference = make()
    for each in (model, reference):
        fit(each, epochs=1, **token_data())
    # float16 has 11 bits, and five steps accumulate; float32 has 24.
    rounding = 2.0 ** (-11 if policy == "mixed_float16" else -24)
    close = {"rtol": 0.0, "atol": 10 * rounding}
    assert_same(values(model.weights), values(reference.weights), **close)
    (actual,), (expected,) = (
        map(state, _keras.leaf_optimizers(each.optimizer))
        for each in (model, reference)
    )
    for name in (*case.constants, "effective_learning_rate", "observations"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=50 * rounding)
