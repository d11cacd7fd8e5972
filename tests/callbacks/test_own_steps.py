"""Models that have a training step of their own, and losses that are not reduced."""

import keras
import pytest
import tensorflow as tf
from keras import ops

import keras_lr
from keras_lr import _keras
from tests.small_problem import data, fit, sequential

# Keras converts TensorFlow's variables, which do not take NumPy 2's `copy`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

ROWS, FEATURES, BATCH = 16, 3, 4
STEPS = ROWS // BATCH


class Autoencoder(keras.Model):
    """As keras.io's VAE: a training step, layers that nobody has built, no call."""

    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential([keras.layers.Dense(2, "tanh")])
        self.decoder = keras.Sequential([keras.layers.Dense(FEATURES)])

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = ops.mean(ops.square(data - self.decoder(self.encoder(data))))
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        return {"loss": loss}


class OfPairs(Autoencoder):
    """Trains on pairs of rows, where its `call` takes images."""

    def train_step(self, data):
        return super().train_step(ops.concatenate(data))

    def call(self, images):
        return self.encoder(ops.reshape(images, (-1, 28 * 28)))


def train(model, callback, rng, epochs=2, **kwargs):
    if not model.compiled:
        model.compile(keras.optimizers.SGD(0.1), **kwargs)
    x = rng.normal(size=(ROWS, FEATURES)).astype("float32")
    pair = (x, x) if isinstance(model, OfPairs) else (x,)
    return model.fit(
        *pair, batch_size=BATCH, epochs=epochs, callbacks=[callback], verbose=0
    )


@pytest.mark.parametrize(
    ("kind", "run_eagerly"),
    [(Autoencoder, False), pytest.param(OfPairs, True, marks=pytest.mark.slow)],
)
def test_model_that_only_its_step_can_build_is_tuned(kind, run_eagerly, rng):
    model, callback = kind(), keras_lr.MARTHE()
    assert not _keras.is_built(model)
    train(model, callback, rng, run_eagerly=run_eagerly)
    rates = callback.history["learning_rate"]
    assert len(rates) == 2 * STEPS
    # A hundredth of the compiled rate: nothing has trained before the first step.
    assert rates[0] == pytest.approx(0.001, rel=1e-6)
    assert len(set(callback.history["hypergradient"][1:-1])) > 1
    # What is built need not be built again, nor traced.
    assert _keras.is_built(model)


ONLY_THE_STEP = r"must be `compute_loss\(x, y, model\(x\)\)`.*Received: model '\w+', {}"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Autoencoder, "without a `call`"), (OfPairs, "compiled without a loss")],
)
def test_loss_that_only_the_step_knows_is_refused_where_it_is_needed(kind, reason, rng):
    class Model(kind):
        def call(self, rows):
            return self.encoder(rows)

    model = kind() if kind is Autoencoder else Model()
    walk = keras_lr.LearningRateWalk()
    with pytest.raises(ValueError, match=ONLY_THE_STEP.format(reason)):
        train(model, walk, rng, run_eagerly=True)


def test_validation_loss_needs_a_model_that_can_be_called(rng):
    x = rng.normal(size=(ROWS, FEATURES)).astype("float32")
    marthe = keras_lr.HypergradientDescent((x, x))
    with pytest.raises(ValueError, match=ONLY_THE_STEP.format("without a `call`")):
        train(Autoencoder(), marthe, rng, run_eagerly=True)


@pytest.mark.parametrize("run_eagerly", [True, False])
@pytest.mark.parametrize("kind", ["walk", "marthe"])
def test_call_that_takes_something_else_is_refused_in_our_words(kind, run_eagerly, rng):
    x = rng.normal(size=(ROWS, FEATURES)).astype("float32")
    validation = (x, x)
    callback = {
        "walk": keras_lr.LearningRateWalk,
        "marthe": lambda: keras_lr.HypergradientDescent(validation),
    }[kind]()
    reason = "whose `call` fails on the data: .*784"
    with pytest.raises(ValueError, match=ONLY_THE_STEP.format(reason)):
        train(OfPairs(), callback, rng, run_eagerly=run_eagerly)


class Adversaries(Autoencoder):
    """As a GAN: two networks with an optimizer each, beside Keras's default one."""

    def compile(self):
        super().compile(run_eagerly=True)
        self.first_optimizer = keras.optimizers.SGD(0.25)
        self.second_optimizer = keras.optimizers.SGD(0.5)

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = ops.mean(ops.square(data - self.decoder(self.encoder(data))))
        parts = self.encoder.trainable_weights, self.decoder.trainable_weights
        gradients = tape.gradient(loss, parts)
        self.first_optimizer.apply(gradients[0], parts[0])
        self.second_optimizer.apply(gradients[1], parts[1])
        return {"loss": loss}


