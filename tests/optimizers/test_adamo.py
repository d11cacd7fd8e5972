"""Steps and constants of AdaMo, worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lr.optimizers import AdaMo
from tests.optimizers import golden_steps as golden


def test_steps_of_the_paper_always_have_a_length_of_one():
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
    plain = golden.ADAMO.steps(variant="paper")
    corrected = golden.ADAMO.steps(variant="paper", bias_correction=True)
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
    plain = golden.ADAMO.steps(gradients=gradients, variant=variant)
    steps = golden.ADAMO.steps(gradients=scaled, variant=variant)
    for one, other in zip(plain, steps, strict=True):
        assert one.weights == other.weights
        assert one.rate == other.rate * scale


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
    # A Python number passes through float32.
    assert optimizer.lipschitz_constant == pytest.approx(constant, rel=1e-7)
