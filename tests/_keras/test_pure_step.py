"""`PureStep`: every optimizer's own step, to the last bit, with nothing changed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops, optimizers

import keras_lr
from keras_lr._keras import PureStep, StepState, require_single_update

STEPS = 3
WRAPPERS = {"LossScaleOptimizer", "MultiOptimizer", "Optimizer"}
REFUSED = {"ScheduleFreeAdamW"}
FTRL = {
    "l1_regularization_strength": 0.01,
    "l2_regularization_strength": 0.1,
    "l2_shrinkage_regularization_strength": 0.1,
    "beta": 0.5,
}
OPTIMIZERS = {
    "SGD": {"learning_rate": 0.1},
    "SGD-momentum": {"learning_rate": 0.1, "momentum": 0.9},
    "SGD-nesterov": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
    "SGD-decay": {"learning_rate": 0.1, "weight_decay": 0.5},
    "SGD-ema": {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.5},
    "SGD-clipvalue": {"learning_rate": 0.1, "clipvalue": 0.5},
    "SGD-scaled": {"learning_rate": 0.1, "loss_scale_factor": 4.0},
    "Adam": {"learning_rate": 0.1},
    "Adam-amsgrad": {"learning_rate": 0.1, "amsgrad": True},
    "Adam-clipnorm": {"learning_rate": 0.1, "clipnorm": 0.5},
    "Adam-global_clipnorm": {"learning_rate": 0.1, "global_clipnorm": 0.5},
    "AdamW": {"learning_rate": 0.1, "weight_decay": 0.5},
    "Nadam": {"learning_rate": 0.1},
    "Lion": {"learning_rate": 0.1, "weight_decay": 0.5},
    "Muon": {"learning_rate": 0.1, "weight_decay": 0.5},
    "Adagrad": {"learning_rate": 0.1},
    "RMSprop": {"learning_rate": 0.1},
    "RMSprop-centered": {"learning_rate": 0.1, "momentum": 0.9, "centered": True},
    "Adadelta": {"learning_rate": 1.0},
    "Adamax": {"learning_rate": 0.1},
    "Ftrl": {"learning_rate": 0.1, **FTRL},
    "Ftrl-power": {"learning_rate": 0.1, "learning_rate_power": -0.75},
    "Adafactor": {"learning_rate": 0.1},
    "Adafactor-absolute": {"learning_rate": 0.1, "relative_step": False},
    "Lamb": {"learning_rate": 0.1, "weight_decay": 0.5},
    "AdaMo": {"learning_rate": 0.1},
    "AdaMo-paper": {"learning_rate": 0.1, "variant": "paper"},
    "AdaMo-decay": {"learning_rate": 0.1, "weight_decay": 0.5},
    "AdaptiveRMSprop": {"learning_rate": 0.1},
    "AutoAdam": {"learning_rate": 0.1},
    "AutoAdam-clipnorm": {"learning_rate": 0.1, "clipnorm": 0.5},
}


def class_of(name):
    name = name.partition("-")[0]
    return getattr(keras_lr, name, None) or getattr(optimizers, name, None)


# Keras 3.12 asks TensorFlow's own variables for a `path` there.
BROKEN = {"Muon"} if keras.__version__.startswith("3.12.") else set()
AVAILABLE = [
    name for name in OPTIMIZERS if class_of(name) is not None and name not in BROKEN
]
every_optimizer = pytest.mark.parametrize("name", AVAILABLE)


# The narrower type rounds where the other would hide an operation in another order.
@pytest.fixture(params=["float32", pytest.param("float64", marks=pytest.mark.slow)])
def dtype(request):
    """Of the weights and of all that Keras adds to them."""
    keras.config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx("float32")


def make(name):
    return class_of(name)(**OPTIMIZERS[name])


def weights(dtype="float32"):
    """A matrix, which Muon takes, a vector, and more than two axes."""
    rng = np.random.default_rng(1)
    shapes = {"kernel": (3, 2), "bias": (2,), "filter": (2, 1, 2)}
    return [
        keras.Variable(rng.normal(size=shape), dtype=dtype, name=name)
        for name, shape in shapes.items()
    ]


def gradients(variables, step=0):
    rng = np.random.default_rng(10 + step)
    return [tf.constant(rng.normal(size=v.shape), v.dtype) for v in variables]


def values(variables):
    return [np.array(ops.convert_to_numpy(each.value)) for each in variables]


def state_of(pure):
    return StepState(*([each.value + 0 for each in part] for part in pure.variables))


def assert_same_bits(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_pure_step_is_the_real_one(optimizer, variables, steps=STEPS):
    """Compare them, where nothing reorders their operations: in eager mode."""
    optimizer.build(variables)
    pure = PureStep(optimizer, variables)
    for step in range(steps):
        grads = gradients(variables, step)
        everything = values([*variables, *optimizer.variables])
        after = pure(state_of(pure), grads, optimizer.learning_rate.value)
        assert_same_bits(values([*variables, *optimizer.variables]), everything)
        optimizer.apply(grads, variables)
        assert_same_bits(after.weights, values(pure.variables.weights))
        assert_same_bits(after.slots, values(pure.variables.slots))
    assert not np.array_equal(values(variables)[0], values(weights())[0])


@pytest.mark.parametrize("module", [optimizers, keras_lr])
def test_every_public_optimizer_is_in_the_table(module):
    public = {
        name
        for name, each in vars(module).items()
        if isinstance(each, type) and issubclass(each, keras.Optimizer)
    }
    assert public - WRAPPERS - REFUSED <= {
        name.partition("-")[0] for name in OPTIMIZERS
    }


@every_optimizer
def test_pure_step_is_the_real_one_to_the_last_bit(name, dtype):
    assert_pure_step_is_the_real_one(make(name), weights(dtype))


@every_optimizer
def test_every_slot_but_counters_and_the_rate_is_state(name):
    variables, optimizer = weights(), make(name)
    optimizer.build(variables)
    slots = {id(v) for v in PureStep(optimizer, variables).variables.slots}
    others = [v for v in optimizer.variables if id(v) not in slots]
    assert [v.name for v in others if "float" in v.dtype] == ["learning_rate"]
    assert "iteration" in [v.name for v in others]


# With the step of each compared above, a few stand for what is found of them.
TYPICAL = ("SGD", "SGD-momentum", "Adam", "AutoAdam", "Lion")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in TYPICAL else pytest.mark.slow)
        for name in AVAILABLE
    ],
)
def test_every_known_optimizer_is_found_to_be_pure(name):
    variables, optimizer = weights(), make(name)
    optimizer.build(variables)
    before = values([*variables, *optimizer.variables])
    pure = PureStep(optimizer, variables)
    pure.require_pure("MARTHE")
    assert pure.is_compilable
    assert_same_bits(values([*variables, *optimizer.variables]), before)


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
@pytest.mark.parametrize("name", ["SGD-momentum", "Adam", "AutoAdam"])
def test_traced_pure_step_is_the_real_one_but_for_the_last_bits(name, dtype):
    variables, optimizer = weights(dtype), make(name)
    optimizer.build(variables)
    pure, grads = PureStep(optimizer, variables), gradients(variables)
    after = tf.function(pure)(state_of(pure), grads, optimizer.learning_rate.value)
    optimizer.apply(grads, variables)
    # The graph's optimizer turns quotients into products: one rounding or two.
    for actual, expected in zip(after.weights, values(variables), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-15, atol=1e-15)


def test_values_of_the_call_take_the_place_of_the_optimizers_own():
    variables = weights()
    own = optimizers.SGD(0.5, momentum=0.75)
    other = optimizers.SGD(0.125, momentum=0.25)
    states = []
    for optimizer in (own, other):
        optimizer.build(variables)
        pure = PureStep(optimizer, variables)
        slots = [tf.ones_like(each.value) for each in variables]
        state, given = StepState(gradients(variables, 7), slots), {}
        if optimizer is own:
            given = {"momentum": tf.constant(0.25, "float64")}
        states.append(pure(state, gradients(variables), tf.constant(0.125), given))
    assert_same_bits(states[0].weights, states[1].weights)
    assert_same_bits(states[0].slots, states[1].slots)
    assert own.momentum == 0.75


@pytest.mark.parametrize("name", ["SGD-momentum", "Adam", "Nadam", "AutoAdam"])
def test_step_of_any_number_is_the_real_one_after_as_many(name):
    variables, optimizer = weights(), make(name)
    optimizer.build(variables)
    pure, rate = PureStep(optimizer, variables), optimizer.learning_rate.value + 0
    state, counters = state_of(pure), [each.value + 0 for each in pure.counters]
    for step in range(STEPS):
        state, counters = pure.counted(
            state, gradients(variables, step), rate, counters
        )
    for variable, value in zip(variables, values(weights()), strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    for step in range(STEPS):
        optimizer.apply(gradients(variables, step), variables)
    assert_same_bits(state.weights, values(variables))
    assert_same_bits(state.slots, values(pure.variables.slots))
    assert [int(each) for each in counters] == [STEPS]


def test_constraint_is_part_of_the_step():
    variables = weights()
    variables[0].constraint = keras.constraints.NonNeg()
    assert_pure_step_is_the_real_one(optimizers.SGD(0.5), variables)
    assert values(variables)[0].min() == 0.0


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
def test_weight_without_a_gradient_stays_where_it_is():
    variables, optimizer = weights(), optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.build(variables)
    pure = PureStep(optimizer, variables)
    kernel, _, last = gradients(variables)
    after = pure(state_of(pure), [kernel, None, last], optimizer.learning_rate.value)
    optimizer.apply([kernel, None, last], variables)
    np.testing.assert_array_equal(after.weights[1], values(weights())[1])
    assert_same_bits(after.weights, values(variables))


@pytest.mark.parametrize("by", ["variable", "name"])
def test_weights_excluded_from_decay_do_not_decay(by):
    variables, optimizer = weights(), optimizers.AdamW(0.1, weight_decay=0.5)
    excluded = {"var_list": variables[1:2]} if by == "variable" else {}
    optimizer.exclude_from_weight_decay(**excluded or {"var_names": ["bias"]})
    optimizer.build(variables)
    pure = PureStep(optimizer, variables)
    nothing = [tf.zeros_like(each.value) for each in variables]
    after = pure(state_of(pure), nothing, optimizer.learning_rate.value)
    optimizer.apply(nothing, variables)
    assert_same_bits(after.weights, values(variables))
    kernel, bias, _ = values(weights())
    # Three roundings in float32.
    np.testing.assert_allclose(after.weights[0], (1 - 0.5 * 0.1) * kernel, rtol=2e-7)
    np.testing.assert_array_equal(after.weights[1], bias)


def layers_where_one_does_not_decay(name):
    first, last = (keras.layers.Dense(2, name=each) for each in ("first", "last"))
    model = keras.Sequential([keras.Input((3,)), first, last])
    optimizer = class_of(name)(0.1, weight_decay=0.5)
    # TensorFlow's name of a weight, which Keras searches, begins with the layer's.
    optimizer.exclude_from_weight_decay(var_names=["last"])
    variables = model.trainable_variables
    optimizer.build(variables)
    grads = [tf.ones_like(v.value) * ("first" in v.path) for v in variables]
    return optimizer, variables, grads


@pytest.mark.parametrize("name", ["AdamW", "AdaMo"])
def test_layer_excluded_from_decay_by_name_does_not_decay(name):
    optimizer, variables, grads = layers_where_one_does_not_decay(name)
    pure, before = PureStep(optimizer, variables), values(variables)
    after = pure(state_of(pure), grads, optimizer.learning_rate.value)
    np.testing.assert_array_equal(after.weights[2], before[2])


@pytest.mark.parametrize("name", ["AdamW", "AdaMo"])
def test_check_does_not_change_what_is_excluded_from_decay(name):
    optimizer, variables, grads = layers_where_one_does_not_decay(name)
    before = values(variables)
    PureStep(optimizer, variables).require_pure("MARTHE")
    optimizer.apply(grads, variables)
    np.testing.assert_array_equal(values(variables)[2], before[2])


class Mirrors(optimizers.SGD):
    """Puts gradients elsewhere, by an operation that writes to no variable."""

    def update_step(self, gradient, variable, learning_rate):
        rows = [[i] for i in reversed(range(variable.shape[0]))]
        moved = ops.scatter(rows, gradient, variable.shape)
        super().update_step(moved, variable, learning_rate)


def test_scattering_into_a_new_tensor_is_pure():
    assert_pure_step_is_the_real_one(Mirrors(0.1), weights())
    optimizer, variables = Mirrors(0.1), weights()
    optimizer.build(variables)
    PureStep(optimizer, variables).require_pure("MARTHE")


class Own(optimizers.Optimizer):
    """A user's: descends by the sign of a momentum of its own, and counts."""

    def build(self, variables):
        super().build(variables)
        self.momenta = self.add_optimizer_variables(variables, "momentum")
        self.total = self.add_variable((), name="total")

    def update_step(self, gradient, variable, learning_rate):
        momentum = self.momenta[self._get_variable_index(variable)]
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign(momentum, 0.5 * momentum + gradient)
        self.assign_add(self.total, ops.sum(ops.abs(momentum)))
        # Not by way of the optimizer's methods, which is as good.
        variable.assign_sub(rate * ops.tanh(momentum) / self.total)


