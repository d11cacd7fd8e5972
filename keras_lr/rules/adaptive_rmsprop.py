r"""Adaptive RMSprop: the rate undoes, for all weights, what the division did to each.

    S <- beta S + (1 - beta) g^2
    K <- beta K + (1 - beta) max ||g^2||
    W <- W - (sqrt(K) + eps) / max ||g|| * g / sqrt(S + eps)

is Algorithm 2 of LipschitzLR, section 6.2, and `Paper` here. Its body is missing in the
published text and follows from its words and from Algorithm 3. The factor is about
||g||_4 / ||g||_2: a number without a unit that says nothing about a rate.

In `Supremum`, K is the average of g^2 over time and over all weights, so that its root
is the size of one weight's gradient; the largest norm of all gradients so far, in which
one counts less the older it is, takes the place of max ||g||. The rate is then about
1 / sqrt(weights) at first, and shrinks as the gradients do. If nothing were forgotten,
a network whose first gradients are large, such as an autoencoder, would train at too
low a rate to its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from keras_lr._typing import Tensor
from keras_lr.rules import gradient_norms
from keras_lr.rules.average import averaged, corrected, paper_weight, total_weight

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
        rate: Learning rate, a scalar of the dtype of `weight`.
        gradient: g, any shape.
        square: S.
        weight: Total weight in S if S is corrected for its start, or 1.
        epsilon: Scalar, under the root.
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
        rate: Learning rate, a scalar of the dtype of `weight`.
        gradient: g, any shape.
        square: S.
        weight: Total weight in S.
        epsilon: Scalar, outside of the root as in Keras.
    """
    dtype, root = gradient.dtype, ops.sqrt(weight)
    numerator = gradient * ops.cast(rate * root, dtype)
    # In float16, epsilon is 0.
    return ops.divide_no_nan(
        numerator, ops.sqrt(square) + ops.cast(epsilon * root, dtype)
    )


@dataclass(frozen=True)
class Supremum:
    """The default form.

    Attributes:
        rho: Decay of S and K.
        epsilon: Scalar, outside of the root as in Keras.
    """

    rho: float
    epsilon: float

    takes_initial_constants: ClassVar[bool] = False
    norms = staticmethod(gradient_norms.norm_and_mean_square)
    square_of = staticmethod(gradient_norms.mean_square_of)

    def constants(
        self,
        constants: Sequence[Tensor],
        norm: Tensor,
        square: Tensor,
        counts: Tensor,
        observations: Tensor,
    ) -> Sequence[Tensor]:
        """Return the largest norm, and K; the old ones where `counts` is 0."""
        largest, average = constants
        return [
            gradient_norms.forgetting_supremum(largest, norm, counts, observations),
            averaged(average, square, self.rho, counts),
        ]

    def rate(self, constants: Sequence[Tensor], observations: Tensor) -> Tensor:
        """Return the rate that follows from the constants."""
        largest, average = constants
        mean_square = corrected(average, self.rho, observations)
        return SCALE * learning_rate(mean_square, largest)

    def step(
        self, rate: Tensor, gradient: Tensor, square: Tensor, steps: Tensor
    ) -> Tensor:
        """Return the step along g, after `steps` steps with this one."""
        return step(rate, gradient, square, total_weight(self.rho, steps), self.epsilon)


@dataclass(frozen=True)
class Paper:
    """Algorithm 2 as it follows from the text.

    Attributes:
        rho: Decay of S and K.
        epsilon: Scalar, under the root.
        bias_correction: Whether S and K are corrected for their start, section 6.4.
    """

    rho: float
    epsilon: float
    bias_correction: bool

    takes_initial_constants: ClassVar[bool] = True
    norms = staticmethod(gradient_norms.largest_norms)
    square_of = staticmethod(gradient_norms.square_without_product)

    def constants(
        self,
        constants: Sequence[Tensor],
        norm: Tensor,
        square: Tensor,
        counts: Tensor,
        observations: Tensor,
    ) -> Sequence[Tensor]:
        """Return the norm of this step, and K; the old ones where `counts` is 0."""
        last, average = constants
        return [
            ops.where(counts > 0.0, norm, last),
            averaged(average, square, self.rho, counts),
        ]

    def rate(self, constants: Sequence[Tensor], observations: Tensor) -> Tensor:
        """Return the rate that follows from the constants."""
        norm, square = constants
        square = square / self._weight(observations)
        return paper_learning_rate(square, norm, self.epsilon)

    def step(
        self, rate: Tensor, gradient: Tensor, square: Tensor, steps: Tensor
    ) -> Tensor:
        """Return the step along g, after `steps` steps with this one."""
        return paper_step(rate, gradient, square, self._weight(steps), self.epsilon)

    def _weight(self, count: Tensor) -> Tensor:
        return paper_weight(self.rho, count, self.bias_correction)
