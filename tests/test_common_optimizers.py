"""What every public optimizer of the package must do, on every backend of Keras.

A new optimizer enters `OPTIMIZERS` of `tests/every_optimizer.py` and passes: here, in
`test_common_optimizers_step.py` the options of a step, in `..._in_fit.py` those of a
fit, and in `..._tensorflow.py` what only TensorFlow has.
"""

import copy
import inspect
import os

import keras
import numpy as np
import pytest

import keras_lr
from tests.every_optimizer import (
    EXACTLY,
    OPTIMIZERS,
    assert_same,
    every_optimizer,
    gradients,
    state,
    step,
    values,
    weights,
)

# For each argument another value than its default.
ARGUMENTS = {
    "learning_rate": 0.25,
    "variant": "paper",
    "lipschitz": "analytic",
    "bias_correction": True,
    "momentum": 0.75,
    "rho": 0.75,
    "beta_1": 0.75,
    "beta_2": 0.875,
    "epsilon": 1e-3,
    "initial_constant": 0.5,
    "initial_norm": 0.5,
    "initial_square": 0.125,
    "weight_decay": 0.0625,
    "use_ema": True,
    "ema_momentum": 0.75,
    "ema_overwrite_frequency": 3,
    "loss_scale_factor": 4.0,
    "gradient_accumulation_steps": 2,
    "name": "of_my_own",
}
CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
KERAS_ARGUMENTS = set(keras.optimizers.Optimizer(0.1).get_config()) - set(CLIPS)

every_class = pytest.mark.parametrize(
    "optimizer",
    sorted({case.optimizer for case in OPTIMIZERS}, key=lambda each: each.__name__),
)


def with_all_arguments(optimizer, clip):
    names = set(inspect.signature(optimizer).parameters) - {"kwargs"}
    arguments = {name: ARGUMENTS[name] for name in names | KERAS_ARGUMENTS}
    return arguments | {clip: 0.5}


def test_every_exported_optimizer_is_tested_in_both_variants():
    exported = {
        each
        for each in vars(keras_lr).values()
        if isinstance(each, type) and issubclass(each, keras.optimizers.Optimizer)
    }
    tested = [(case.optimizer, case.variant) for case in OPTIMIZERS]
    expected = [(each, name) for each in exported for name in ("supremum", "paper")]
    assert sorted(tested, key=str) == sorted(expected, key=str)


@every_class
def test_variant_is_the_supremum_unless_told(optimizer):
    assert optimizer().variant == "supremum"


@every_class
@pytest.mark.parametrize("clip", CLIPS)
def test_every_argument_is_in_the_config_and_survives_it(optimizer, clip):
    arguments = with_all_arguments(optimizer, clip)
    config = optimizer(**arguments).get_config()
    assert {name: config[name] for name in arguments} == arguments
    assert optimizer.from_config(dict(config)).get_config() == config


@every_class
def test_keras_serializes_and_deserializes(optimizer):
    original = optimizer(**with_all_arguments(optimizer, "clipnorm"))
    serialized = keras.optimizers.serialize(original)
    assert serialized["registered_name"] == f"keras_lr>{optimizer.__name__}"
    twin = keras.optimizers.deserialize(serialized)
    assert type(twin) is optimizer
    assert twin.get_config() == original.get_config()


@every_class
def test_schedule_survives_the_config(optimizer):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.75)
    config = optimizer(schedule).get_config()
    twin = optimizer.from_config(copy.deepcopy(config))
    assert twin.get_config() == config


@every_class
def test_unknown_argument_is_rejected(optimizer):
    with pytest.raises(ValueError, match="nonsense"):
        optimizer(nonsense=1.0)


@every_class
def test_name_is_that_of_the_class_and_unique(optimizer):
    first, second = optimizer(), optimizer()
    assert first.name != second.name
    assert second.name.startswith(first.name)


@every_optimizer
def test_first_step_is_the_one_worked_by_hand(case):
    optimizer, weight = case(), keras.Variable([1.0, 2.0])
    step(optimizer, [weight], [np.array([3.0, 4.0], "float32")])
    expected = np.array([1.0, 2.0]) - case.step
    # 1 - 0.999, by which Auto-Adam divides under a root, is off by up to 6e-5.
    assert_same(values([weight]), [expected], rtol=3e-5)
    assert optimizer.effective_learning_rate == pytest.approx(case.rate, rel=1e-6)


