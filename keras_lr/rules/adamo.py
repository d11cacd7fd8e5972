r"""AdaMo: momentum at the inverse of a constant that bounds the gradient.

    V <- beta V + (1 - beta) g            (line 4)
    K <- beta K + (1 - beta) max ||g||    (line 6)
    W <- W - V / K                        (line 8)

is Algorithm 1 of LipschitzLR, section 6.1, and `Paper` here. With K an average of norms
that is gradient descent with normalized gradients: its steps always have a length of
about 1. A Lipschitz constant is a supremum: `Supremum` uses the largest norm so far, so
that steps shrink with the gradient. They also shrink with the `agreement` of the
gradients in V, since where they disagree a step goes nowhere; and V looks ahead, as
Nesterov's does.

What is stored from step to step is beta M, where M = V / (1 - beta): that spares two
passes over memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from keras_lr._typing import Tensor
from keras_lr.rules import gradient_norms
from keras_lr.rules.average import averaged, corrected, paper_weight
from keras_lr.rules.supremum import supremum

SCALE = 3.0
POWER = 0.75
"""Multiple of 1/K and power of the agreement; by experiment, docs/methods/adamo.md."""


def momentum(decayed: Tensor, gradient: Tensor) -> Tensor:
    """Return M = beta M + g.

    With the new beta M, this is what M would be after the same gradient again.
    """
    return decayed + gradient


def agreement(velocity_norm: Tensor, mean_square: Tensor) -> Tensor:
    r"""Return ||V|| over the root mean square of ||g||, at most 1.

    1 where all gradients are the same; about sqrt((1 - beta) / (1 + beta)) where they
    are independent noise.

    Args:
        velocity_norm: Norm of V, corrected for its start.
        mean_square: Average of ||g||^2 with the decay of V, corrected for its start.
    """
    ratio = ops.divide_no_nan(velocity_norm, ops.sqrt(mean_square))
    return ops.minimum(ratio, ops.ones_like(ratio))


def inverse(constant: Tensor) -> Tensor:
    """Return 1 / K, and 0 as long as every gradient was 0."""
    return ops.divide_no_nan(ops.ones_like(constant), constant)


@dataclass(frozen=True)
class Supremum:
    """The default form.

    Attributes:
        momentum: beta.
    """

    momentum: float

    takes_initial_constants: ClassVar[bool] = False
    norms = staticmethod(gradient_norms.largest_norm_only)
    square_of = staticmethod(gradient_norms.mean_square_of)

    def constants(
        self,
        constants: Sequence[Tensor],
        norm: Tensor,
        square: Tensor,
        counts: Tensor,
        observations: Tensor,
    ) -> Sequence[Tensor]:
        """Return K, the largest norm so far; the old one where `counts` is 0."""
        return [supremum(constants[0], norm, counts)]

    def mean_square_and_agreement(
        self,
        before: tuple[Tensor, Tensor],
        square: Tensor,
        momenta: Callable[[], Tensor],
        counts: Tensor,
        steps: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the average of ||g||^2, and the agreement.

        Args:
            before: Average and agreement before the step.
            square: ||g||^2 of all gradients; not finite where `counts` is 0.
            momenta: Returns ||M_l||^2 of each tensor; costs a pass over memory.
            counts: Scalar, 1, or 0 where the step is left out.
            steps: Number of steps, with this one.
        """
        mean_square, _ = before
        norm = (1.0 - self.momentum) * gradient_norms.global_norm(momenta())
        square = ops.where(counts > 0.0, square, mean_square)
        mean_square = averaged(mean_square, square, self.momentum, counts)
        return mean_square, agreement(
            corrected(norm, self.momentum, steps),
            corrected(mean_square, self.momentum, steps),
        )

    def rate(
        self, constants: Sequence[Tensor], agreement: Tensor, observations: Tensor
    ) -> Tensor:
        """Return `SCALE * agreement**POWER / K`; 0 as long as every gradient was 0."""
        return SCALE * ops.power(agreement, POWER) * inverse(constants[0])

    def step(
        self,
        rate: Tensor,
        gradient: Tensor,
        new_momentum: Tensor,
        decayed: Tensor,
        steps: Tensor,
    ) -> Tensor:
        """Return `rate * (beta V + (1 - beta) g)`.

        Args:
            rate: Learning rate, a scalar.
            gradient: g, any shape.
            new_momentum: M.
            decayed: beta M.
            steps: Number of steps, with this one.
        """
        rate = rate * (1.0 - self.momentum)
        return momentum(decayed, gradient) * ops.cast(rate, gradient.dtype)


@dataclass(frozen=True)
class Paper:
    """Algorithm 1 as printed.

    Attributes:
        momentum: beta.
        bias_correction: Whether V and K are corrected for their start, section 6.4.
    """

    momentum: float
    bias_correction: bool

    takes_initial_constants: ClassVar[bool] = True
    norms = staticmethod(gradient_norms.largest_norm_only)
    square_of = staticmethod(gradient_norms.square_without_product)

    def constants(
        self,
        constants: Sequence[Tensor],
        norm: Tensor,
        square: Tensor,
        counts: Tensor,
        observations: Tensor,
    ) -> Sequence[Tensor]:
        """Return K of line 6; the old one where `counts` is 0."""
        return [averaged(constants[0], norm, self.momentum, counts)]

    def mean_square_and_agreement(
        self,
        before: tuple[Tensor, Tensor],
        square: Tensor,
        momenta: Callable[[], Tensor],
        counts: Tensor,
        steps: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return both unchanged: Algorithm 1 has no agreement."""
        return before

    def rate(
        self, constants: Sequence[Tensor], agreement: Tensor, observations: Tensor
    ) -> Tensor:
        """Return 1 / K, and 0 as long as every gradient was 0."""
        return inverse(constants[0] / self._weight(observations))

    def step(
        self,
        rate: Tensor,
        gradient: Tensor,
        new_momentum: Tensor,
        decayed: Tensor,
        steps: Tensor,
    ) -> Tensor:
        """Return `rate * V`; see `Supremum.step`."""
        rate = rate * (1.0 - self.momentum) / self._weight(steps)
        return new_momentum * ops.cast(rate, new_momentum.dtype)

    def _weight(self, count: Tensor) -> Tensor:
        return paper_weight(self.momentum, count, self.bias_correction)
