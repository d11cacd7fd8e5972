"""AdaMo against Algorithm 1, number by number, and steps worked by hand."""

import dataclasses
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lr.optimizers import AdaMo, AdaptiveRMSprop, AutoAdam
from tests.optimizers import golden_steps as golden
from tests.references import adamo as reference

CONSTANTS = ("constant",)
GIVEN = [None if pair is None else pair[0] for pair in golden.OBSERVED]
OPTIMIZERS = pytest.mark.parametrize("optimizer", [AdaMo, AdaptiveRMSprop, AutoAdam])


def steps_of(*, gradients=None, observed=None, **arguments):
    return golden.steps_of(
        AdaMo(**arguments), constants=CONSTANTS, gradients=gradients, observed=observed
    )


def assert_equal_steps(steps, expected, beta=0.9):
    """The slot holds beta V / (1 - beta)."""
    scaled = [
        dataclasses.replace(
            each,
            slots=[[beta * v / (1 - beta) for v in slot] for slot in each.slots],
        )
        for each in expected
    ]
    golden.assert_equal_steps(steps, scaled)


def references_options(*, momentum=0.9, **options):
    """Return the options of an optimizer under the letters of the paper."""
    return {"beta": momentum, **options}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.0},
        {"momentum": 0.99},
        {"bias_correction": True},
        {"bias_correction": True, "momentum": 0.99},
        {"initial_constant": 0.5},
        {"initial_constant": 0.5, "bias_correction": True},
        {"weight_decay": 0.0625},
    ],
    ids=str,
)
def test_paper_variant_is_algorithm_1(options):
    weights, gradients = golden.problem()
    expected = reference.paper(
        weights, gradients, golden.CONSTANT, **references_options(**options)
    )
    beta = options.get("momentum", 0.9)
    assert_equal_steps(steps_of(variant="paper", **options), expected, beta)


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.0}, {"momentum": 0.99}, {"weight_decay": 0.0625}],
    ids=str,
)
def test_default_variant_is_its_reference(options):
    weights, gradients = golden.problem()
    expected = reference.supremum(
        weights, gradients, golden.CONSTANT, **references_options(**options)
    )
    assert_equal_steps(steps_of(**options), expected, options.get("momentum", 0.9))


@pytest.mark.parametrize("variant", ["paper", "supremum"])
def test_schedule_multiplies_the_rate(variant):
    weights, gradients = golden.problem()
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(*golden.SCHEDULE)
    expected = getattr(reference, variant)(weights, gradients, golden.SCHEDULED)
    steps = steps_of(learning_rate=schedule, variant=variant)
    assert_equal_steps(steps, expected)


@pytest.mark.parametrize("bias_correction", [False, True])
def test_given_constants_take_the_place_of_the_gradients_norms(bias_correction):
    weights, gradients = golden.problem()
    # Keras's initializers hold their number in float32: a power of two.
    options = {"bias_correction": bias_correction, "initial_constant": 0.5}
    steps = steps_of(
        variant="paper", lipschitz="analytic", observed=golden.OBSERVED, **options
    )
    expected = reference.paper(
        weights, gradients, golden.CONSTANT, observed=GIVEN, **options
    )
    assert_equal_steps(steps, expected)


def test_given_constants_of_the_default_variant():
    weights, gradients = golden.problem()
    steps = steps_of(lipschitz="analytic", observed=golden.OBSERVED)
    expected = reference.supremum(weights, gradients, golden.CONSTANT, observed=GIVEN)
    assert_equal_steps(steps, expected)


def test_steps_of_the_paper_have_a_length_of_one_for_ever():
    """V / K = 0.1 g / (0.1 * 5), and with a gradient of 0 still 0.09 g / (0.09 * 5)."""
    vector, scalar = golden.variables_of([np.array([1.0, 2.0]), np.array(7.0)])
    optimizer = AdaMo(variant="paper")
    golden.apply(optimizer, [vector, scalar], [[3.0, 4.0], 1.0])
    assert vector.numpy() == pytest.approx([1 - 0.6, 2 - 0.8], rel=1e-14)
    assert float(scalar.numpy()) == pytest.approx(7 - 0.2, rel=1e-14)
    assert optimizer.effective_learning_rate == pytest.approx(1 / 0.5, rel=1e-14)
    golden.apply(optimizer, [vector, scalar], [[0.0, 0.0], 0.0])
    assert vector.numpy() == pytest.approx([1 - 1.2, 2 - 1.6], rel=1e-14)
    assert optimizer.effective_learning_rate == pytest.approx(1 / 0.45, rel=1e-14)


