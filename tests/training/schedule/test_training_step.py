"""`TrainingStep`: Keras's own step, as a function, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers

from keras_lr import _keras
from keras_lr.training.schedule.training_step import TrainingStep, zeros_like
from tests.bilinear_matrix import BilinearMatrix
from tests.small_problem import BATCH, CLASSES, FEATURES, STEPS, data


def built(*hidden, optimizer=None, loss="sparse_categorical_crossentropy"):
    head = layers.Dense(CLASSES, "softmax")
    model = keras.Sequential([keras.Input((FEATURES,)), *hidden, head])
    model.compile(optimizer or optimizers.Adam(0.125), loss=loss, jit_compile=False)
    _keras.build_optimizer(model)
    return model


def batches():
    x, y = data()
    parts = [slice(BATCH * t, BATCH * (t + 1)) for t in range(STEPS)]
    return [(tf.constant(x[part]), tf.constant(y[part])) for part in parts]


def stateful():
    return layers.Dense(8, use_bias=False), layers.BatchNormalization(), dropout()


def dropout():
    return layers.Dropout(0.5, seed=3)


def numpy(tensors):
    return [keras.ops.convert_to_numpy(each) for each in tensors]


def test_steps_are_those_of_keras_and_leave_the_model_alone():
    model, given = built(*stateful()), batches()
    step = TrainingStep(model, given[0], "test")
    variables = [*model.variables, *model.optimizer.variables]
    before = numpy(variables)
    state, rate = step.state(), model.optimizer.learning_rate.value + 0
    for batch in given:  # The last one is smaller.
        state = step.advance(state, rate, batch)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    for batch in given:
        model.train_on_batch(*batch)
    floats, seeds, counters = state
    assert numpy(counters) == [STEPS] == numpy(step.variables.counters)
    np.testing.assert_array_equal(seeds, numpy(step.variables.seeds))
    for part, own in zip(floats, step.variables.floats, strict=True):
        for value, variable in zip(part, numpy(own), strict=True):
            # Six steps in float32, of graphs that round in another order.
            np.testing.assert_allclose(value, variable, rtol=1e-5, atol=1e-6)


def test_state_has_what_a_forward_pass_changes_and_nothing_else():
    frozen = layers.Dense(8)
    frozen.trainable = False
    model = built(frozen, *stateful())
    step = TrainingStep(model, batches()[0], "test")
    norm = model.layers[2]
    expected = [norm.moving_mean, norm.moving_variance]
    assert list(map(id, step.variables.floats.statistics)) == list(map(id, expected))
    assert [each.name for each in step.variables.seeds] == ["seed_generator_state"]
    assert [each.name for each in step.variables.counters] == ["iteration"]
    assert len(step.variables.floats.slots) == 2 * len(model.trainable_variables)


def test_other_seeds_are_other_masks_and_the_same_seeds_the_same():
    model = built(layers.Dense(8), dropout())
    step, batch = TrainingStep(model, batches()[0], "test"), batches()[0]
    rate = tf.constant(0.5)
    weights = []
    for seed in (1, 1, 2):
        state = step.with_other_seeds(step.state(), np.random.default_rng(seed))
        weights.append(step.advance(state, rate, batch).floats.weights[0].numpy())
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


class Counting(layers.Layer):
    """Counts its calls in a weight of whole numbers."""

    def build(self, shape):
        self.calls = self.add_weight((), "zeros", dtype="int32", trainable=False)

    def call(self, inputs):
        self.calls.assign(self.calls + 1)
        return inputs


def test_whole_numbers_that_are_no_seeds_are_counted_on():
    model = built(Counting())
    step = TrainingStep(model, batches()[0], "test")
    state = step.with_other_seeds(step.state(), np.random.default_rng(0))
    assert numpy(state.seeds) == [0]
    state = step.advance(state, tf.constant(0.5), batches()[0])
    assert numpy(state.seeds) == [1]


def test_size_of_a_state_is_that_of_its_numbers():
    model = built(optimizer=optimizers.SGD(0.5, momentum=0.5))
    # 15 and 3 float32 with a velocity each, and an int64.
    weights = FEATURES * CLASSES + CLASSES
    step = TrainingStep(model, batches()[0], "test")
    counter = tf.as_dtype(step.variables.counters[0].dtype).size
    assert step.nbytes == 4 * 2 * weights + counter


def test_step_is_traced_once_for_all_batches_of_a_size():
    model, given = built(), batches()
    step = TrainingStep(model, given[0], "test")
    state = step.state()
    for rate, batch in zip(step.rates(np.full(STEPS, 0.5)), given, strict=True):
        state = step.advance(state, rate, batch)
    # Once more, for any size, where the last one is smaller.
    assert step.advance.experimental_get_tracing_count() == 2


class Unseeded(layers.Layer):
    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs))


def test_random_numbers_without_a_generator_of_their_own_are_refused():
    with pytest.raises(ValueError, match=r"`mine` repeats training steps.*SeedGener"):
        TrainingStep(built(Unseeded()), batches()[0], "mine")


class Noisy(optimizers.SGD):
    def build(self, variables):
        super().build(variables)
        self.seed = keras.random.SeedGenerator(1)

    def update_step(self, gradient, variable, learning_rate):
        noise = keras.random.normal(variable.shape, seed=self.seed)
        super().update_step(gradient + noise, variable, learning_rate)


def test_optimizer_that_changes_what_is_not_its_own_is_refused():
    model = built(optimizer=Noisy(0.5))
    step = TrainingStep(model, batches()[0], "test")
    with pytest.raises(ValueError, match=r"optimizer=<Noisy>.*add_variable"):
        step.advance(step.state(), tf.constant(0.5), batches()[0])


class Fetches(optimizers.SGD):
    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient.numpy(), variable, learning_rate)


def test_step_that_cannot_be_differentiated_is_refused_in_the_name_of_its_owner():
    with pytest.raises(ValueError, match=r"`mine` takes .*<Fetches>"):
        TrainingStep(built(optimizer=Fetches(0.5)), batches()[0], "mine")


def enlarging(layer):
    hidden = layers.Dense(6), layers.Reshape((2, 3, 1)), layer, layers.Flatten()
    return built(*hidden, layers.Activation("tanh"), optimizer=optimizers.SGD(0.5))


def direction(floats):
    """A tangent or an adjoint of weights alone."""
    rng = np.random.default_rng(0)
    weights = [tf.constant(rng.normal(size=w.shape), w.dtype) for w in floats.weights]
    return zeros_like(floats)._replace(weights=weights)


def derivatives(model, batch):
    """A'a of an adjoint a, and A Z of a tangent Z, of the weights of a step."""
    step = TrainingStep(model, batch, "test")
    state, rate = step.state(), model.optimizer.learning_rate.value + 0
    given = direction(state.floats)
    back, _ = step.pull_back(state, rate, batch, given)
    ahead = step.push_forward(state, rate, batch, given, tf.zeros_like(rate))
    return [*back.weights, *ahead.weights]


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_step_through_bilinear_resizing_has_the_derivatives_of_its_matrix():
    model = enlarging(layers.UpSampling2D(2, interpolation="bilinear"))
    twin = enlarging(BilinearMatrix())
    twin.set_weights(model.get_weights())
    batch = batches()[0]
    for a, b in zip(derivatives(model, batch), derivatives(twin, batch), strict=True):
        # TensorFlow resizes in float32.
        np.testing.assert_allclose(a, b, atol=1e-6 * np.abs(b).max(), rtol=1e-6)


@pytest.mark.usefixtures("float64")
def test_norm_of_dead_units_leaves_the_derivatives_of_a_step_finite():
    def selected(x):
        """ReLU, whose gradient is selected too: not 0 times infinity."""
        return keras.ops.where(x > 0, x, keras.ops.zeros_like(x))

    bias = keras.initializers.Constant(-99.0)
    dead = layers.Dense(6, selected, bias_initializer=bias)
    norm = layers.Lambda(keras.ops.norm, arguments={"axis": -1, "keepdims": True})
    model = built(dead, norm, optimizer=optimizers.SGD(0.5))
    for each in derivatives(model, batches()[0]):
        assert np.isfinite(each).all()
