"""`LipschitzLR()`: the rate from the largest norm of the gradients so far."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lr
from keras_lr.training.lipschitz.gradient_meter import (
    GradientMeter,
    _without_effect_unless,
)

ROWS, BATCH, FEATURES = 24, 8, 5


def data(scale=1.0):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, FEATURES)).astype("float32")
    return x, scale * np.tanh(x[:, :2] - x[:, 2:4])


def network(optimizer, **kwargs):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(6, "tanh"), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((FEATURES,)), *layers])
    model.compile(optimizer, "mse", jit_compile=False, **kwargs)
    return model


class NormsByTape(keras.callbacks.Callback):
    """The norm of each batch's gradient before its step, by a tape of its own."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y, self.norms, self.rates = x, y, [], []

    def on_train_batch_begin(self, batch, logs=None):
        part = slice(batch * BATCH, (batch + 1) * BATCH)
        with tf.GradientTape() as tape:
            outputs = self.model(self.x[part], training=True)
            loss = tf.reduce_mean((outputs - self.y[part]) ** 2)
            loss += sum(self.model.losses)
        gradients = tape.gradient(loss, self.model.trainable_variables)
        squares = (np.sum(np.asarray(each, "float64") ** 2) for each in gradients)
        self.norms.append(np.sqrt(sum(squares)))

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


def fit(model, callbacks, rows=None, epochs=3, **kwargs):
    x, y = rows or data()
    model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
        **kwargs,
    )


@pytest.mark.parametrize("momentum", [0.0, 0.75])
@pytest.mark.parametrize("memory", [1.0, 0.5])
def test_rate_is_the_inverse_of_the_largest_norm_so_far(momentum, memory):
    model = network(keras.optimizers.SGD(momentum=momentum))
    callback = keras_lr.LipschitzLR(memory=memory, anneal=0.0)
    tape = NormsByTape(*data())
    fit(model, [callback, tape])
    held, expected = 0.0, []
    for norm in tape.norms:
        held = max(norm, memory * held)
        expected.append(2 * (1 - momentum) / held)
    np.testing.assert_allclose(tape.rates, expected, rtol=1e-5)
    largest = np.max(np.reshape(tape.norms, (3, -1)), axis=1)
    np.testing.assert_allclose(callback.history["lipschitz_constant"], largest, 1e-5)
    assert list(callback.history) == ["learning_rate", "lipschitz_constant"]


def test_one_step_at_the_inverse_solves_a_line_by_hand():
    # y = 2 x with inputs of 1 and w = 0: gradient -4, rate 2 / 4, and w = 0 + 0.5 * 4.
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile("sgd", "mse")
    x = np.ones((8, 1))
    model.fit(x, 2 * x, verbose=0, callbacks=[keras_lr.LipschitzLR(anneal=0.0)])
    assert layer.kernel.numpy().item() == pytest.approx(2.0)


def test_norms_of_an_epoch_set_the_rate_of_the_next():
    model, tape = network("sgd"), NormsByTape(*data())
    callback = keras_lr.LipschitzLR(update="epoch", memory=0.0, anneal=0.0)
    fit(model, [tape, callback])  # The next rate is set at the end of an epoch.
    norms = np.reshape(tape.norms, (3, -1))
    rates = np.reshape(tape.rates, (3, -1))
    np.testing.assert_allclose(rates[0], 2 / norms[0], rtol=1e-5)
    for epoch in (1, 2):
        np.testing.assert_allclose(rates[epoch], 2 / norms[epoch - 1].max(), rtol=1e-5)


def test_regularizers_and_any_loss_count():
    def loss(y, outputs):
        return keras.ops.sum(keras.ops.abs(y - outputs) ** 1.5, axis=-1)

    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.1))
    model = keras.Sequential([keras.Input((FEATURES,)), dense, keras.layers.ReLU()])
    model.compile("sgd", loss)
    x, y = data()
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(loss(y[:BATCH], model(x[:BATCH]))) + sum(model.losses)
    gradients = tape.gradient(value, model.trainable_variables)
    callback = keras_lr.LipschitzLR(anneal=0.0)
    fit(model, [callback], (x[:BATCH], y[:BATCH]), epochs=1)
    norm = float(tf.linalg.global_norm(gradients))
    assert callback.history["lipschitz_constant"] == [pytest.approx(norm, rel=1e-5)]


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(loss_scale_factor=512.0),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()),
        lambda: keras.optimizers.SGD(gradient_accumulation_steps=3),
    ],
    ids=["factor", "LossScaleOptimizer", "accumulation"],
)
def test_scale_of_the_loss_does_not_count(optimizer):
    norms = []
    for make in (keras.optimizers.SGD, optimizer):
        callback = keras_lr.LipschitzLR(anneal=0.0)
        fit(network(make()), [callback], (data()[0][:BATCH], data()[1][:BATCH]), 1)
        norms += callback.history["lipschitz_constant"]
    assert norms[0] > 0
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)


