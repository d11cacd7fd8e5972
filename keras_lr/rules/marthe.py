r"""MARTHE: the hypergradient of the validation loss moves the learning rate.

The state of an optimizer, its weights w among it, and the tangent Z of that state with
respect to the rate eta make a step

    Z_{t+1} = mu_t A_t Z_t + B_t,    Delta_{t+1} = <Z_{t+1}, grad E(w_{t+1})>

where A_t and B_t are the derivatives of the optimizer's step with respect to the state
and to the rate (equations 9 and 10, read so that Z_0 = 0). Then, in this order,

    beta_{t+1} = max(beta_t + kappa Delta_{t+1} Delta_t, 0)
    mu_{t+1} = q^(1 / (c_t + 1)),  c_{t+1} = mu_t (1 + c_t),
               q = clip(Delta_{t+1} / <B_t, grad E>, 0, 1)
    eta_{t+1} = max(eta_t - beta_{t+1} Delta_{t+1}, 0)

or, instead of the last line, a move in the same direction without a scale,

    eta_{t+1} = eta_t exp(-kappa cos(Z_{t+1}, grad E)).

where, by default, the tangent Z is replaced by its moving average Zbar, ||grad E|| by
its root mean square over the same steps, and eta does not rise after a step that
overshot. With an optimizer that divides each entry of a gradient by its size, as Adam
does, the cosine is replaced by the share of votes,

    <Zbar, grad E> / sum_i |Zbar_i (grad E)_i|

with the root mean square of that sum, and no entry of Z is larger than the path of the
fastest weight. For a momentum, its distance from 1 moves in this way. All functions
take and return scalars, as numbers or as tensors inside a step. Where a number is not
finite, they return the state unchanged.
"""

from keras import ops

from keras_lr._typing import Tensor

# Discount as long as nobody knows how long the training is.
SAFE_DISCOUNT = 0.99


def additive_update(
    rate: Tensor, hypergradient: Tensor, hyper_learning_rate: Tensor
) -> Tensor:
    """Return max(eta - beta Delta, 0) (Algorithm 1)."""
    moved = rate - hyper_learning_rate * hypergradient
    return ops.where(ops.isfinite(moved), ops.maximum(moved, 0.0), rate)


def log_update(rate: Tensor, cosine: Tensor, hyper_learning_rate: Tensor) -> Tensor:
    """Return eta exp(-kappa cos(Z, grad E))."""
    exponent = -hyper_learning_rate * cosine
    moved = rate * ops.exp(exponent)
    return ops.where(ops.isfinite(exponent + moved), moved, rate)


def log_complement_update(
    momentum: Tensor, cosine: Tensor, hyper_learning_rate: Tensor
) -> Tensor:
    """Return 1 - (1 - m) exp(kappa cos(Z, grad E)): 1 - m moves in log space."""
    return 1.0 - log_update(1.0 - momentum, -cosine, hyper_learning_rate)


UPDATES = {
    "additive": additive_update,
    "log": log_update,
    "log_complement": log_complement_update,
}
"""The first moves by Delta, the others by a cosine or an agreement."""


def cosine(
    hypergradient: Tensor, tangent_square: Tensor, gradient_square: Tensor
) -> Tensor:
    """Return <Z, grad E> / (||Z|| ||grad E||), 0 if either is 0 or is not finite.

    Args:
        hypergradient: The scalar product.
        tangent_square: ||Z||^2.
        gradient_square: ||grad E||^2.
    """
    # Not the root of the product of the squares, which overflows first.
    norm = ops.sqrt(tangent_square) * ops.sqrt(gradient_square)
    is_usable = ops.logical_and(norm > 0.0, ops.isfinite(hypergradient))
    value = hypergradient / ops.where(is_usable, norm, ops.ones_like(norm))
    # Squares that underflow leave a norm too small.
    value = ops.clip(value, -1.0, 1.0)
    return ops.where(is_usable, value, ops.zeros_like(value))


