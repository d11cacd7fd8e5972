"""Norms of the gradients of all weights, from the squared norm of each, in `keras.ops`.

`squares` holds ||g_l||_2^2 of each weight tensor W_l, `(tensors,)`: kernels, biases and
all others count as tensors of their own.
"""

import math
from collections.abc import Sequence

from keras import ops

from keras_lr._typing import Tensor


def global_norm(squares: Tensor) -> Tensor:
    """Return the norm of all gradients as one vector."""
    return ops.sqrt(ops.sum(squares))


def largest_norm(squares: Tensor) -> Tensor:
    """Return max_l ||g_l||_2."""
    return ops.sqrt(ops.max(squares))


def number_of_weights(weights: Sequence[Tensor]) -> int:
    """Return how many numbers the tensors hold together."""
    return sum(math.prod(each.shape) for each in weights)
