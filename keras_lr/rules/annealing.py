"""Annealing: a rate that falls linearly to zero over the last part of a fit.

    factor = min(remaining / fraction, 1)

where `remaining` is the part of the fit that is ahead, from 1 to 0. It multiplies
whatever rate a method has chosen, and is removed again after the fit. In `keras.ops`,
for compiled steps and for numbers on the host.
"""

from keras import ops

from keras_lr._typing import Tensor


def annealing(remaining: Tensor, fraction: float) -> Tensor:
    """Return the factor that takes the rate linearly to zero at the end of a fit.

    Args:
        remaining: Part of the fit that is ahead, from 1 to 0.
        fraction: Part of the fit over which the rate falls; 0 for never.
    """
    if fraction == 0.0:
        return ops.ones_like(remaining)
    return ops.minimum(remaining / fraction, 1.0)
