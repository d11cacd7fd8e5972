r"""Adaptive RMSprop: the rate undoes, for all weights, what the division did to each.

    S <- beta S + (1 - beta) g^2
    K <- beta K + (1 - beta) max ||g^2||
    W <- W - (sqrt(K) + eps) / max ||g|| * g / sqrt(S + eps)

is Algorithm 2 of LipschitzLR, section 6.2. Its body is missing in the published text
and follows from its words and from Algorithm 3. The factor is about ||g||_4 / ||g||_2:
a number without a unit that says nothing about a rate.

Without `paper_`: K is the average of g^2 over time and over all weights, so that its
root is the size of one weight's gradient; in place of max ||g||, which is a supremum,
stands the largest norm of all gradients so far. The rate is then 1 / sqrt(weights) at
first, and shrinks as the gradients do.
"""

from keras import ops

from keras_lr._typing import Tensor

SCALE = 0.5
"""Multiple of the rate; chosen by experiment, see docs/methods/adaptive_rmsprop.md."""


def paper_learning_rate(square: Tensor, norm: Tensor, epsilon: float) -> Tensor:
    """Return (sqrt(K) + eps) / max ||g||, and 0 where every gradient is 0."""
    return ops.divide_no_nan(ops.sqrt(square) + epsilon, norm)


def paper_step(
    rate: Tensor, gradient: Tensor, square: Tensor, weight: Tensor, epsilon: float
) -> Tensor:
    """Return `rate * g / sqrt(S / weight + eps)`; 0 where numerator and S are.

    Args:
        rate: Scalar, of the dtype of `weight`.
        gradient: g, any shape.
        square: S.
        weight: Of all that S has seen, if S is corrected for its start, or 1.
        epsilon: Scalar.
    """
    # Scalars first, as in `step`: each spares a pass over memory.
    dtype = gradient.dtype
    numerator = gradient * ops.cast(rate * ops.sqrt(weight), dtype)
    return ops.divide_no_nan(
        numerator, ops.sqrt(square + ops.cast(epsilon * weight, dtype))
    )


def learning_rate(mean_square: Tensor, largest_norm: Tensor) -> Tensor:
    """Return sqrt(K) / max ||g||, and 0 as long as every gradient was 0.

    Args:
        mean_square: Average over time of the mean of g^2 over all weights.
        largest_norm: Largest norm so far of all gradients as one vector.
    """
    return ops.divide_no_nan(ops.sqrt(mean_square), largest_norm)


def step(
    rate: Tensor, gradient: Tensor, square: Tensor, weight: Tensor, epsilon: float
) -> Tensor:
    """Return `rate * g / (sqrt(S / weight) + eps)`; 0 where numerator and S are.

    Args:
        rate: Scalar, of the dtype of `weight`.
        gradient: g, any shape.
        square: S.
        weight: Of all that S has seen.
        epsilon: Scalar, outside of the root as in Keras.
    """
    dtype, root = gradient.dtype, ops.sqrt(weight)
    numerator = gradient * ops.cast(rate * root, dtype)
    # In float16, epsilon is 0.
    return ops.divide_no_nan(
        numerator, ops.sqrt(square) + ops.cast(epsilon * root, dtype)
    )