@every_optimizer
def test_variables_are_fixed_in_number_and_order(case):
    # The order is the format of checkpoints.
    optimizer = case()
    optimizer.build(weights())
    slots = [f"{weight}_{s}" for s in case.slots for weight in ("kernel", "bias")]
    assert [variable.name for variable in optimizer.variables] == [
        "iteration",
        "learning_rate",
        *slots,
        *case.constants,
        "effective_learning_rate",
        "observations",
        "steps",
        "counts",
        *case.averages,
    ]


@every_class
@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        ({"variant": "paper", "lipschitz": "analytic"}, 0),
        ({"weight_decay": 0.5, "clipnorm": 1.0}, 0),
        ({"use_ema": True}, 2),
        ({"gradient_accumulation_steps": 2}, 2),
    ],
    ids=str,
)
def test_only_kerass_own_options_add_variables(optimizer, arguments, extra):
    plain, other = optimizer(), optimizer(**arguments)
    plain.build(weights())
    other.build(weights())
    assert len(other.variables) == len(plain.variables) + extra


@every_optimizer
def test_second_build_adds_nothing(case):
    optimizer, variables = case(), weights()
    optimizer.build(variables)
    number = len(optimizer.variables)
    optimizer.build(variables)
    assert len(optimizer.variables) == number


@every_optimizer
@pytest.mark.skipif(
    keras.backend.backend() == "jax" and "JAX_ENABLE_X64" not in os.environ,
    reason="JAX has no float64 unless told",
)
def test_float64_weights_have_a_float64_state_and_step(case):
    optimizer = case()
    weight = keras.Variable([1.0, 2.0], dtype="float64")
    step(optimizer, [weight], [np.array([3.0, 4.0])])
    held = state(optimizer)
    assert {value.dtype.name for value in held.values()} == {"float64"}
    # 1 - 0.999, by which Auto-Adam divides, is off by up to 1e-13.
    expected = np.array([1.0, 2.0]) - case.step
    assert_same(values([weight]), [expected], rtol=1e-13)
    assert float(held["effective_learning_rate"]) == pytest.approx(case.rate, rel=1e-13)


@every_optimizer
@pytest.mark.parametrize(
    ("dtype", "rounding"), [("bfloat16", 2**-8), ("float16", 2**-11)]
)
def test_half_precision_weights_have_float32_scalars_and_a_good_step(
    case, dtype, rounding
):
    optimizer, weight = case(), keras.Variable([0.0, 0.0], dtype=dtype, name="kernel")
    step(optimizer, [weight], [keras.ops.cast([3.0, 4.0], dtype)])
    dtypes = {each.name: each.dtype for each in optimizer.variables}
    for name in (*case.constants, "effective_learning_rate", "observations"):
        assert dtypes[name] == "float32"
    slots = {dtypes[f"kernel_{name}"] for name in case.slots}
    # Of 256 or of 1e-4, float16 holds no square.
    assert slots == {"float32" if dtype == "float16" else dtype}
    # About five operations, each off by up to one rounding.
    actual = -keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32"))
    np.testing.assert_allclose(actual, case.step, rtol=5 * rounding)
    rate = optimizer.effective_learning_rate
    assert rate == pytest.approx(case.rate, rel=rounding)


