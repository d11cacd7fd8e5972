"""The gradient by every rate is that of plain Keras training, in float64.

It is compared with differences of trainings that know nothing of it: `train_on_batch`,
with the rate set before each step.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers

from keras_lr import _keras
from keras_lr.training.schedule import schedule_gradient
from keras_lr.training.schedule.final_loss import FinalLoss
from keras_lr.training.schedule.training_step import TrainingStep

pytestmark = pytest.mark.usefixtures("float64")

STEPS, BATCH, CLASSES = 20, 5, 3
# Part of a rate. Central differences leave its square, 4e-9 of the third derivative,
# and a rounding of 1e-16 over it times the rate, 1e-10 of slopes of 1e-2.
SPACING = 2.0**-14
DIFFERENCES = 1e-6
# Twenty steps of roundings, in another order.
ORDER = 1e-10


def network(*hidden):
    head = layers.Dense(CLASSES, "softmax")
    return keras.Sequential([keras.Input((6,), dtype="float64"), *hidden, head])


def batch_norm():
    # No bias before it, which would have a gradient of rounding noise.
    return network(
        layers.Dense(8, use_bias=False), layers.BatchNormalization(momentum=0.75)
    )


def penalized():
    l2 = keras.regularizers.L2(0.125)
    return network(
        layers.Dense(8, "tanh", kernel_regularizer=l2, activity_regularizer=l2)
    )


def partly_dead():
    """Two of the eight units never fire, and never have a gradient."""
    bias = keras.initializers.Constant([0.25] * 6 + [-50.0] * 2)
    return network(layers.Dense(8, "relu", bias_initializer=bias))


MODELS = {
    "plain": lambda: network(layers.Dense(8, "tanh")),
    "batch_norm": batch_norm,
    "penalized": penalized,
    "dead": partly_dead,
    "dropout": lambda: network(layers.Dense(8, "tanh"), layers.Dropout(0.5, seed=3)),
    "layer_norm": lambda: network(layers.Dense(8, "tanh"), layers.LayerNormalization()),
    "gru": lambda: network(layers.Reshape((3, 2)), layers.GRU(4)),
}
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.25),
    "momentum": lambda: optimizers.SGD(0.0625, momentum=0.5),
    "nesterov": lambda: optimizers.SGD(0.0625, momentum=0.5, nesterov=True),
    "adam": lambda: optimizers.Adam(0.03125),
    "adamw": lambda: optimizers.AdamW(0.03125, weight_decay=0.125),
    "nadam": lambda: optimizers.Nadam(0.03125),
    "rmsprop": lambda: optimizers.RMSprop(0.015625),
    "clipped": lambda: optimizers.Adam(0.03125, global_clipnorm=0.05),
    "scaled": lambda: optimizers.SGD(0.25, loss_scale_factor=8.0),
}
CASES = [("batch_norm", "adam")]
SLOW = [
    ("plain", "momentum"),
    *(("plain", each) for each in ("sgd", "adam")),
    *(("plain", each) for each in ("nesterov", "adamw", "nadam", "rmsprop")),
    *(("plain", each) for each in ("clipped", "scaled")),
    *(("batch_norm", each) for each in ("sgd", "momentum")),
    *(("penalized", "adam"), ("dead", "adamw")),
    *(("dropout", "adam"), ("layer_norm", "momentum"), ("gru", "adam")),
]


class Trained:
    """A model, its training as a function of the rates, and plain Keras beside it."""

    def __init__(self, model, optimizer):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(STEPS * BATCH, 6)), rng.integers(0, 3, STEPS * BATCH)
        parts = [slice(BATCH * t, BATCH * (t + 1)) for t in range(STEPS)]
        self.batches = [(tf.constant(x[part]), tf.constant(y[part])) for part in parts]
        self.validation = rng.normal(size=(16, 6)), rng.integers(0, 3, 16)
        keras.utils.set_random_seed(0)
        self.model = MODELS[model]()
        loss = "sparse_categorical_crossentropy"
        self.model.compile(OPTIMIZERS[optimizer](), loss=loss, jit_compile=False)
        _keras.build_optimizer(self.model)
        self.optimizer = self.model.optimizer
        self.step = TrainingStep(self.model, self.batches[0], "test")
        self.final_loss = FinalLoss(self.step, self.validation, 7)
        self.start = self.step.state()
        rate = float(self.optimizer.learning_rate)
        self.rates = rate * rng.uniform(0.5, 1.5, STEPS)

    def reverse(self, capacity=STEPS):
        return schedule_gradient.reverse(*self.given(), capacity=capacity)

    def forward(self, every=1):
        return schedule_gradient.forward(*self.given(), every=every)

    def given(self):
        rates = self.step.rates(self.rates)
        return self.step, self.final_loss, self.start, rates, self.batches

    def variables(self):
        return [*self.model.variables, *self.optimizer.variables]

    def values(self):
        return [each.numpy() for each in self.variables()]

    def go_on(self, first, rates):
        """Train plainly, from where the model is, from the step of a number on."""
        for rate, batch in zip(rates, self.batches[first:], strict=True):
            self.optimizer.learning_rate = float(rate)
            self.model.train_on_batch(*batch)
        x, y = self.validation
        p = self.model(x, training=False).numpy()
        return -np.log(p[np.arange(len(y)), y]).mean()

    def differences(self):
        """Return dE / d eta_t for each t."""
        slopes = []
        for t, rate in enumerate(self.rates):
            before, later = self.values(), self.rates[t + 1 :]
            spacing = SPACING * rate
            ends = []
            for shifted in (rate - spacing, rate + spacing):
                ends.append(self.go_on(t, [shifted, *later]))
                self.restore(before)
            self.optimizer.learning_rate = float(rate)
            self.model.train_on_batch(*self.batches[t])
            slopes.append((ends[1] - ends[0]) / (2 * spacing))
        return np.array(slopes)

    def restore(self, values):
        for variable, value in zip(self.variables(), values, strict=True):
            variable.assign(value)


def parameters():
    return [*CASES, *(pytest.param(each, marks=pytest.mark.slow) for each in SLOW)]


@pytest.mark.parametrize("case", parameters(), ids="-".join)
def test_every_slope_is_the_difference_of_plain_trainings(case):
    trained = Trained(*case)
    before = trained.values()
    loss, slopes = trained.reverse()
    for value, variable in zip(before, trained.values(), strict=True):
        np.testing.assert_array_equal(variable, value)
    differences = trained.differences()
    np.testing.assert_allclose(slopes, differences, rtol=DIFFERENCES)
    trained.restore(before)
    # The graph's optimizer may turn quotients into products.
    assert loss == pytest.approx(trained.go_on(0, trained.rates), rel=1e-13)


MODES = [
    *(
        pytest.param(("plain", each), marks=pytest.mark.slow)
        for each in ("sgd", "adam")
    ),
    ("batch_norm", "momentum"),
]


@pytest.mark.parametrize("case", MODES, ids="-".join)
def test_checkpoints_change_nothing(case):
    trained = Trained(*case)
    loss, slopes = trained.reverse()
    for capacity in (8, 9, 13, 19):
        other_loss, other = trained.reverse(capacity)
        # The same operations on the same numbers.
        assert other_loss == loss
        np.testing.assert_array_equal(other, slopes)


@pytest.mark.slow
@pytest.mark.parametrize("case", MODES, ids="-".join)
def test_forward_mode_is_reverse_mode(case):
    trained = Trained(*case)
    loss, slopes = trained.reverse()
    forward_loss, forward = trained.forward(every=1)
    assert forward_loss == loss
    np.testing.assert_allclose(forward, slopes, rtol=0, atol=ORDER * abs(slopes).max())


@pytest.mark.slow
def test_forward_mode_by_groups_of_steps_sums_their_slopes():
    trained = Trained("plain", "adam")
    _, slopes = trained.reverse()
    _, forward = trained.forward(every=8)
    expected = [slopes[:8].sum(), slopes[8:16].sum(), slopes[16:].sum()]
    np.testing.assert_allclose(forward, expected, rtol=ORDER)


class Counted:
    """A step that counts the states that it made and that are still there."""

    def __init__(self):
        self.alive = self.most = self.advanced = self.pulled = 0

    def advance(self, state, rate, batch):
        self.advanced += 1
        return State(self)

    def pull_back(self, state, rate, batch, adjoint):
        self.pulled += 1
        return adjoint, np.array(0.0)

    def gradient(self, floats):
        return np.array(0.0), None


class State:
    floats = None

    def __init__(self, counted):
        self._counted = counted
        counted.alive += 1
        counted.most = max(counted.most, counted.alive)

    def __del__(self):
        self._counted.alive -= 1


@pytest.mark.parametrize(
    ("capacity", "most", "again"),
    # All are kept; segments of 10; the least.
    [(100, 100, 0), (19, 20, 90), (59, 60, 50)],
)
def test_states_alive_are_those_of_the_capacity_and_the_next_one(capacity, most, again):
    counted = Counted()
    start = State(counted)
    steps = range(100)
    schedule_gradient.reverse(counted, counted, start, steps, steps, capacity=capacity)
    assert counted.most <= most + 1
    assert counted.pulled == 100
    # Each segment that is run again needs no step to its end, which is known.
    assert 100 <= counted.advanced <= 100 + again
