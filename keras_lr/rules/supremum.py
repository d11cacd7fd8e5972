"""The largest of a sequence so far, in which the old counts less, in `keras.ops`.

    K_t = max_{s <= t} ((a + s) / (a + t))^p v_s

With p = 0 it is the supremum that the theory asks for, which one value of the first
steps may hold for ever. With p > 0 its memory grows with the training: what is half as
old as the training counts a half, or its root, however long the training is. A factor
for each step would forget after so many steps, in a short training nothing and in a
long one all but its end.
"""

from keras import ops

from keras_lr._typing import Tensor
from keras_lr.rules.average import FIRST_STEPS


def growing_memory(before: Tensor, now: Tensor, power: float) -> Tensor:
    """Return ((a + s) / (a + t))^p, what is left of a value when it is older.

    Args:
        before: s, number of steps when it was held last.
        now: t, number of steps at present.
        power: p; 0 for a memory without end.
    """
    return ops.power((FIRST_STEPS + before) / (FIRST_STEPS + now), power)


def supremum(
    largest: Tensor, value: Tensor, counts: Tensor, memory: Tensor | float = 1.0
) -> Tensor:
    """Return the larger of both; the old one where `counts` is 0.

    Args:
        largest: The largest value before.
        value: The value of this step.
        counts: Scalar, 1, or 0 where nothing may change.
        memory: Factor on `largest`.
    """
    new = ops.maximum(ops.multiply(largest, memory), value)
    return ops.where(counts > 0.0, new, largest)
