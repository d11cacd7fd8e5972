"""Norms of the gradients of all weights, from the squared norm of each, in `keras.ops`.

`squares` holds ||g_l||_2^2 of each weight tensor W_l, `(tensors,)`: kernels, biases and
all others count as tensors of their own.

The functions at the end return what an optimizer observes, a norm and a square: those
that bound ||g|| and ||g^2||. All take the same arguments, so that each form of an
optimizer names the ones that it uses.
"""

import math
from collections.abc import Callable, Sequence

from keras import ops

from keras_lr._typing import Tensor
from keras_lr.rules.supremum import growing_memory, supremum

# Power of its age with which the largest norm is forgotten; by experiment, see
# docs/methods/auto_adam.md.
FORGETTING = 1.0


def global_norm(squares: Tensor) -> Tensor:
    """Return the norm of all gradients as one vector."""
    return ops.sqrt(ops.sum(squares))


def largest_norm(squares: Tensor) -> Tensor:
    """Return max_l ||g_l||_2."""
    return ops.sqrt(ops.max(squares))


def number_of_weights(weights: Sequence[Tensor]) -> int:
    """Return how many numbers the tensors hold together."""
    return sum(math.prod(each.shape) for each in weights)


def forgetting_supremum(
    largest: Tensor, norm: Tensor, counts: Tensor, observations: Tensor
) -> Tensor:
    """Return the largest norm, to which one counts less the older it is.

    Args:
        largest: The largest norm before.
        norm: The norm of this step.
        counts: Scalar, 1, or 0 where nothing may change.
        observations: Number of norms before this one.
    """
    memory = growing_memory(observations - 1.0, observations, FORGETTING)
    return supremum(largest, norm, counts, memory)


def norm_and_mean_square(
    squares: Tensor, fourth_powers: Callable[[], Tensor], size: int
) -> tuple[Tensor, Tensor]:
    """Return the norm of all gradients, and the mean of g^2 over all weights.

    Args:
        squares: ||g_l||^2 of each tensor.
        fourth_powers: Returns ||g_l^2||^2 of each tensor; costs a pass over memory.
        size: Number of weights.
    """
    return global_norm(squares), ops.sum(squares) / size


def largest_norms(
    squares: Tensor, fourth_powers: Callable[[], Tensor], size: int
) -> tuple[Tensor, Tensor]:
    """Return max_l ||g_l|| and max_l ||g_l^2||; see `norm_and_mean_square`."""
    return largest_norm(squares), largest_norm(fourth_powers())


def largest_norm_only(
    squares: Tensor, fourth_powers: Callable[[], Tensor], size: int
) -> tuple[Tensor, Tensor]:
    """Return max_l ||g_l|| and 0; see `norm_and_mean_square`."""
    return largest_norm(squares), ops.zeros_like(squares[0])


def mean_square_of(constant: Tensor, weight_term: Tensor, size: int) -> Tensor:
    """Return the mean square of all gradients whose norm is a given constant.

    Args:
        constant: L, with the part of the regularizers in it.
        weight_term: The part of the regularizers.
        size: Number of weights.
    """
    return ops.square(constant) / size


def square_without_product(constant: Tensor, weight_term: Tensor, size: int) -> Tensor:
    """Return L^2 without the product of its two terms, section 6.3.

    See `mean_square_of`.
    """
    return ops.square(constant - weight_term) + ops.square(weight_term)
