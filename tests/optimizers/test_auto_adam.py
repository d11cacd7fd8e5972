"""Steps and constants of AutoAdam, worked by hand."""

import math

import numpy as np
import pytest

from keras_lr.optimizers import AutoAdam
from tests.optimizers import golden_steps as golden


def test_first_step_of_the_paper_by_hand():
    """g = (3, 4) and 0: V = g/2, S = g^2/4, K_1 = 5/2, K_2 = ||(9, 16)||/4."""
    vector, scalar = golden.variables_of([np.array([1.0, 2.0]), np.array(7.0)])
    optimizer = AutoAdam(beta_1=0.5, beta_2=0.75, epsilon=0.25, variant="paper")
    golden.apply(optimizer, [vector, scalar], [[3.0, 4.0], 0.0])
    rate = (math.sqrt(math.sqrt(337.0) / 4) + 0.25) / 2.5
    assert optimizer.effective_learning_rate == pytest.approx(rate, rel=1e-14)
    assert optimizer.lipschitz_constant == pytest.approx(2.5, rel=1e-14)
    # S + eps = 2.5 and 4.25.
    expected = [1 - rate * 1.5 / math.sqrt(2.5), 2 - rate * 2.0 / math.sqrt(4.25)]
    assert vector.numpy() == pytest.approx(expected, rel=1e-14)
    assert float(scalar.numpy()) == 7.0


@pytest.mark.parametrize(
    ("variant", "constant"), [("paper", 0.5 * 1.0 + 0.5 * 0.25), ("supremum", 0.25)]
)
def test_starting_values_stay_only_in_the_averages_of_the_paper(variant, constant):
    variables = golden.variables_of([np.ones(2)])
    optimizer = AutoAdam(variant=variant, lipschitz="analytic", beta_1=0.5)
    optimizer.build(variables)
    optimizer.observe_constant(0.25)
    assert optimizer.lipschitz_constant == constant