class Noisy(optimizers.SGD):
    """A user's: the pure step and the one that follows draw the same noise."""

    def build(self, variables):
        super().build(variables)
        self.seed = keras.random.SeedGenerator(1)

    def update_step(self, gradient, variable, learning_rate):
        noise = keras.random.normal(variable.shape, seed=self.seed)
        super().update_step(gradient + noise, variable, learning_rate)


@pytest.mark.parametrize("kind", [Own, Noisy])
def test_users_own_optimizer_works_but_is_not_compiled_unasked(kind):
    variables, optimizer = weights(), kind(0.1)
    assert_pure_step_is_the_real_one(optimizer, variables)
    pure = PureStep(optimizer, variables)
    pure.require_pure("MARTHE")
    assert not pure.is_compilable


def test_step_that_draws_numbers_cannot_be_repeated():
    variables, optimizer = weights(), Noisy(0.1)
    optimizer.build(variables)
    pure = PureStep(optimizer, variables)
    counters = [each.value + 0 for each in pure.counters]
    with pytest.raises(ValueError, match=r"optimizer=<Noisy>.*`self\.add_variable`"):
        pure.counted(state_of(pure), gradients(variables), tf.constant(0.1), counters)


class CountsBesideKeras(optimizers.SGD):
    def build(self, variables):
        super().build(variables)
        self.count = tf.Variable(0.0)

    def update_step(self, gradient, variable, learning_rate):
        self.count.assign_add(1.0)
        super().update_step(gradient, variable, learning_rate)


