"""AdaptiveRMSprop against Algorithm 2, number by number, and steps worked by hand."""

import math

import keras
import numpy as np
import pytest

from keras_lr.optimizers import AdaptiveRMSprop
from tests.optimizers import golden_steps as golden
from tests.references import adaptive_rmsprop as reference

CONSTANTS = ("norm", "square")
# Keras's initializers hold their number in float32: powers of two.
STARTS = {"initial_norm": 2.0, "initial_square": 2.0**-10}
DECAYS = {"rho": 0.99, "epsilon": 1e-3}
HAND = {"rho": 0.75, "epsilon": 0.25, "variant": "paper"}


def steps_of(*, gradients=None, observed=None, **arguments):
    return golden.steps_of(
        AdaptiveRMSprop(**arguments),
        constants=CONSTANTS,
        gradients=gradients,
        observed=observed,
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        DECAYS,
        {"bias_correction": True},
        {"bias_correction": True, **DECAYS},
        STARTS,
        {"bias_correction": True, **STARTS},
        {"weight_decay": 0.0625},
    ],
    ids=str,
)
def test_paper_variant_is_algorithm_2(options):
    weights, gradients = golden.problem()
    steps = steps_of(variant="paper", **options)
    golden.assert_equal_steps(
        steps, reference.paper(weights, gradients, golden.CONSTANT, **options)
    )


@pytest.mark.parametrize(
    "options",
    [{}, DECAYS, {"weight_decay": 0.0625}],
    ids=str,
)
def test_default_variant_is_its_reference(options):
    weights, gradients = golden.problem()
    golden.assert_equal_steps(
        steps_of(**options),
        reference.supremum(weights, gradients, golden.CONSTANT, **options),
    )


@pytest.mark.parametrize("variant", ["paper", "supremum"])
def test_schedule_multiplies_the_rate(variant):
    weights, gradients = golden.problem()
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(*golden.SCHEDULE)
    expected = getattr(reference, variant)(weights, gradients, golden.SCHEDULED)
    steps = steps_of(learning_rate=schedule, variant=variant)
    golden.assert_equal_steps(steps, expected)


@pytest.mark.parametrize("bias_correction", [False, True])
def test_given_constants_take_the_place_of_the_gradients_norms(bias_correction):
    weights, gradients = golden.problem()
    options = {"bias_correction": bias_correction, **STARTS}
    options["observed"] = golden.OBSERVED
    steps = steps_of(variant="paper", lipschitz="analytic", **options)
    expected = reference.paper(weights, gradients, golden.CONSTANT, **options)
    golden.assert_equal_steps(steps, expected)


def test_given_constants_of_the_default_variant():
    weights, gradients = golden.problem()
    steps = steps_of(lipschitz="analytic", observed=golden.OBSERVED)
    expected = reference.supremum(
        weights, gradients, golden.CONSTANT, observed=golden.OBSERVED
    )
    golden.assert_equal_steps(steps, expected)


def test_first_step_of_the_paper_by_hand():
    """g = (3, 4) and 0: S = g^2/4, max ||g|| = 5, K = ||(9, 16)||/4."""
    vector, scalar = golden.variables_of([np.array([1.0, 2.0]), np.array(7.0)])
    optimizer = AdaptiveRMSprop(**HAND)
    golden.apply(optimizer, [vector, scalar], [[3.0, 4.0], 0.0])
    rate = (math.sqrt(math.sqrt(337.0) / 4) + 0.25) / 5
    assert optimizer.effective_learning_rate == pytest.approx(rate, rel=1e-14)
    assert optimizer.lipschitz_constant == pytest.approx(5.0, rel=1e-14)
    # S + eps = 2.5 and 4.25.
    expected = [1 - rate * 3 / math.sqrt(2.5), 2 - rate * 4 / math.sqrt(4.25)]
    assert vector.numpy() == pytest.approx(expected, rel=1e-14)
    assert float(scalar.numpy()) == 7.0


def test_paper_variant_divides_by_the_norm_of_the_step_however_small():
    variables = golden.variables_of([np.ones(2)])
    optimizer = AdaptiveRMSprop(variant="paper")
    golden.apply(optimizer, variables, [[3e10, 4e10]])
    golden.apply(optimizer, variables, [[3e-10, 4e-10]])
    assert optimizer.lipschitz_constant == pytest.approx(5e-10, rel=1e-14)