def test_rows_of_an_embedding_that_come_twice_count_together():
    def build(layer):
        model = keras.Sequential([layer, keras.layers.Flatten()])
        model.compile("sgd", "mse")
        model.build((None, 3))
        return model

    tokens, y = np.array([[1, 1, 2]] * BATCH), np.ones((BATCH, 12), "float32")
    embedding = keras.layers.Embedding(5, 4, embeddings_initializer="zeros")
    callback = keras_lr.LipschitzLR(anneal=0.0)
    fit(build(embedding), [callback], (tokens, y), epochs=1)
    # The derivative is -2 / 12 for each entry of a row, and twice that for row 1.
    expected = np.sqrt(4 * (2 / 12) ** 2 + 4 * (4 / 12) ** 2)
    assert callback.history["lipschitz_constant"] == [pytest.approx(expected)]


def test_two_replicas_measure_the_gradient_of_the_global_batch(two_replicas):
    measured = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            model = network(keras.optimizers.SGD(momentum=0.5))
        callback = keras_lr.LipschitzLR(anneal=0.0)
        fit(model, [callback])
        measured.append(callback.history)
    for name, values in measured[0].items():
        np.testing.assert_allclose(measured[1][name], values, rtol=1e-5)


@pytest.mark.parametrize(
    "bad", [np.nan, *(pytest.param(x, marks=pytest.mark.slow) for x in (np.inf, 1e30))]
)
def test_step_whose_gradient_is_not_finite_is_left_out_and_said_once(bad):
    x, y = data()
    y[BATCH : 2 * BATCH] = bad
    model, callback, tape = network("sgd"), keras_lr.LipschitzLR(), NormsByTape(x, y)
    with pytest.warns(UserWarning, match="has left its step out") as record:
        fit(model, [callback, tape], (x, y), epochs=2)
    assert len(record) == 1
    others = np.reshape(tape.norms, (2, -1))[:, [0, 2]]
    constants = callback.history["lipschitz_constant"]
    np.testing.assert_allclose(constants, others.max(axis=1), rtol=1e-5)
    same = network("sgd")
    for step, rate in enumerate(tape.rates):
        if step % 3 != 1:
            same.optimizer.learning_rate = rate
            rows = slice(step % 3 * BATCH, (step % 3 + 1) * BATCH)
            same.train_on_batch(x[rows], y[rows])
    for ours, expected in zip(model.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_gradients_without_a_finite_one_keep_the_rate_and_are_said():
    x, y = data()
    callback, model = keras_lr.LipschitzLR(anneal=0.0), network("sgd")
    with pytest.warns(UserWarning, match="LipschitzLR") as record:
        fit(model, [callback], (x, y * np.nan), epochs=2)
    assert [str(each.message).split(",")[0] for each in record] == [
        "`LipschitzLR` met a batch whose gradient is not finite",
        "`LipschitzLR` measured a Lipschitz constant of 0.0 and keeps the last "
        "learning rate. All gradients of an epoch were zero",
    ]
    assert callback.history["learning_rate"] == [np.float32(0.01)] * 2
    for ours, initial in zip(
        model.get_weights(), network("sgd").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, initial)


@pytest.mark.parametrize(
    "update", [pytest.param("batch", marks=pytest.mark.slow), "epoch"]
)
def test_overflow_of_the_scale_of_the_loss_is_nothing_to_mention(update, recwarn):
    scaled = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(), initial_scale=2.0**127
    )
    callback, model = keras_lr.LipschitzLR(update=update, anneal=0.0), network(scaled)
    tape = NormsByTape(*data(scale=10.0))
    fit(model, [callback, tape], data(scale=10.0), epochs=4)
    skipped = 12 - int(scaled.inner_optimizer.iterations)
    assert 0 < skipped < 9
    norms = np.array(tape.norms)
    norms[:skipped] = 0.0
    largest = np.reshape(norms, (4, -1)).max(axis=1)
    np.testing.assert_allclose(callback.history["lipschitz_constant"], largest, 1e-5)
    assert not recwarn.list