class CountsInAFunction(CountsBesideKeras):
    def update_step(self, gradient, variable, learning_rate):
        count = tf.function(lambda: self.count.assign(self.count + 1.0))
        optimizers.SGD.update_step(self, gradient + 0 * count(), variable, 0.1)


class Scatters(CountsBesideKeras):
    def build(self, variables):
        super().build(variables)
        self.count = tf.Variable([0.0, 0.0])

    def update_step(self, gradient, variable, learning_rate):
        self.count.scatter_nd_add([[1]], [1.0])
        optimizers.SGD.update_step(self, gradient, variable, learning_rate)


class CallsTheHost(optimizers.SGD):
    def update_step(self, gradient, variable, learning_rate):
        double = tf.py_function(lambda x: 2 * x, [gradient], gradient.dtype)
        super().update_step(ops.reshape(double, variable.shape), variable, 0.1)


class CallsNumpy(optimizers.SGD):
    def update_step(self, gradient, variable, learning_rate):
        double = tf.numpy_function(lambda x: 2 * x, [gradient], gradient.dtype)
        super().update_step(ops.reshape(double, variable.shape), variable, 0.1)


class Fetches(optimizers.SGD):
    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient.numpy(), variable, learning_rate)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (CountsBesideKeras, "it runs AssignAddVariableOp"),
        (CountsInAFunction, "it runs AssignVariableOp"),
        (Scatters, "it runs ResourceScatterNdAdd"),
        (CallsTheHost, "it runs EagerPyFunc"),
        (CallsNumpy, "it runs PyFunc"),
        (Fetches, "numpy"),
    ],
)
def test_step_that_keras_cannot_redirect_is_refused_by_name(kind, reason):
    variables, optimizer = weights(), kind(0.1)
    optimizer.build(variables)
    message = rf"`RTHO`.*optimizer=<{kind.__name__}>: .*{reason}.*keras\.ops"
    with pytest.raises(ValueError, match=message):
        PureStep(optimizer, variables).require_pure("RTHO")


