"""`OptimizerTangent`: one step's derivative, against differences of that step."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import optimizers

from keras_lr import _keras
from keras_lr._checks import LEARNING_RATE
from keras_lr._keras import PureStep, StepState
from keras_lr.training.derivatives import optimizer_tangent
from keras_lr.training.derivatives.optimizer_tangent import Carried, OptimizerTangent

RATE = 0.0625
# Differences of fourth order: h^4 of the fifth derivative, and 1e-16 / h of rounding.
H, DIFFERENCES = 1e-3, 1e-9
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(RATE),
    "momentum": lambda: optimizers.SGD(RATE, momentum=0.75),
    "nesterov": lambda: optimizers.SGD(RATE, momentum=0.75, nesterov=True),
    "adam": lambda: optimizers.Adam(RATE),
    "adamw": lambda: optimizers.AdamW(RATE, weight_decay=0.125),
    "clipnorm": lambda: optimizers.Adam(RATE, global_clipnorm=0.5),
}
DTYPES = ["bfloat16", "float32", "float64"]
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


@pytest.fixture(autouse=True)
def float64():
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx("float32")


def one_layer(dtype="float64"):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype=dtype)])


def two_layers_alike():
    layers = [keras.layers.Dense(3, use_bias=False) for _ in range(2)]
    return keras.Sequential([keras.Input((3,)), *layers])


class Problem:
    """A step from a random state in a random direction, gradients and rate included."""

    def __init__(self, optimizer, model=None):
        self.model, self.rng = model or one_layer(), np.random.default_rng(0)
        variables = self.model.trainable_variables
        optimizer.build(variables)
        self.step = PureStep(optimizer, variables)
        weights, slots = self.step.variables
        self.state = StepState(self.random(weights), self.positive(slots))
        self.tangent = StepState(self.random(weights), self.random(slots))
        self.gradients, self.curvatures = self.random(weights), self.random(weights)

    def random(self, variables):
        return [tf.constant(self.rng.normal(size=v.shape), v.dtype) for v in variables]

    def positive(self, variables):
        # Second moments, whose root is drawn.
        return [0.5 + tf.square(each) for each in self.random(variables)]

    def tangent_of(self, name=LEARNING_RATE, **kwargs):
        return OptimizerTangent(self.model, self.step, name, **kwargs)

    def along(self, h, name, seed, is_carried):
        """The step at a distance h from the state, in the direction of the tangent."""
        part = h if is_carried else 0.0
        state = StepState(
            *(
                [value + part * z for value, z in zip(*pair, strict=True)]
                for pair in zip(self.state, self.tangent, strict=True)
            )
        )
        gradients = [
            gradient + part * curvature
            for gradient, curvature in zip(self.gradients, self.curvatures, strict=True)
        ]
        others = dict(self.hyperparameters(name))
        others[name] += h * seed
        rate = others.pop(LEARNING_RATE)
        after = self.step(state, gradients, rate, others)
        return [each.numpy() for part in after for each in part]

    def hyperparameters(self, name):
        return {
            LEARNING_RATE: tf.constant(RATE, "float64"),
            name: tf.constant(RATE if name == LEARNING_RATE else 0.75, "float64"),
        }

    def differences(self, name=LEARNING_RATE, seed=1.0, is_carried=True):
        ends = [self.along(node * H, name, seed, is_carried) for node in (1, -1, 2, -2)]
        return [
            (8 * (a - b) - (c - d)) / (12 * H) for a, b, c, d in zip(*ends, strict=True)
        ]

    def advanced(self, tangent, seed=1.0, *, is_carried=True):
        carried = Carried(self.tangent, self.curvatures) if is_carried else None
        given = self.hyperparameters(tangent.name)
        seed = tf.constant(seed, "float64")
        return tangent.advanced(self.state, self.gradients, given, seed, carried)


def assert_close(actual, expected, tolerance=DIFFERENCES):
    for a, b in zip([*actual.weights, *actual.slots], expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@every_optimizer
@pytest.mark.parametrize("seed", [1.0, 0.5])
def test_tangent_is_the_derivative_of_the_step(name, seed):
    problem = Problem(OPTIMIZERS[name]())
    new = problem.advanced(problem.tangent_of(), seed)
    assert_close(new, problem.differences(seed=seed))


@every_optimizer
def test_seed_alone_gives_the_derivative_by_the_rate(name):
    problem = Problem(OPTIMIZERS[name]())
    new = problem.advanced(problem.tangent_of(), is_carried=False)
    assert_close(new, problem.differences(is_carried=False))


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("momentum", lambda: optimizers.SGD(RATE, momentum=0.5, nesterov=True)),
        ("beta_1", lambda: optimizers.Adam(RATE)),
        ("weight_decay", lambda: optimizers.AdamW(RATE, weight_decay=0.125)),
    ],
)
def test_tangent_by_another_hyperparameter_is_the_derivative_too(name, optimizer):
    problem = Problem(optimizer())
    new = problem.advanced(problem.tangent_of(name))
    assert_close(new, problem.differences(name))


def test_tangent_without_slots_is_the_weights_part():
    problem = Problem(OPTIMIZERS["adam"]())
    tangent = problem.tangent_of(keeps_slots=False)
    new = problem.advanced(tangent, is_carried=False)
    assert new.slots == tangent.variables.slots == []
    whole = problem.advanced(problem.tangent_of(), is_carried=False)
    assert_close(new, [each.numpy() for each in whole.weights], tolerance=0.0)
    tangent.assign(new)


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
def test_weight_without_a_gradient_keeps_its_tangent():
    problem = Problem(OPTIMIZERS["momentum"]())
    tangent, seed = problem.tangent_of(), tf.constant(1.0, "float64")
    given = problem.hyperparameters(LEARNING_RATE)
    carried = Carried(problem.tangent, [None, *problem.curvatures[1:]])
    whole = problem.advanced(tangent)
    gradients = [None, problem.gradients[1]]
    new = tangent.advanced(problem.state, gradients, given, seed, carried)
    for each, old in ((new.weights, "weights"), (new.slots, "slots")):
        np.testing.assert_array_equal(each[0], getattr(problem.tangent, old)[0])
        np.testing.assert_array_equal(each[1], getattr(whole, old)[1])


def test_tensor_that_stands_twice_has_one_tangent():
    """Two weights that a layer adds share their gradient, and its curvature."""
    problem = Problem(OPTIMIZERS["momentum"](), two_layers_alike())
    problem.gradients = 2 * problem.gradients[:1]
    problem.curvatures = 2 * problem.curvatures[:1]
    new = problem.advanced(problem.tangent_of())
    assert_close(new, problem.differences())


def compiled_functions(monkeypatch):
    """Write down what `tf.function` is told of compilation."""
    plain, told = tf.function, []

    def function(*args, **kwargs):
        told.append(kwargs.get("jit_compile"))
        return plain(*args, **kwargs)

    monkeypatch.setattr(tf, "function", function)
    return told


@pytest.mark.parametrize(("entries", "told"), [(8, [True]), (9, [])])
def test_derivative_of_many_weights_is_compiled(entries, told, monkeypatch):
    monkeypatch.setattr(optimizer_tangent, "COMPILED_FROM", entries)
    found = compiled_functions(monkeypatch)
    problem = Problem(OPTIMIZERS["adam"]())  # Of 3 x 2 + 2 weights.
    new = problem.advanced(problem.tangent_of())
    assert found == told
    assert_close(new, problem.differences())


def test_derivative_of_unknown_code_is_not_compiled(monkeypatch):
    class Own(optimizers.SGD):
        pass

    monkeypatch.setattr(optimizer_tangent, "COMPILED_FROM", 1)
    found = compiled_functions(monkeypatch)
    Problem(Own(RATE)).tangent_of()
    assert found == []


def first_step_of_adam(optimizer, dtype):
    """Slots of zero, and a direction that moves gradients of zero."""
    problem = Problem(optimizer, one_layer(dtype))
    weights, slots = problem.step.variables
    problem.state = StepState(problem.state.weights, [s.value + 0 for s in slots])
    still = [tf.zeros(s.shape, s.dtype) for s in slots]
    problem.tangent = StepState(problem.tangent.weights, still)
    problem.gradients = [tf.zeros_like(each.value) for each in weights]
    return problem


def test_first_step_of_adam_where_there_is_no_gradient_has_the_limits_tangent():
    # Powers of two, because Keras rounds what it is given to float32.
    adam = optimizers.Adam(RATE, beta_1=1 - 2**-3, beta_2=1 - 2**-10, epsilon=2**-23)
    problem = first_step_of_adam(adam, "float64")
    new = problem.advanced(problem.tangent_of())
    # w - eta (2^-10)^(1/2) / 2^-3 m / (sqrt(v) + 2^-23), m = 2^-3 g, v = 2^-10 g^2
    slope = -RATE * 2**-5 / 2**-23
    for z, dz, dg in zip(
        new.weights, problem.tangent.weights, problem.curvatures, strict=True
    ):
        np.testing.assert_allclose(z, dz + slope * dg, rtol=1e-12)
    for m, dg in zip(new.slots[::2], problem.curvatures, strict=True):
        np.testing.assert_allclose(m, 2**-3 * dg, rtol=1e-14)
    assert not any(np.any(v) for v in new.slots[1::2])


def test_decay_of_a_weight_that_never_has_a_gradient_is_in_its_tangent():
    adamw = optimizers.AdamW(RATE, weight_decay=0.125)
    problem = first_step_of_adam(adamw, "float64")
    new = problem.advanced(problem.tangent_of(), is_carried=False)
    # The derivative of w (1 - 0.125 eta).
    for z, w in zip(new.weights, problem.state.weights, strict=True):
        np.testing.assert_allclose(z, -0.125 * w, rtol=1e-14)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    # In bfloat16 Nadam and Lamb divide 0 by 1 - 0.999, which is 0 there.
    [
        *itertools.product(["Adam", "RMSprop", "Adagrad"], DTYPES),
        *itertools.product(["Nadam", "Lamb"], DTYPES[1:]),
    ],
)
def test_weight_that_never_has_a_gradient_does_not_depend_on_the_rate(kind, dtype):
    optimizer = getattr(optimizers, kind)(RATE)
    problem = first_step_of_adam(optimizer, dtype)
    new = problem.advanced(problem.tangent_of(), is_carried=False)
    assert not any(np.any(tf.cast(z, "float64")) for z in new.weights)


def test_sign_of_a_slot_of_zero_is_zero():
    """Lion: a weight that never has a gradient does not move, at whatever rate."""
    problem = first_step_of_adam(optimizers.Lion(RATE), "float64")
    new = problem.advanced(problem.tangent_of(), is_carried=False)
    assert not any(np.any(z) for z in new.weights)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_first_step_of_adam_has_a_finite_tangent_in_every_precision(dtype):
    problem = first_step_of_adam(optimizers.Adam(RATE, epsilon=1e-3), dtype)
    new = problem.advanced(problem.tangent_of())
    assert all(np.isfinite(tf.cast(z, "float64")).all() for z in new.weights)


def test_tangent_is_zero_at_first_and_again_when_cleared():
    problem = Problem(OPTIMIZERS["adam"]())
    tangent = problem.tangent_of()
    assert not any(np.any(z) for part in tangent.values() for z in part)
    tangent.assign(problem.tangent)
    for old, new in zip(problem.tangent, tangent.values(), strict=True):
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(a, b)
    tf.function(tangent.clear)()
    assert not any(np.any(z) for part in tangent.values() for z in part)


def test_tangent_lives_in_the_strategy_of_the_model(two_replicas):
    with two_replicas.scope():
        model, optimizer = one_layer(), OPTIMIZERS["adam"]()
        optimizer.build(model.trainable_variables)
    step = _keras.PureStep(optimizer, model.trainable_variables)
    weights, slots = OptimizerTangent(model, step, LEARNING_RATE).variables
    for each in (*weights, *slots):
        copies = two_replicas.experimental_local_results(each.value)
        assert len(copies) == 2