@every_optimizer
@pytest.mark.parametrize("size", [1e-4, 300.0])
def test_float16_weights_move_as_float32_ones_do(case, size):
    moved = []
    for dtype in ("float32", "float16"):
        optimizer, weight = case(), keras.Variable([0.0, 0.0], dtype=dtype)
        for factor in (1.0, 0.5, -0.25):
            raw = keras.ops.cast([size * factor, -size], dtype)
            step(optimizer, [weight], [raw])
        moved.append(keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")))
    # Three steps, each off by some roundings; 1e-4 is one off by up to 2^-11 itself.
    np.testing.assert_allclose(moved[1], moved[0], rtol=20 * 2**-11)


@every_optimizer
def test_only_averages_of_gradients_are_wider_than_float16_weights(case):
    optimizer, weight = case(use_ema=True), keras.Variable([0.0], dtype="float16")
    optimizer.build([weight])
    dtypes = {each.name: each.dtype for each in optimizer.variables}
    # Keras's own average of the weights.
    assert [dtypes[name] for name in dtypes if "average" in name] == ["float16"]


HAS_NO_TRACE = keras.backend.backend() != "tensorflow"


@pytest.mark.skipif(HAS_NO_TRACE, reason="traces a `tf.function`")
@every_optimizer
def test_rate_and_constant_can_be_read_in_a_traced_step(case):
    import tensorflow as tf

    optimizer, weight = case(), keras.Variable([0.0, 0.0])

    @tf.function
    def traced(gradient):
        optimizer.apply([gradient], [weight])
        return optimizer.effective_learning_rate, optimizer.lipschitz_constant

    optimizer.build([weight])
    rate, constant = traced(tf.constant([3.0, 4.0]))
    assert float(rate) == optimizer.effective_learning_rate > 0.0
    assert float(constant) == optimizer.lipschitz_constant > 0.0


@every_optimizer
def test_complex_weights_are_refused(case):
    weight = keras.Variable(np.ones(2, "complex64"), dtype="complex64")
    with pytest.raises(ValueError, match=r"must be real.*complex64"):
        case().build([weight])


def effective_rates(optimizer, of_steps, before_step=lambda index: None):
    variables, rates = weights(), []
    for index, grads in enumerate(of_steps):
        before_step(index)
        step(optimizer, variables, grads)
        rates.append(optimizer.effective_learning_rate)
    return np.array(rates)


@every_optimizer
def test_schedule_multiplies_the_adaptive_rate(case):
    decay = keras.optimizers.schedules.PiecewiseConstantDecay([0, 2], [1.0, 0.5, 0.125])
    raw = gradients(4)
    multiples = [1.0, 0.5, 0.5, 0.125]
    plain = effective_rates(case(), raw)
    # Multiples that are powers of two are exact.
    np.testing.assert_array_equal(
        effective_rates(case(learning_rate=decay), raw), multiples * plain
    )


@every_optimizer
def test_learning_rate_can_be_set_between_steps(case):
    optimizer, raw = case(learning_rate=0.5), gradients(3)

    def before_step(index):
        optimizer.learning_rate = (0.5, 0.25, 2.0)[index]

    rates = effective_rates(optimizer, raw, before_step)
    plain = effective_rates(case(), raw)
    np.testing.assert_array_equal(rates, [0.5, 0.25, 2.0] * plain)


@every_optimizer
def test_learning_rate_zero_moves_nothing_and_continues_measuring(case):
    optimizer, reference = case(learning_rate=0.0), case()
    raw = gradients(2)
    assert_same(step(optimizer, weights(), *raw), values(weights()), **EXACTLY)
    step(reference, weights(), *raw)
    assert optimizer.lipschitz_constant == reference.lipschitz_constant > 0.0


@every_optimizer
def test_copy_of_an_unbuilt_optimizer_is_independent(case):
    original = case(learning_rate=0.5)
    twin = copy.deepcopy(original)
    assert twin.get_config() == original.get_config()
    raw = gradients(2)
    actual = step(twin, weights(), *raw)
    assert not original.built
    assert int(original.iterations) == 0
    assert_same(actual, step(original, weights(), *raw), **EXACTLY)


@every_optimizer
def test_weights_of_the_optimizer_move_to_another_one(case):
    first, second = case(), case()
    early, late = gradients(2), gradients(2, seed=1)
    one, other = weights(), weights()
    step(first, one, *early)
    second.build(other)
    for variable, value in zip(other, values(one), strict=True):
        variable.assign(value)
    second.set_weights(values(first.variables))
    assert_same(step(second, other, *late), step(first, one, *late), **EXACTLY)


@every_optimizer
@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"),
    reason="MultiOptimizer is public since Keras 3.15",
)
def test_parts_of_a_multi_optimizer_are_as_if_alone(case):
    for_kernel, for_others = case(), case(learning_rate=0.5)
    several = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(for_others, {"kernel": for_kernel})
    )
    raw = gradients(3)
    kernel, bias = step(several, weights(), *raw)
    alone, other = case(), case(learning_rate=0.5)
    (expected,) = step(alone, weights()[:1], *[grads[:1] for grads in raw])
    (expected_bias,) = step(other, weights()[1:], *[grads[1:] for grads in raw])
    assert_same([kernel, bias], [expected, expected_bias], **EXACTLY)
    assert_same(state(for_kernel), state(alone), **EXACTLY)
    assert_same(state(for_others), state(other), **EXACTLY)