@pytest.mark.skipif(
    not hasattr(optimizers, "ScheduleFreeAdamW"),
    reason="ScheduleFreeAdamW is in Keras since 3.15",
)
def test_step_that_reads_what_it_has_overwritten_is_refused():
    """If the second half fails Keras has been mended, and it need not be refused."""
    optimizer, variables = optimizers.ScheduleFreeAdamW(0.1), weights()
    optimizer.build(variables)
    pure = PureStep(optimizer, variables)
    with pytest.raises(ValueError, match="<ScheduleFreeAdamW>: it reads on TensorFlow"):
        pure.require_pure("MARTHE")
    optimizer.apply(gradients(variables), variables)
    grads = gradients(variables, 1)
    after = pure(state_of(pure), grads, optimizer.learning_rate.value)
    optimizer.apply(grads, variables)
    assert not np.allclose(after.weights[0], values(variables)[0], rtol=1e-3)


@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if n.startswith("SGD")])
def test_plain_descent_is_sgd_without_anything_else(name):
    variables, optimizer = weights(), make(name)
    optimizer.build(variables)
    assert PureStep(optimizer, variables).is_plain_descent == (name == "SGD")


def test_descent_with_a_step_of_the_users_own_is_not_plain():
    variables, optimizer = weights(), make("SGD")
    optimizer.build(variables)
    optimizer.update_step = lambda *_: None
    assert not PureStep(optimizer, variables).is_plain_descent