@pytest.mark.parametrize(
    "make", [keras_lr.MARTHE, keras_lr.LearningRateWalk, keras_lr.LipschitzLR]
)
def test_second_optimizer_is_refused_by_name(make, rng):
    model = Adversaries()
    model.compile()
    message = r"one optimizer.*first_optimizer, second_optimizer beside it.*Recorder"
    with pytest.raises(ValueError, match=message):
        train(model, make(), rng)


@pytest.mark.parametrize("every", ["epoch", "batch"])
def test_recorder_has_the_rates_of_the_optimizers_that_train(every, rng):
    model, recorder = Adversaries(), keras_lr.LearningRateRecorder(every)
    model.compile()
    logs = train(model, recorder, rng, epochs=1).history
    number = {"epoch": 1, "batch": STEPS}[every]
    recorder.history.pop("batch", None)
    assert recorder.history == {
        "learning_rate_first_optimizer": [0.25] * number,
        "learning_rate_second_optimizer": [0.5] * number,
    }
    assert logs["learning_rate_second_optimizer"] == [0.5]


class VectorLoss(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        losses = keras.losses.sparse_categorical_crossentropy(y, y_pred)
        return ops.reshape(losses, (-1,))


def with_reduction(reduction):
    model = sequential()
    if reduction == "compute_loss":
        model = VectorLoss(model.inputs, model.outputs)
    known = "sum" if reduction == "compute_loss" else reduction
    loss = keras.losses.SparseCategoricalCrossentropy(reduction=known)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.5), loss, run_eagerly=True)
    return model


@pytest.mark.parametrize(
    ("make", "reduction"),
    [
        (lambda: keras_lr.LearningRateWalk(1.1, every=3), None),
        pytest.param(
            lambda: keras_lr.MARTHE(data(1)), "compute_loss", marks=pytest.mark.slow
        ),
    ],
    ids=["walk", "MARTHE"],
)
def test_loss_that_is_not_reduced_is_the_sum_that_keras_descends(make, reduction):
    histories = []
    for each in (reduction, "sum"):
        callback = make()
        fit(with_reduction(each), [callback], 1)
        histories.append(callback.history)
    for name, values in histories[1].items():
        assert histories[0][name] == pytest.approx(values, rel=1e-5, nan_ok=True)


class Remembers(keras.Model):
    """Reads after the step what its `call` has left in attributes."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3, "tanh", activity_regularizer="l2")
        self.passes = tf.Variable(0)

    def call(self, x):
        self.hidden = self.dense(x)
        self.passes.assign_add(1)
        return ops.softmax(self.hidden)

    def train_step(self, data):
        logs = super().train_step(data)
        penalty, hidden = ops.sum(self.losses), ops.sum(self.hidden)
        return logs | {"penalty": penalty, "hidden": hidden}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: keras_lr.LearningRateWalk(1.1), id="walk"),
        pytest.param(
            lambda: keras_lr.MARTHE(data(1)), id="MARTHE", marks=pytest.mark.slow
        ),
    ],
)
def test_step_reads_what_its_own_pass_has_left(make):
    """The trials of the walk and the validation data of `MARTHE` pass after it."""
    ends = []
    for callbacks in ([make()], []):
        keras.utils.set_random_seed(0)
        model = Remembers()
        # A rate at which the weights stay where they are.
        model.compile(
            keras.optimizers.SGD(1e-7),
            "sparse_categorical_crossentropy",
            run_eagerly=True,
        )
        logs = fit(model, callbacks, 1).history
        ends.append((int(model.passes), logs["penalty"][0], logs["hidden"][0]))
    (passes, *values), (expected_passes, *expected) = ends
    assert values == pytest.approx(expected, rel=1e-4)
    assert expected[0] > 0.0
    # One of them builds the model, before the first step.
    assert passes in (expected_passes, expected_passes + 1)


class Measures(Remembers):
    """Reads in `compute_metrics` what its `call` has left."""

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        return logs | {"size": ops.sum(ops.abs(self.hidden))}


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: keras_lr.LearningRateWalk(1.1), id="walk"),
        pytest.param(keras_lr.MARTHE, id="MARTHE"),
        pytest.param(lambda: keras_lr.MARTHE(data(1)), id="MARTHE-validation"),
    ],
)
def test_traced_step_reads_what_its_own_pass_has_left(make):
    """It was a tensor of another graph, or that of another batch."""
    ends = []
    for callbacks in ([make()], []):
        keras.utils.set_random_seed(0)
        model = Measures()
        # A rate at which the weights stay where they are.
        model.compile(keras.optimizers.SGD(1e-7), "sparse_categorical_crossentropy")
        logs = fit(model, callbacks, 2).history
        ends.append((int(model.passes), logs))
    (passes, logs), (expected_passes, expected) = ends
    assert expected["penalty"][0] > 0.0
    for name in ("penalty", "hidden", "size"):
        assert logs[name] == pytest.approx(expected[name], rel=1e-4)
    # One of them builds the model, before the first step.
    assert passes in (expected_passes, expected_passes + 1)
