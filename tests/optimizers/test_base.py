"""All optimizers against their transcriptions, and what they refuse or leave out."""

import dataclasses
import math
from typing import ClassVar

import keras
import numpy as np
import pytest

import keras_lr
from keras_lr.rules import adamo as rules
from tests.optimizers import golden_steps as golden
from tests.optimizers.golden_steps import ADAMO, ADAPTIVE_RMSPROP, AUTO_ADAM

ALGORITHMS = (ADAMO, ADAPTIVE_RMSPROP, AUTO_ADAM)
RATIOS = (ADAPTIVE_RMSPROP, AUTO_ADAM)
"""Those whose rate is the ratio of two constants."""


def name_of(value):
    return value.name if isinstance(value, golden.Algorithm) else str(value)


every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=name_of)
every_ratio = pytest.mark.parametrize("algorithm", RATIOS, ids=name_of)
every_variant = pytest.mark.parametrize("variant", ["paper", "supremum"])
# Where both share the code, the default stands for them.
mostly_default = pytest.mark.parametrize(
    "variant", [pytest.param("paper", marks=pytest.mark.slow), "supremum"]
)

CORRECTED = {"bias_correction": True}
# Keras's initializers hold their number in float32: powers of two.
STARTS = {
    ADAMO: {"initial_constant": 0.5},
    ADAPTIVE_RMSPROP: {"initial_norm": 2.0, "initial_square": 2.0**-10},
    AUTO_ADAM: {"initial_norm": 2.0, "initial_square": 2.0**-10},
}
DECAYS = {
    ADAMO: [{"momentum": 0.0}, {"momentum": 0.99}],
    ADAPTIVE_RMSPROP: [{"rho": 0.99, "epsilon": 1e-3}],
    AUTO_ADAM: [{"beta_1": 0.0}, {"beta_1": 0.75, "beta_2": 0.99, "epsilon": 1e-3}],
}
OPTIONS = [
    pytest.param(
        algorithm,
        options,
        # By default the usual one, and the one with all that differs from it.
        marks=() if options in ({}, DECAYS[algorithm][-1]) else pytest.mark.slow,
    )
    for algorithm in ALGORITHMS
    for options in ({}, *DECAYS[algorithm], {"weight_decay": 0.0625})
]
PAPERS_OPTIONS = [
    *OPTIONS,
    *(
        pytest.param(
            algorithm,
            options,
            marks=() if options == CORRECTED | STARTS[algorithm] else pytest.mark.slow,
        )
        for algorithm in ALGORITHMS
        for options in (
            CORRECTED,
            CORRECTED | DECAYS[algorithm][-1],
            STARTS[algorithm],
            CORRECTED | STARTS[algorithm],
        )
    ),
]


@pytest.mark.parametrize(("algorithm", "options"), PAPERS_OPTIONS, ids=name_of)
def test_paper_variant_is_the_algorithm_as_printed(algorithm, options):
    golden.assert_equal_steps(
        algorithm.steps(variant="paper", **options),
        algorithm.expected("paper", **options),
    )


@pytest.mark.parametrize(("algorithm", "options"), OPTIONS, ids=name_of)
def test_default_variant_is_its_reference(algorithm, options):
    golden.assert_equal_steps(
        algorithm.steps(**options), algorithm.expected("supremum", **options)
    )


@every_algorithm
@mostly_default
def test_schedule_multiplies_the_rate(algorithm, variant):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(*golden.SCHEDULE)
    golden.assert_equal_steps(
        algorithm.steps(learning_rate=schedule, variant=variant),
        algorithm.expected(variant, golden.SCHEDULED),
    )


