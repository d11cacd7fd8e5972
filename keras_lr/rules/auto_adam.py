r"""Auto-Adam: Adam at the ratio of two constants that bound its two averages.

    V <- beta_1 V + (1 - beta_1) g                  (line 4)
    S <- beta_2 S + (1 - beta_2) g^2                (line 5)
    K_1 <- beta_1 K_1 + (1 - beta_1) max ||g||      (line 7)
    K_2 <- beta_2 K_2 + (1 - beta_2) max ||g^2||    (line 8)
    W <- W - (sqrt(K_2) + eps) / K_1 * V / sqrt(S + eps)    (line 10)

is Algorithm 3 of LipschitzLR, section 6.3. The ratio is about ||g||_4 / ||g||_2, some
hundred times Adam's usual rate, and it grows while the gradients shrink, because K_1
forgets faster than K_2. `adaptive_rmsprop` holds the rates of both forms, with K_2 for
its K and K_1 for its max ||g||.
"""

from keras_lr._typing import Tensor
from keras_lr.rules import adaptive_rmsprop

paper_learning_rate = adaptive_rmsprop.paper_learning_rate
learning_rate = adaptive_rmsprop.learning_rate


def paper_step(
    rate: Tensor,
    velocity: Tensor,
    square: Tensor,
    weights: tuple[Tensor, Tensor],
    epsilon: float,
) -> Tensor:
    """Return `rate * (V / weights[0]) / sqrt(S / weights[1] + eps)`.

    Args:
        rate: Scalar, of the dtype of the weights.
        velocity: V, any shape.
        square: S.
        weights: Of all that V and S have seen, if they are corrected, or 1.
        epsilon: Scalar.
    """
    first, second = weights
    return adaptive_rmsprop.paper_step(rate / first, velocity, square, second, epsilon)


def step(
    rate: Tensor,
    velocity: Tensor,
    square: Tensor,
    weights: tuple[Tensor, Tensor],
    epsilon: float,
) -> Tensor:
    """Return `rate * (V / weights[0]) / (sqrt(S / weights[1]) + eps)`, as in Keras.

    Args:
        rate: Scalar, of the dtype of the weights.
        velocity: V, any shape.
        square: S.
        weights: Of all that V and S have seen.
        epsilon: Scalar.
    """
    first, second = weights
    return adaptive_rmsprop.step(rate / first, velocity, square, second, epsilon)
