r"""AdaMo: momentum at the inverse of a constant that bounds the gradient.

    V <- beta V + (1 - beta) g            (line 4)
    K <- beta K + (1 - beta) max ||g||    (line 6)
    W <- W - V / K                        (line 8)

is Algorithm 1 of LipschitzLR, section 6.1. With K an average of norms that is gradient
descent with normalized gradients: its steps have a length of about 1 for ever. A
Lipschitz constant is a supremum: `supremum` takes the largest norm seen, so that steps
shrink with the gradient. They also shrink with the `agreement` of the gradients in V,
since where they disagree a step goes nowhere; and V looks ahead, as Nesterov's does.
"""

from keras import ops

from keras_lr._typing import Tensor
from keras_lr.rules.average import increment

SCALE = 3.0
POWER = 0.75
"""Multiple of 1/K and power of the agreement; by experiment, docs/methods/adamo.md."""


def paper_constant(
    constant: Tensor, norm: Tensor, beta: float, counts: Tensor
) -> Tensor:
    """Return K of line 6; the old one where `counts` is 0."""
    return constant + increment(constant, norm, beta, counts)


def paper_learning_rate(constant: Tensor) -> Tensor:
    """Return 1 / K, and 0 as long as every gradient was 0."""
    return ops.divide_no_nan(ops.ones_like(constant), constant)


def supremum(constant: Tensor, norm: Tensor, counts: Tensor) -> Tensor:
    """Return the largest norm so far; the old one where `counts` is 0."""
    return ops.where(counts > 0.0, ops.maximum(constant, norm), constant)


def agreement(velocity_norm: Tensor, mean_square: Tensor) -> Tensor:
    r"""Return ||V|| over the root mean square of ||g||, at most 1.

    1 where all gradients are the same; about sqrt((1 - beta) / (1 + beta)) where they
    are independent noise.

    Args:
        velocity_norm: Of V, corrected for its start.
        mean_square: Average of ||g||^2 with the weights of V, likewise.
    """
    ratio = ops.divide_no_nan(velocity_norm, ops.sqrt(mean_square))
    return ops.minimum(ratio, ops.ones_like(ratio))


def learning_rate(constant: Tensor, agreement: Tensor) -> Tensor:
    """Return `SCALE * agreement**POWER / K`, and 0 as long as every gradient was 0."""
    return SCALE * ops.power(agreement, POWER) * paper_learning_rate(constant)


def momentum(decayed: Tensor, gradient: Tensor) -> Tensor:
    """Return M = beta M + g, where V of line 4 is (1 - beta) M.

    What is kept from step to step is beta M: that spares two passes over memory. With
    the new one in its place, this is what M would be after the same gradient again.
    """
    return decayed + gradient