def test_first_rate_is_half_the_root_of_one_by_the_number_of_weights():
    """SCALE times the root of the mean of g^2 by the norm of g, whatever g is."""
    first = steps_of(gradients=[[np.full(shape, 3.0) for shape in golden.SHAPES]])[0]
    assert first.rate == pytest.approx(0.5 / math.sqrt(golden.NUMBER_OF_WEIGHTS))
    # Every weight goes by the rate: g / (sqrt(S) + eps) is 3 / (3 + 1e-7).
    moved = golden.flat(golden.draw_weights())[1][0] - first.weights[1][0]
    assert moved == pytest.approx(first.rate * 3 / (3 + 1e-7), rel=golden.ROUNDING)


@pytest.mark.parametrize("variant", ["paper", "supremum"])
def test_rate_before_any_given_constant_is_the_authors(variant):
    """(sqrt(K) + eps) / max ||g|| at K = 1e-6 and 1 for the norm."""
    variables = golden.variables_of([np.ones(2)])
    optimizer = AdaptiveRMSprop(variant=variant, lipschitz="analytic")
    optimizer.expect_constants()
    golden.apply(optimizer, variables, [[3.0, 4.0]])
    rate = optimizer.effective_learning_rate
    # The starting values are held in float32.
    assert rate == pytest.approx(1e-3 + 1e-7, rel=1e-7)


@pytest.mark.parametrize("variant", ["paper", "supremum"])
def test_starting_norm_gives_way_to_the_first_given_constant(variant):
    variables = golden.variables_of([np.ones(2)])
    optimizer = AdaptiveRMSprop(variant=variant, lipschitz="analytic")
    optimizer.build(variables)
    optimizer.observe_constant(0.25)
    assert optimizer.lipschitz_constant == 0.25


def test_square_of_a_given_constant_lacks_the_product_with_the_weight_term():
    """L = 5 with 2 of the weights: 3^2 + 2^2 = 13 for K, not 25."""
    variables = golden.variables_of([np.ones(2)])
    optimizer = AdaptiveRMSprop(
        variant="paper", lipschitz="analytic", rho=0.0, epsilon=0.25
    )
    optimizer.build(variables)
    optimizer.observe_constant(5.0, 2.0)
    golden.apply(optimizer, variables, [[3.0, 4.0]])
    rate = (math.sqrt(13.0) + 0.25) / 5
    assert optimizer.effective_learning_rate == pytest.approx(rate, rel=1e-14)


def test_square_of_a_given_constant_is_spread_over_the_weights_by_default():
    """L^2 / n for the mean of g^2, so that the rate is SCALE * L / sqrt(n) / L."""
    variables = golden.variables_of([np.ones((2, 3)), np.ones(3)])
    optimizer = AdaptiveRMSprop(lipschitz="analytic")
    optimizer.build(variables)
    optimizer.observe_constant(5.0, 2.0)
    golden.apply(optimizer, variables, [np.ones((2, 3)), np.ones(3)])
    assert optimizer.effective_learning_rate == pytest.approx(0.5 / 3, rel=1e-12)


@pytest.mark.parametrize(
    "constant", [math.nan, math.inf, 0.0, golden.OVERFLOWS_SQUARED]
)
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
    optimizer = AdaptiveRMSprop(variant=variant, weight_decay=0.0625)
    golden.assert_leaves_out(optimizer, bad, place=place, constants=CONSTANTS)


def test_step_whose_norm_of_the_square_overflows_is_left_out():
    """The square of 1e100 is finite in float64, and its square is not."""
    golden.assert_leaves_out(
        AdaptiveRMSprop(variant="paper"),
        golden.OVERFLOWS_TO_THE_FOURTH,
        place=6,
        constants=CONSTANTS,
    )


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
    assert step.constants == (0.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rho": 1.0}, r"`rho` must be from 0 to below 1.*rho=1\.0"),
        ({"epsilon": 0.0}, r"`epsilon` must be finite and positive.*epsilon=0\.0"),
        (
            {"variant": "paper", "initial_norm": 0.0},
            r"`initial_norm` must be finite and positive.*initial_norm=0\.0",
        ),
        (
            {"variant": "paper", "initial_square": math.inf},
            "`initial_square` must be finite and positive.*initial_square=inf",
        ),
        (
            {"initial_square": 1e-6},
            r"belong to `variant='paper'`.*initial_norm=None, initial_square=1e-06",
        ),
    ],
)
def test_wrong_argument_raises_and_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveRMSprop(**arguments)
