r"""Auto-Adam: Adam at the ratio of two constants that bound its two averages.

    V <- beta_1 V + (1 - beta_1) g                  (line 4)
    S <- beta_2 S + (1 - beta_2) g^2                (line 5)
    K_1 <- beta_1 K_1 + (1 - beta_1) max ||g||      (line 7)
    K_2 <- beta_2 K_2 + (1 - beta_2) max ||g^2||    (line 8)
    W <- W - (sqrt(K_2) + eps) / K_1 * V / sqrt(S + eps)    (line 10)

is Algorithm 3 of LipschitzLR, section 6.3, and `Paper` here. The ratio is about
||g||_4 / ||g||_2, some hundred times Adam's usual rate, and it grows while the
gradients shrink, because K_1 forgets faster than K_2.

In `Supremum`, K_1 is the largest norm of all gradients so far, in which one counts less
the older it is, and K_2 the average of the mean of g^2 with the decay of V.
`adaptive_rmsprop` has the formulas of the rates and of the division, with K_2 for its K
and K_1 for its max ||g||.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from keras_lr._typing import Tensor
from keras_lr.rules import adaptive_rmsprop, gradient_norms
from keras_lr.rules.average import averaged, corrected, paper_weight, total_weight


@dataclass(frozen=True)
class Supremum:
    """The default form.

    Attributes:
        beta_1: Decay of V and K_2.
        beta_2: Decay of S.
        epsilon: Scalar, outside of the root as in Keras.
    """

    beta_1: float
    beta_2: float
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
        """Return K_1 and K_2; the old ones where `counts` is 0."""
        k_1, k_2 = constants
        return [
            gradient_norms.forgetting_supremum(k_1, norm, counts, observations),
            averaged(k_2, square, self.beta_1, counts),
        ]

    def rate(self, constants: Sequence[Tensor], observations: Tensor) -> Tensor:
        """Return sqrt(K_2) / K_1, and 0 as long as every gradient was 0."""
        k_1, k_2 = constants
        k_2 = corrected(k_2, self.beta_1, observations)
        return adaptive_rmsprop.learning_rate(k_2, k_1)

    def step(
        self, rate: Tensor, velocity: Tensor, square: Tensor, steps: Tensor
    ) -> Tensor:
        """Return `rate * v / (sqrt(s) + eps)` with corrected averages, as in Keras.

        Args:
            rate: Learning rate, a scalar of the dtype of `steps`.
            velocity: V, any shape.
            square: S.
            steps: Number of steps, with this one.
        """
        rate = rate / total_weight(self.beta_1, steps)
        weight = total_weight(self.beta_2, steps)
        return adaptive_rmsprop.step(rate, velocity, square, weight, self.epsilon)


@dataclass(frozen=True)
class Paper:
    """Algorithm 3 as printed.

    Attributes:
        beta_1: Decay of V and K_1.
        beta_2: Decay of S and K_2.
        epsilon: Scalar, under the root.
        bias_correction: Whether all four are corrected for their start, section 6.4.
    """

    beta_1: float
    beta_2: float
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
        """Return K_1 and K_2 of lines 7 and 8; the old ones where `counts` is 0."""
        k_1, k_2 = constants
        return [
            averaged(k_1, norm, self.beta_1, counts),
            averaged(k_2, square, self.beta_2, counts),
        ]

    def rate(self, constants: Sequence[Tensor], observations: Tensor) -> Tensor:
        """Return (sqrt(K_2) + eps) / K_1, and 0 as long as every gradient was 0."""
        k_1, k_2 = constants
        k_1 = k_1 / self._weight(self.beta_1, observations)
        k_2 = k_2 / self._weight(self.beta_2, observations)
        return adaptive_rmsprop.paper_learning_rate(k_2, k_1, self.epsilon)

    def step(
        self, rate: Tensor, velocity: Tensor, square: Tensor, steps: Tensor
    ) -> Tensor:
        """Return `rate * V / sqrt(S + eps)`; see `Supremum.step`."""
        rate = rate / self._weight(self.beta_1, steps)
        weight = self._weight(self.beta_2, steps)
        return adaptive_rmsprop.paper_step(rate, velocity, square, weight, self.epsilon)

    def _weight(self, decay: float, count: Tensor) -> Tensor:
        return paper_weight(decay, count, self.bias_correction)