def agreement(hypergradient: Tensor, largest: Tensor, usual: Tensor) -> Tensor:
    """Return a hypergradient as a part of the largest that it could be, from -1 to 1.

    By `usual`, batches count by the size of their gradients, as they do in the gradient
    of the mean loss. By `largest`, which makes it the cosine or the share of votes,
    each has the same vote: many that have been learned outvote the few that a high rate
    spoils. A large gradient does not raise the rate by more than its own would.

    Args:
        hypergradient: The scalar product <Z, grad E>; the rate rises if it is negative.
        largest: ||Z|| ||grad E||, or the votes, sum_i |Z_i (grad E)_i|.
        usual: The same with the root mean square, over recent steps, of ||grad E||, or
            of the votes.

    Returns:
        0 if what it is divided by is 0, or if a number is not finite.
    """
    divisor = ops.where(hypergradient < 0.0, ops.maximum(largest, usual), usual)
    is_usable = ops.logical_and(divisor > 0.0, ops.isfinite(hypergradient))
    share = hypergradient / ops.where(is_usable, divisor, ops.ones_like(divisor))
    # A mean may be below what its own batch has.
    share = ops.clip(share, -1.0, 1.0)
    return ops.where(is_usable, share, ops.zeros_like(share))


def longer_path(
    path: Tensor, discount: Tensor, largest: Tensor, rate: Tensor
) -> Tensor:
    """Return P + max_i |u_i| / eta, with the P so far discounted as Z is.

    As long as the curvature bends steps and does not blow them up, no entry of Z is
    larger: it is the tangent of a weight that has always been the fastest, always in
    one direction.

    Args:
        path: P of the steps before.
        discount: mu.
        largest: max_i |u_i|, of the entries of a step.
        rate: eta, of that step; where it is 0, the path ends where it was.
    """
    is_usable = ops.logical_and(rate > 0.0, ops.isfinite(largest))
    step = largest / ops.where(is_usable, rate, ops.ones_like(rate))
    return discount * path + ops.where(is_usable, step, ops.zeros_like(step))


def horizon_discount(steps: Tensor, memory: float) -> Tensor:
    """Return 1 - 1 / (memory T): Z looks back a fixed part of the training.

    Args:
        steps: T, the steps of the training; 0 or infinite if nobody knows it.
        memory: The part.
    """
    is_known = ops.logical_and(steps > 0.0, ops.isfinite(steps))
    steps_back = memory * ops.where(is_known, steps, ops.ones_like(steps))
    discount = ops.maximum(1.0 - 1.0 / steps_back, 0.0)
    return ops.where(is_known, discount, SAFE_DISCOUNT * ops.ones_like(discount))


def braked(moved: Tensor, rate: Tensor, overshoot: Tensor, limit: float) -> Tensor:
    """Return the new rate; the old one at most, if the last step overshot.

    Args:
        moved: The new rate.
        rate: The old rate.
        overshoot: Cosine of the angle between the last step and the gradient after it.
            If it is positive, the step went too far: it ran up the other side.
        limit: Overshoot from which the rate may not rise.
    """
    return ops.where(overshoot > limit, ops.minimum(moved, rate), moved)


def adapted_hyper_learning_rate(
    hyper_learning_rate: Tensor,
    hypergradient: Tensor,
    previous: Tensor,
    step_size: float,
) -> Tensor:
    """Return max(beta + kappa Delta_{t+1} Delta_t, 0) (section 4).

    The paper prints a minus, which ascends: dE / dbeta_t = -Delta_{t+1} Delta_t.

    Args:
        hyper_learning_rate: beta_t.
        hypergradient: Delta_{t+1}.
        previous: Delta_t, 0 in the first step.
        step_size: kappa.
    """
    moved = hyper_learning_rate + step_size * hypergradient * previous
    is_finite = ops.isfinite(moved)
    return ops.where(is_finite, ops.maximum(moved, 0.0), hyper_learning_rate)


def adapted_discount(
    discount: Tensor, horizon: Tensor, hypergradient: Tensor, one_step: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mu_{t+1} and c_{t+1} (appendix A).

    Args:
        discount: mu_t.
        horizon: c_t, the effective number of steps that the tangent looks back.
        hypergradient: Delta_{t+1}.
        one_step: <B_t, grad E>, the value of Delta_{t+1} for mu_t = 0.
    """
    is_finite = ops.logical_and(ops.isfinite(one_step), ops.isfinite(hypergradient))
    is_usable = one_step != 0.0
    # A quotient, not Delta g_1 / g_1^2, whose square underflows.
    quotient = hypergradient / ops.where(is_usable, one_step, ops.ones_like(one_step))
    quotient = ops.where(is_usable, quotient, ops.zeros_like(quotient))
    clipped = ops.clip(quotient, 0.0, 1.0)
    adapted = clipped ** (1.0 / (horizon + 1.0))
    return (
        ops.where(is_finite, adapted, discount),
        ops.where(is_finite, discount * (1.0 + horizon), horizon),
    )
