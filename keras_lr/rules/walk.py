r"""The learning-rate walk: a little more where that is better, else a little less.

L_t is the loss of batch t, w_{t+1}(eta) what the optimizer's step on it makes of the
weights at a rate of eta, and f > 1 the factor:

    eta_{t+1} = f eta_t   if  L_t(w_{t+1}(f eta_t)) < L_t(w_{t+1}(eta_t)),
                eta_t / f otherwise.

For f -> 1 the condition is that the slope dL_t(w_{t+1}(eta)) / deta is negative.

The source's factor is constant. Here it may grow while decisions agree, as long as the
rate is far from where the slope is 0: below a tenth of it or above twice it, were the
loss a parabola. With the direction d_t, 1 or -1, and h_t = log f_t,

    h_{t+1} = min(GROWTH h_t, h_max)   if d_t = d_{t-1} and the rate is far,
              log f                    otherwise,
    eta_{t+1} = eta_t exp(d_t h_{t+1}).

A momentum moves like this by its distance from 1. All functions take and return
scalars, as numbers or as tensors inside a step.
"""

from keras import ops

from keras_lr._typing import Tensor

# Of the logarithm of the factor.
GROWTH = 2.0
# A rate is far below where the slope is 0 if a step at it leaves so much of the slope,
KEPT = 0.9
# and far above if it turns so much of it around.
TURNED = 1.0


def direction_of_losses(raised: Tensor, taken: Tensor) -> Tensor:
    """Return 1 if the raised rate leaves a lower loss than the one taken, else -1.

    A loss that is not finite is higher than any other, and no loss is lower than it is
    if both are not.

    Args:
        raised: L_t(w_{t+1}(f eta_t)).
        taken: L_t(w_{t+1}(eta_t)).
    """
    is_lower = ops.logical_or(raised < taken, ops.logical_not(ops.isfinite(taken)))
    return _sign(ops.logical_and(ops.isfinite(raised), is_lower), taken)


def direction_of_slope(slope: Tensor) -> Tensor:
    """Return 1 if the slope by the rate is negative, -1 if not or if not finite."""
    is_downhill = ops.logical_and(ops.isfinite(slope), slope < 0.0)
    return _sign(is_downhill, slope)


def _sign(is_positive: Tensor, like: Tensor) -> Tensor:
    return ops.where(is_positive, ops.ones_like(like), -ops.ones_like(like))


def is_far_by_slopes(before: Tensor, after: Tensor) -> Tensor:
    """Return whether the rate is far from where the slope is 0.

    No if a slope is not finite, or if the first one is not downhill.

    Args:
        before: The slope at a rate of 0, where the step has done nothing yet.
        after: dL_t(w_{t+1}(eta)) / deta at the rate.
    """
    is_far = ops.logical_or(after <= KEPT * before, after >= -TURNED * before)
    return ops.logical_and(is_far, _is_downhill(before, after))


def is_far_by_losses(
    before: Tensor, taken: Tensor, raised: Tensor, factor: Tensor
) -> Tensor:
    """Return the same by three losses, of which one is at a rate of 0.

    They give a parabola, whose slopes at 0 and at the rate are compared.

    Args:
        before: L_t(w_t).
        taken: L_t(w_{t+1}(eta_t)).
        raised: L_t(w_{t+1}(f eta_t)).
        factor: f.
    """
    # With eta_t = 1: L(eta) = before + linear eta + square eta^2.
    change, raised_change = taken - before, raised - before
    square = (raised_change - factor * change) / (factor * (factor - 1.0))
    linear = change - square
    return is_far_by_slopes(linear, linear + 2.0 * square)


def _is_downhill(before: Tensor, after: Tensor) -> Tensor:
    return ops.logical_and(ops.isfinite(before - after), before < 0.0)


def step_size(
    step: Tensor,
    direction: Tensor,
    previous: Tensor,
    is_far: Tensor,
    *,
    smallest: float,
    largest: float,
) -> Tensor:
    """Return h_{t+1}, the logarithm of the factor to move by.

    Args:
        step: h_t.
        direction: d_t.
        previous: d_{t-1}; 0 in the first step, which has the smallest factor.
        is_far: Whether the rate is far from where the slope is 0.
        smallest: log f.
        largest: h_max.
    """
    grows = ops.logical_and(is_far, direction * previous > 0.0)
    return ops.where(grows, ops.minimum(GROWTH * step, largest), smallest)


def walked(value: Tensor, step: Tensor) -> Tensor:
    """Return a rate that moves by a step in the logarithm."""
    return value * ops.exp(step)


def walked_complement(value: Tensor, step: Tensor) -> Tensor:
    """Return a momentum whose distance from 1 moves: upwards for a positive step."""
    return 1.0 - walked(1.0 - value, -step)