def test_steps_of_the_default_variant_shrink_with_the_gradient():
    """K = 5 of the vector, V = 0.1 g and 0.9 V + 0.1 g = 0.19 g; then 0.09, 0.081 g.

    The second gradient is 0: V over 1 - 0.9^2 is 9/19 g, and the root mean square of
    the two norms sqrt(9/19) ||g||, so that the gradients agree by sqrt(9/19).
    """
    vector, scalar = golden.variables_of([np.array([1.0, 2.0]), np.array(7.0)])
    optimizer = AdaMo()
    golden.apply(optimizer, [vector, scalar], [[3.0, 4.0], 1.0])
    moved = 3 / 5 * 0.19 * np.array([3.0, 4.0])
    assert vector.numpy() == pytest.approx([1, 2] - moved, rel=golden.ROUNDING)
    assert optimizer.effective_learning_rate == pytest.approx(3 / 5, rel=1e-14)
    golden.apply(optimizer, [vector, scalar], [[0.0, 0.0], 0.0])
    rate = 3 / 5 * (9 / 19) ** (3 / 8)
    moved += rate * 0.081 * np.array([3.0, 4.0])
    assert vector.numpy() == pytest.approx([1, 2] - moved, rel=golden.ROUNDING)
    assert optimizer.effective_learning_rate == pytest.approx(rate, rel=golden.ROUNDING)


def test_gradients_that_take_turns_shorten_the_steps():
    """V ends as (1 - beta) / (1 + beta) g = g / 3, and 0.5^60 is below rounding."""
    variables = golden.variables_of([np.ones(2)])
    optimizer = AdaMo(momentum=0.5)
    for step in range(60):
        sign = (-1) ** step
        golden.apply(optimizer, variables, [[3.0 * sign, 4.0 * sign]])
    assert optimizer.effective_learning_rate == pytest.approx(
        3 * (1 / 3) ** (3 / 4) / 5, rel=golden.ROUNDING
    )


def test_bias_correction_cancels():
    """V and K are divided by the same number: only the rate by itself changes."""
    plain = steps_of(variant="paper")
    corrected = steps_of(variant="paper", bias_correction=True)
    for number, (one, other) in enumerate(zip(plain, corrected, strict=True), start=1):
        for weights, others in zip(one.weights, other.weights, strict=True):
            assert weights == pytest.approx(others, rel=golden.ROUNDING)
        assert other.rate == pytest.approx(
            one.rate * (1 - 0.9**number), rel=golden.ROUNDING
        )


@given(st.integers(-60, 60), st.sampled_from(["paper", "supremum"]))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_scale_of_the_gradients_does_not_matter(exponent, variant):
    """To the last bit, because a power of two rounds nothing."""
    scale = 2.0**exponent
    gradients = golden.draw_gradients()[:6]
    scaled = [[scale * each for each in step] for step in gradients]
    plain = steps_of(gradients=gradients, variant=variant)
    steps = steps_of(gradients=scaled, variant=variant)
    for one, other in zip(plain, steps, strict=True):
        assert one.weights == other.weights
        assert one.rate == other.rate * scale


@pytest.mark.parametrize("variant", ["paper", "supremum"])
def test_rate_before_any_given_constant_is_the_authors(variant):
    """Section 7.3.1 sets K to 0.1 and takes it as the learning rate."""
    variables = golden.variables_of([np.ones(2)])
    optimizer = AdaMo(variant=variant, lipschitz="analytic")
    optimizer.expect_constants()
    golden.apply(optimizer, variables, [[3.0, 4.0]])
    # The starting value is held in float32.
    assert optimizer.effective_learning_rate == pytest.approx(0.1, rel=1e-7)


def test_initial_constant_is_the_rate_before_any_given_one():
    variables = golden.variables_of([np.ones(2)])
    optimizer = AdaMo(variant="paper", lipschitz="analytic", initial_constant=0.25)
    optimizer.expect_constants()
    golden.apply(optimizer, variables, [[3.0, 4.0]])
    assert optimizer.effective_learning_rate == 0.25