def test_descent_of_a_weight_that_its_gradient_replaces_is_not_plain():
    variables, optimizer = weights(), make("SGD")
    variables[1].overwrite_with_gradient = True
    optimizer.build(variables)
    assert not PureStep(optimizer, variables).is_plain_descent


def test_descent_with_a_constraint_is_not_plain():
    layer = keras.layers.Dense(2, kernel_constraint="non_neg")
    layer.build((None, 3))
    optimizer = optimizers.SGD(0.1)
    optimizer.build(layer.trainable_variables)
    assert not PureStep(optimizer, layer.trainable_variables).is_plain_descent


def test_step_of_several_replicas_is_not_compiled(two_replicas):
    variables, optimizer = weights(), optimizers.SGD(0.1)
    optimizer.build(variables)
    with two_replicas.scope():
        assert not PureStep(optimizer, variables).is_compilable


def test_step_is_that_of_the_optimizer_while_its_methods_are_intercepted():
    variables, optimizer = weights(), optimizers.SGD(0.1, momentum=0.5)
    optimizer.build(variables)
    pure, grads = PureStep(optimizer, variables), gradients(variables)
    given = state_of(pure), grads, optimizer.learning_rate.value
    expected = pure(*given)
    optimizer.__dict__["apply"] = lambda *_: pytest.fail("not its own step")
    assert_same_bits(pure(*given).weights, expected.weights)