@every_algorithm
@pytest.mark.parametrize(
    "bias_correction", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_given_constants_take_the_place_of_the_gradients_norms(
    algorithm, bias_correction
):
    options = {"bias_correction": bias_correction, **STARTS[algorithm]}
    options["observed"] = golden.OBSERVED
    golden.assert_equal_steps(
        algorithm.steps(variant="paper", lipschitz="analytic", **options),
        algorithm.expected("paper", **options),
    )


@every_algorithm
def test_given_constants_of_the_default_variant(algorithm):
    golden.assert_equal_steps(
        algorithm.steps(lipschitz="analytic", observed=golden.OBSERVED),
        algorithm.expected("supremum", observed=golden.OBSERVED),
    )


@pytest.mark.parametrize(
    ("algorithm", "rate"),
    # K = 0.1, of section 7.3.1; (sqrt(1e-6) + 1e-7) / 1, of sections 8 and 9.
    [(ADAMO, 0.1), (ADAPTIVE_RMSPROP, 1e-3 + 1e-7), (AUTO_ADAM, 1e-3 + 1e-7)],
    ids=name_of,
)
@every_variant
def test_rate_before_any_given_constant_is_the_authors(algorithm, rate, variant):
    variables = golden.variables_of([np.ones(2)])
    optimizer = algorithm.optimizer(variant=variant, lipschitz="analytic")
    optimizer.expect_constants()
    golden.apply(optimizer, variables, [[3.0, 4.0]])
    # The starting values are held in float32.
    assert optimizer.effective_learning_rate == pytest.approx(rate, rel=1e-7)


@pytest.mark.parametrize(
    ("algorithm", "multiple"), [(ADAPTIVE_RMSPROP, 0.5), (AUTO_ADAM, 1.0)], ids=name_of
)
def test_first_rate_is_a_multiple_of_the_root_of_1_by_the_number_of_weights(
    algorithm, multiple
):
    """The root of the mean of g^2 by the norm of g, whatever g is."""
    gradients = [[np.full(shape, 3.0) for shape in golden.SHAPES]]
    (first,) = algorithm.steps(gradients=gradients)
    expected = multiple / math.sqrt(golden.NUMBER_OF_WEIGHTS)
    assert first.rate == pytest.approx(expected)
    # Every weight moves by the rate: v / (sqrt(s) + eps) is 3 / (3 + 1e-7).
    moved = golden.flat(golden.draw_weights())[1][0] - first.weights[1][0]
    assert moved == pytest.approx(first.rate * 3 / (3 + 1e-7), rel=golden.ROUNDING)


@pytest.mark.parametrize(
    ("algorithm", "decays"),
    [(ADAPTIVE_RMSPROP, {"rho": 0.0}), (AUTO_ADAM, {"beta_1": 0.0, "beta_2": 0.0})],
    ids=name_of,
)
def test_square_of_a_given_constant_lacks_the_product_with_the_weight_term(
    algorithm, decays
):
    """L = 5 with 2 of the weights: 3^2 + 2^2 = 13 for the square, not 25."""
    variables = golden.variables_of([np.ones(2)])
    optimizer = algorithm.optimizer(
        variant="paper", lipschitz="analytic", epsilon=0.25, **decays
    )
    optimizer.build(variables)
    optimizer.observe_constant(5.0, 2.0)
    golden.apply(optimizer, variables, [[3.0, 4.0]])
    rate = (math.sqrt(13.0) + 0.25) / 5
    assert optimizer.effective_learning_rate == pytest.approx(rate, rel=1e-14)


@pytest.mark.parametrize(
    ("algorithm", "multiple"), [(ADAPTIVE_RMSPROP, 0.5), (AUTO_ADAM, 1.0)], ids=name_of
)
def test_square_of_a_given_constant_is_spread_over_the_weights_by_default(
    algorithm, multiple
):
    """L^2 / n for the mean of g^2: the rate is a multiple of L / sqrt(n) / L."""
    variables = golden.variables_of([np.ones((2, 3)), np.ones(3)])
    optimizer = algorithm.optimizer(lipschitz="analytic")
    optimizer.build(variables)
    optimizer.observe_constant(5.0, 2.0)
    golden.apply(optimizer, variables, [np.ones((2, 3)), np.ones(3)])
    rate = optimizer.effective_learning_rate
    assert rate == pytest.approx(multiple / 3, rel=1e-12)


@every_algorithm
@mostly_default
@pytest.mark.parametrize(
    "constant",
    [
        math.nan,
        pytest.param(math.inf, marks=pytest.mark.slow),
        pytest.param(0.0, marks=pytest.mark.slow),
        golden.OVERFLOWS_SQUARED,
    ],
)
def test_given_constant_that_says_nothing_is_left_out(algorithm, variant, constant):
    nothing, usable = (constant, 0.0), (2.0, 0.5)
    arguments = {"variant": variant, "lipschitz": "analytic"}
    arguments["gradients"] = golden.draw_gradients()[:3]
    expected = algorithm.steps(observed=[None, usable, None], **arguments)
    assert algorithm.steps(observed=[nothing, usable, nothing], **arguments) == expected


@every_algorithm
@mostly_default
@pytest.mark.parametrize("place", [pytest.param(0, marks=pytest.mark.slow), 6])
@pytest.mark.parametrize(
    "bad",
    [
        math.nan,
        pytest.param(-math.inf, marks=pytest.mark.slow),
        golden.OVERFLOWS_SQUARED,
    ],
)
def test_step_that_is_not_finite_is_left_out(algorithm, variant, bad, place):
    arguments = {"variant": variant, "weight_decay": 0.0625}
    golden.assert_leaves_out(algorithm, bad, place=place, **arguments)


@every_ratio
def test_step_whose_norm_of_the_square_overflows_is_left_out(algorithm):
    """The square of 1e100 is finite in float64, and its square is not."""
    bad = golden.OVERFLOWS_TO_THE_FOURTH
    golden.assert_leaves_out(algorithm, bad, place=6, variant="paper")


@every_algorithm
@pytest.mark.parametrize(
    "arguments",
    [{}, {"variant": "paper"}, {"variant": "paper", "bias_correction": True}],
    ids=str,
)
def test_first_gradients_of_zero_move_nothing(algorithm, arguments):
    zeros = [np.zeros(shape) for shape in golden.SHAPES]
    (step,) = algorithm.steps(gradients=[zeros], weight_decay=0.0625, **arguments)
    assert step.weights == golden.flat(golden.draw_weights())
    assert step.rate == 0.0
    assert set(step.constants) == {0.0}


PAPER = {"variant": "paper"}
WRONG_OF_ALL = [
    ({"variant": "adam"}, "one of 'supremum', 'paper'.*variant='adam'"),
    ({"lipschitz": "x"}, "one of 'gradient', 'analytic'.*lipschitz='x'"),
    (
        {"bias_correction": True},
        "belong to `variant='paper'`.*variant='supremum', bias_correction=True",
    ),
]
WRONG_OF_RATIOS = [
    ({"epsilon": 0.0}, r"`epsilon` must be finite and positive.*epsilon=0\.0"),
    (
        PAPER | {"initial_norm": 0.0},
        r"`initial_norm` must be finite and positive.*initial_norm=0\.0",
    ),
    (
        PAPER | {"initial_square": math.inf},
        "`initial_square` must be finite and positive.*initial_square=inf",
    ),
    (
        {"initial_square": 1e-6},
        r"belong to `variant='paper'`.*initial_norm=None, initial_square=1e-06",
    ),
]
WRONG = [
    *((each, *wrong) for each in ALGORITHMS for wrong in WRONG_OF_ALL),
    *((each, *wrong) for each in RATIOS for wrong in WRONG_OF_RATIOS),
    (
        ADAMO,
        {"momentum": 1.0},
        r"`momentum` must be from 0 to below 1.*momentum=1\.0",
    ),
    (
        ADAMO,
        PAPER | {"initial_constant": -1.0},
        r"`initial_constant` must be finite and positive.*initial_constant=-1\.0",
    ),
    (
        ADAMO,
        {"initial_constant": 0.1},
        r"belong to `variant='paper'`.*variant='supremum'.*initial_constant=0\.1",
    ),
    (ADAPTIVE_RMSPROP, {"rho": 1.0}, r"`rho` must be from 0 to below 1.*rho=1\.0"),
    (AUTO_ADAM, {"beta_1": 1.0}, r"`beta_1` must be from 0 to below 1.*beta_1=1\.0"),
    (AUTO_ADAM, {"beta_2": -0.1}, r"`beta_2` must be from 0 to below 1.*beta_2=-0\.1"),
]


@pytest.mark.parametrize(("algorithm", "arguments", "message"), WRONG, ids=name_of)
def test_wrong_argument_raises_and_is_named(algorithm, arguments, message):
    with pytest.raises(ValueError, match=message):
        algorithm.optimizer(**arguments)


@every_algorithm
def test_constant_given_to_an_optimizer_that_measures_raises(algorithm):
    measuring = algorithm.optimizer()
    measuring.build(golden.variables_of([np.ones(2)]))
    with pytest.raises(ValueError, match="lipschitz='gradient', built=True"):
        measuring.observe_constant(1.0)


@every_algorithm
def test_constant_given_before_there_are_variables_raises(algorithm):
    unbuilt = algorithm.optimizer(lipschitz="analytic")
    with pytest.raises(ValueError, match="lipschitz='analytic', built=False"):
        unbuilt.observe_constant(1.0)


@every_algorithm
def test_step_without_a_source_of_constants_raises(algorithm):
    variables = golden.variables_of([np.ones(2)])
    optimizer = algorithm.optimizer(lipschitz="analytic")
    with pytest.raises(ValueError, match=r"lipschitz='analytic', and no constant"):
        golden.apply(optimizer, variables, [[3.0, 4.0]])


@every_algorithm
def test_rate_and_constant_are_0_before_there_are_variables(algorithm):
    assert algorithm.optimizer().effective_learning_rate == 0.0
    assert algorithm.optimizer().lipschitz_constant == 0.0


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [(ADAMO, "momentum"), (ADAPTIVE_RMSPROP, "rho"), (AUTO_ADAM, "beta_1")],
    ids=name_of,
)
@every_variant
def test_number_that_is_set_later_is_used(algorithm, name, variant):
    """A callback that tunes a hyperparameter does so."""
    late = algorithm.optimizer(variant=variant)
    setattr(late, name, 0.5)
    early = algorithm.optimizer(variant=variant, **{name: 0.5})
    first, second = (golden.variables_of(golden.draw_weights()) for _ in range(2))
    for gradients in golden.draw_gradients()[:3]:
        golden.apply(late, first, gradients)
        golden.apply(early, second, gradients)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@dataclasses.dataclass(frozen=True)
class Unit(rules.Supremum):
    """A third form: 1 / K, without the agreement."""

    def rate(self, constants, agreement, observations):
        return rules.inverse(constants[0])


class WithUnit(keras_lr.AdaMo):
    _FORMS: ClassVar = {**keras_lr.AdaMo._FORMS, "unit": Unit}


def test_form_is_added_by_a_name_and_a_rule():
    variables = golden.variables_of([np.ones(2)])
    optimizer = WithUnit(variant="unit")
    golden.apply(optimizer, variables, [[3.0, 4.0]])
    assert optimizer.effective_learning_rate == 1 / 5