@pytest.mark.parametrize(
    ("variant", "constant"), [("paper", 0.5 * 0.1 + 0.5 * 0.05), ("supremum", 0.05)]
)
def test_starting_value_stays_only_in_the_average_of_the_paper(variant, constant):
    variables = golden.variables_of([np.ones(2)])
    optimizer = AdaMo(0.5, 0.5, variant=variant, lipschitz="analytic")
    optimizer.build(variables)
    optimizer.observe_constant(0.05)
    # A Python number is taken in float32.
    assert optimizer.lipschitz_constant == pytest.approx(constant, rel=1e-7)


@pytest.mark.parametrize("constant", [math.nan, math.inf, 0.0])
@pytest.mark.parametrize("variant", ["paper", "supremum"])
def test_given_constant_that_says_nothing_is_left_out(variant, constant):
    nothing, usable = (constant, 0.0), (2.0, 0.5)
    arguments = {"variant": variant, "lipschitz": "analytic"}
    arguments["gradients"] = golden.draw_gradients()[:3]
    expected = steps_of(observed=[None, usable, None], **arguments)
    assert steps_of(observed=[nothing, usable, nothing], **arguments) == expected


@pytest.mark.parametrize("place", [0, 6])
@pytest.mark.parametrize("bad", [math.nan, -math.inf, golden.OVERFLOWS_SQUARED])
@pytest.mark.parametrize("variant", ["paper", "supremum"])
def test_step_that_is_not_finite_is_left_out(variant, bad, place):
    optimizer = AdaMo(variant=variant, weight_decay=0.0625)
    golden.assert_leaves_out(optimizer, bad, place=place, constants=CONSTANTS)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"variant": "paper"}, {"variant": "paper", "bias_correction": True}],
    ids=str,
)
def test_first_gradients_of_zero_move_nothing(arguments):
    zeros = [np.zeros(shape) for shape in golden.SHAPES]
    (step,) = steps_of(gradients=[zeros], weight_decay=0.0625, **arguments)
    assert step.weights == golden.flat(golden.draw_weights())
    assert step.rate == 0.0
    assert step.constants == (0.0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.0}, r"`momentum` must be from 0 to below 1.*momentum=1\.0"),
        (
            {"variant": "paper", "initial_constant": -1.0},
            r"`initial_constant` must be finite and positive.*initial_constant=-1\.0",
        ),
        (
            {"initial_constant": 0.1},
            r"belong to `variant='paper'`.*variant='supremum'.*initial_constant=0\.1",
        ),
    ],
)
def test_wrong_argument_raises_and_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdaMo(**arguments)


@OPTIMIZERS
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "adam"}, "one of 'supremum', 'paper'.*variant='adam'"),
        ({"lipschitz": "x"}, "one of 'gradient', 'analytic'.*lipschitz='x'"),
        (
            {"bias_correction": True},
            "belong to `variant='paper'`.*variant='supremum', bias_correction=True",
        ),
    ],
)
def test_wrong_argument_of_all_optimizers_raises(optimizer, arguments, message):
    with pytest.raises(ValueError, match=message):
        optimizer(**arguments)


@OPTIMIZERS
def test_constant_given_to_an_optimizer_that_measures_raises(optimizer):
    measuring = optimizer()
    measuring.build(golden.variables_of([np.ones(2)]))
    with pytest.raises(ValueError, match="lipschitz='gradient', built=True"):
        measuring.observe_constant(1.0)


@OPTIMIZERS
def test_constant_given_before_there_are_variables_raises(optimizer):
    unbuilt = optimizer(lipschitz="analytic")
    with pytest.raises(ValueError, match="lipschitz='analytic', built=False"):
        unbuilt.observe_constant(1.0)


@OPTIMIZERS
def test_step_without_a_source_of_constants_raises(optimizer):
    variables = golden.variables_of([np.ones(2)])
    with pytest.raises(ValueError, match=r"lipschitz='analytic', and no constant"):
        golden.apply(optimizer(lipschitz="analytic"), variables, [[3.0, 4.0]])


@OPTIMIZERS
def test_rate_and_constant_are_0_before_there_are_variables(optimizer):
    assert optimizer().effective_learning_rate == 0.0
    assert optimizer().lipschitz_constant == 0.0
