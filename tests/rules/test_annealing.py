"""The factor that takes a rate to zero at the end of a fit."""

import numpy as np
import pytest

from keras_lr._keras import to_float
from keras_lr.rules.annealing import annealing


@pytest.mark.parametrize(
    ("remaining", "fraction", "expected"),
    [(1.0, 0.5, 1.0), (0.5, 0.5, 1.0), (0.25, 0.5, 0.5), (0.25, 1.0, 0.25)],
)
def test_annealing_is_linear_over_the_last_part(remaining, fraction, expected):
    assert to_float(annealing(np.array(remaining), fraction)) == expected
    assert to_float(annealing(np.array(remaining), 0.0)) == 1.0
