"""LRS-OPT: descent on a whole schedule, and which training states to store for it.

The problem (equation 1 of the MARTHE paper) is

    min E(w_T)  over eta >= 0,    s_{t+1} = Phi_t(s_t, eta_t)

and its gradient (equation 4), with the adjoints a_T = grad E and a_t = A_t' a_{t+1},

    dE / deta_t = <a_{t+1}, B_t>.

The adjoints run backward, so the states that A_t and B_t depend on are needed again.
Memory for all of them costs the least time. With less, the steps are cut into
segments: the state at the start of each is stored, and a segment is run again when the
adjoints reach it. On the host, in NumPy and numbers.
"""

import math

import numpy as np

from keras_lr._typing import FloatArray


def expanded(values: FloatArray, every: int, steps: int) -> FloatArray:
    """Return the rate of each step, where each value holds for some steps.

    Args:
        values: `(ceil(steps / every),)`.
        every: Steps for which a value holds.
        steps: Number of steps.
    """
    return np.repeat(values, every)[:steps]


def gathered(slopes: FloatArray, every: int) -> FloatArray:
    """Return the gradient with respect to the values, from those of all rates."""
    return np.add.reduceat(slopes, np.arange(0, len(slopes), every))


def projected(values: FloatArray) -> FloatArray:
    """Return the nearest values that are allowed: none is negative."""
    return np.maximum(values, 0.0)


def relative_learning_rate(values: FloatArray, number: int) -> float:
    """Return the learning rate of an outer step that knows no scale.

    It is a part of the mean rate, so that the rates may grow by 30 % in a step
    wherever they start, and it decreases as is usual for noisy gradients.

    Args:
        values: Values of the schedule.
        number: Number of the outer step, from 0.
    """
    return float(np.mean(values)) * 0.3 / math.sqrt(1.0 + number / 10.0)


# Losses on other minibatches differ by less, those after a divergence by more.
SETBACK = 1.5


def is_setback(loss: float, gradient: FloatArray, lowest: float) -> bool:
    """Return whether a training is useless to continue from.

    Its loss or a derivative of it is not finite, or the loss is far above the lowest:
    a network whose units all died has a finite loss, and no gradient that leads back.

    Args:
        loss: E after the training.
        gradient: Gradient of E with respect to the values of the schedule.
        lowest: The lowest loss so far, infinite before the first one.
    """
    if not (math.isfinite(loss) and np.isfinite(gradient).all()):
        return True
    return 0.0 < lowest < loss / SETBACK


def smallest_capacity(steps: int) -> int:
    """Return the smallest number of states that suffices, about 2 sqrt(steps)."""
    length = max(math.isqrt(steps), 1)
    return min(_states(steps, each) for each in (length, length + 1))


def segments(steps: int, capacity: int) -> list[tuple[int, int]]:
    """Return the segments that leave the fewest steps to be run again.

    All but the last one are run twice, so all have the greatest length that fits,
    except the first, which has the remainder.

    Args:
        steps: Number of steps.
        capacity: States that can be stored: one at the start of each segment, and those
            within one of them.

    Raises:
        ValueError: If `capacity` is less than `smallest_capacity`.
    """
    fitting = [n for n in range(1, steps + 1) if _states(steps, n) <= capacity]
    if not fitting:
        raise ValueError(
            f"{steps} steps need a capacity of at least {smallest_capacity(steps)} "
            f"states. Received: capacity={capacity}."
        )
    starts = [*range(steps, 0, -max(fitting))][::-1]
    return list(zip([0, *starts[:-1]], starts, strict=True))


def _states(steps: int, length: int) -> int:
    """Return the number of states that segments of a length need.

    While one is run again, its start is one of its own states.
    """
    return math.ceil(steps / length) - 1 + length
