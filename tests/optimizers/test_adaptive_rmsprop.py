"""Steps and constants of AdaptiveRMSprop, worked by hand."""

import math

import numpy as np
import pytest

from keras_lr.optimizers import AdaptiveRMSprop
from tests.optimizers import golden_steps as golden


def test_first_step_of_the_paper_by_hand():
    """g = (3, 4) and 0: S = g^2/4, max ||g|| = 5, K = ||(9, 16)||/4."""
    vector, scalar = golden.variables_of([np.array([1.0, 2.0]), np.array(7.0)])
    optimizer = AdaptiveRMSprop(rho=0.75, epsilon=0.25, variant="paper")
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


@pytest.mark.parametrize("variant", ["paper", "supremum"])
def test_starting_norm_gives_way_to_the_first_given_constant(variant):
    variables = golden.variables_of([np.ones(2)])
    optimizer = AdaptiveRMSprop(variant=variant, lipschitz="analytic")
    optimizer.build(variables)
    optimizer.observe_constant(0.25)
    assert optimizer.lipschitz_constant == 0.25