def test_single_optimizer_is_found_behind_its_wrapper():
    inner = optimizers.SGD(0.1)
    wrapped = optimizers.LossScaleOptimizer(inner)
    assert require_single_update(wrapped, "RTHO") is inner
    assert require_single_update(inner, "RTHO") is inner


@pytest.mark.skipif(
    not hasattr(optimizers, "MultiOptimizer"),
    reason="MultiOptimizer is public since Keras 3.15",
)
def test_several_optimizers_are_refused():
    several = optimizers.MultiOptimizer(
        optimizers.OptimizerMap(optimizers.SGD(0.1), {"bias": optimizers.Adam(0.1)})
    )
    with pytest.raises(ValueError, match=r"`RTHO` needs one.*<MultiOptimizer> of 2"):
        require_single_update(several, "RTHO")


@pytest.mark.parametrize(
    "kwargs",
    [
        {"gradient_accumulation_steps": 3},
        {"use_ema": True, "ema_overwrite_frequency": 3},
    ],
    ids=lambda kwargs: list(kwargs)[-1],
)
@pytest.mark.parametrize("wrap", [lambda each: each, optimizers.LossScaleOptimizer])
def test_steps_that_differ_from_batch_to_batch_are_refused(kwargs, wrap):
    inner = optimizers.SGD(0.1, name="mine", **kwargs)
    message = rf"`RTHO`.*Received: {list(kwargs)[-1]}=3 in 'mine'\. Drop"
    with pytest.raises(ValueError, match=message):
        require_single_update(wrap(inner), "RTHO")


# Muon makes a matrix orthogonal, and steps others as Adam does.
DIVIDED = [
    (name, shape)
    for name in AVAILABLE
    for shape in [(2,), (3, 2)]
    if (name, shape) != ("Muon", (3, 2))
]


@pytest.mark.parametrize(("name", "shape"), DIVIDED)
@pytest.mark.parametrize("steps", [0, 3])
def test_all_but_descent_and_momentum_divide_entries(name, shape, steps):
    """By their formulas; what they have seen before does not matter."""
    variables = [v for v in weights() if v.shape == shape]
    optimizer = make(name)
    optimizer.build(variables)
    for step in range(steps):
        optimizer.apply(gradients(variables, step), variables)
    before = values([*variables, *optimizer.variables])
    divides = name.partition("-")[0] not in ("SGD", "AdaMo")
    assert PureStep(optimizer, variables).divides_entries == divides
    assert_same_bits(values([*variables, *optimizer.variables]), before)


def test_large_epsilon_makes_adam_a_momentum():
    for epsilon, divides in ((1e-7, True), (10.0, False)):
        variables, optimizer = weights(), optimizers.Adam(epsilon=epsilon)
        optimizer.build(variables)
        assert PureStep(optimizer, variables).divides_entries == divides


def test_step_that_is_not_made_by_update_step_is_not_asked():
    class Signs(keras.optimizers.Optimizer):
        def apply(self, grads, trainable_variables=None):
            for gradient, variable in zip(grads, trainable_variables, strict=True):
                variable.assign_sub(self.learning_rate * ops.sign(gradient))

    variables, optimizer = weights(), Signs(0.1)
    optimizer.build(variables)
    assert not PureStep(optimizer, variables).divides_entries


@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.Adam])
def test_optimizer_that_prepares_its_steps_in_apply_is_not_asked(kind):
    class Prepared(kind):
        def apply(self, grads, trainable_variables=None):
            self.largest = ops.max(ops.stack([ops.max(each) for each in grads]))
            super().apply(grads, trainable_variables)

        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient / self.largest, variable, learning_rate)

    variables, optimizer = weights(), Prepared()
    optimizer.build(variables)
    assert not PureStep(optimizer, variables).divides_entries


def test_no_weight_of_two_entries_no_division():
    variables = [keras.Variable([[3.0]]), keras.Variable([4.0])]
    optimizer = optimizers.Adam()
    optimizer.build(variables)
    assert not PureStep(optimizer, variables).divides_entries