def test_gradients_without_effect_are_zeros_and_sparse_ones_stay_sparse():
    slices = tf.IndexedSlices(
        tf.constant([[1.0], [np.nan]]), tf.constant([0, 3]), [5, 1]
    )
    scale = keras.Variable(3.0)
    # Keras assigns what stands in the place of the gradient of a float8 scale.
    scale.overwrite_with_gradient = True
    variables = [None, None, None, scale]
    gradients = [slices, None, tf.ones(2), tf.constant(7.0)]
    for is_finite, expected in ((True, [[1.0], [np.nan]]), (False, [[0.0], [0.0]])):
        sparse, missing, dense, of_scale = _without_effect_unless(
            tf.constant(is_finite), gradients, variables
        )
        assert isinstance(sparse, tf.IndexedSlices)
        np.testing.assert_array_equal(sparse.values, expected)
        np.testing.assert_array_equal(sparse.indices, [0, 3])
        assert missing is None
        np.testing.assert_array_equal(dense, np.full(2, float(is_finite)))
        assert float(of_scale) == (7.0 if is_finite else 3.0)


def test_scales_of_float8_are_no_weights():
    model = network("sgd")
    model.layers[1].kernel.overwrite_with_gradient = True
    meter, norms = GradientMeter(model), []
    gradients = [tf.fill(each.shape, 2.0) for each in model.trainable_variables]
    with meter.watching(None, lambda norm, _: norms.append(float(norm))):
        model.optimizer.apply(gradients, model.trainable_variables)
    # All but the 6 x 2 of that kernel: 5 x 6 + 6 + 2.
    assert norms == [pytest.approx(2 * 38**0.5)]


def test_steps_left_out_are_counted_from_the_last_reset():
    model = network("sgd")
    meter = GradientMeter(model)
    gradients = [tf.fill(each.shape, np.nan) for each in model.trainable_variables]
    with meter.watching(None, lambda *_: None):
        for _ in range(2):
            model.optimizer.apply(gradients, model.trainable_variables)
    assert meter.read() == {"lipschitz_constant": 0.0, "left_out": 2.0}
    meter.reset()
    assert meter.read()["left_out"] == 0.0


@pytest.mark.filterwarnings("ignore:.*(gradient descent|has left its step out)")
@pytest.mark.parametrize(
    "optimizer",
    [
        keras_lr.AdaMo,
        pytest.param(keras_lr.AdaptiveRMSprop, marks=pytest.mark.slow),
        pytest.param(keras_lr.AutoAdam, marks=pytest.mark.slow),
    ],
)
def test_our_optimizers_leave_the_step_out_themselves(optimizer):
    x, y = data()
    y[BATCH : 2 * BATCH] = np.nan
    alone, beside = network(optimizer()), network(optimizer())
    fit(alone, [], (x, y), epochs=1)
    fit(beside, [keras_lr.LipschitzLR(anneal=0.0)], (x, y), epochs=1)
    for expected, value in zip(alone.get_weights(), beside.get_weights(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_gradient_of_zero_leaves_the_compiled_rate_and_is_said():
    x, y = np.zeros((BATCH, FEATURES)), np.zeros((BATCH, 2))
    callback = keras_lr.LipschitzLR(anneal=0.0)
    with pytest.warns(UserWarning, match="constant of 0.0 .* were zero, or"):
        fit(network(keras.optimizers.SGD(0.25)), [callback], (x, y), epochs=1)
    assert callback.history["learning_rate"] == [0.25]


@pytest.mark.parametrize(
    "arguments",
    [
        {"layer": "dense"},
        {"tikhonov": 0.1},
        {"source": "forward_pass", "update": "epoch", "data": data()[0]},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_arguments_of_the_closed_forms_need_one(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f'"strict" or "paper" with `{name}`'):
        keras_lr.LipschitzLR(**arguments)
    assert keras_lr.LipschitzLR(**arguments, bound="strict").bound == "strict"
