r"""The learning-rate walk: a little more where that is better, else a little less.

L_t is the loss of batch t, w_{t+1}(eta) what the optimizer's step on it makes of the
weights at a rate of eta, and f > 1 the factor:

    eta_{t+1} = f eta_t   if  L_t(w_{t+1}(f eta_t)) < L_t(w_{t+1}(eta_t)),
                eta_t / f otherwise.

For f -> 1 the condition is that the slope s_t = dL_t(w_{t+1}(eta)) / deta is negative.
With s_t(0), the slope where the step has done nothing yet, that is to say that a step
should take all of the slope away, and no more.

An optimizer with a memory of beta repeats 1 / (1 - beta) times what a step adds. There
each step should only take its share sigma = (1 - beta)^(1/2) of the slope:

    eta_{t+1} = f eta_t   if  s_t < (1 - sigma) s_t(0),
                eta_t / f otherwise.

The source's factor is constant. Here it may grow while decisions agree: with the
direction d_t, 1 or -1, and h_t = log f_t,

    h_{t+1} = min(GROWTH h_t, h_max)   if d_t = d_{t-1},
              log f                    otherwise,
    eta_{t+1} = eta_t exp(d_t h_{t+1}).

A momentum moves like this by its distance from 1. All functions take and return
scalars, as numbers or as tensors inside a step.
"""

import math

from keras import ops

from keras_lr._typing import Tensor

# Of the logarithm of the factor.
GROWTH = 2.0
# A rate is far below its goal if a step takes less of its share of the slope,
LITTLE = 0.1
# and far above if it takes more.
MUCH = 2.0


def share(memory: float) -> float:
    """Return sigma, the part of the slope that a step should take away.

    Between 1 - beta, what a step is of all that it leads to where gradients agree, and
    (1 - beta^2)^(1/2), the same where they are noise.

    Args:
        memory: beta, what each velocity counts of the next; 0 for none.
    """
    return math.sqrt(1.0 - memory)


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


def direction_of_slopes(before: Tensor, after: Tensor, share: float = 1.0) -> Tensor:
    """Return 1 if a step leaves too much of the slope, -1 if not or if not finite.

    Args:
        before: s_t(0); one that is not downhill counts as 0.
        after: s_t.
        share: sigma, of the slope that a step should take away. With 1 it is the sign
            of the slope after the step.
    """
    goal = ops.zeros_like(after)
    if share < 1.0:
        goal = (1.0 - share) * ops.minimum(before, 0.0)
    return _sign(ops.logical_and(ops.isfinite(after), after < goal), after)


def _sign(is_positive: Tensor, like: Tensor) -> Tensor:
    return ops.where(is_positive, ops.ones_like(like), -ops.ones_like(like))


def is_far(before: Tensor, after: Tensor, share: float = 1.0) -> Tensor:
    """Return whether the rate is far from where a step takes its share of the slope.

    There it is worth a trial in each step. No if a slope is not finite, or if the first
    one is not downhill.

    Args:
        before: s_t(0).
        after: s_t.
        share: sigma.
    """
    is_below = after <= (1.0 - LITTLE * share) * before
    is_above = after >= (1.0 - MUCH * share) * before
    is_downhill = ops.logical_and(ops.isfinite(before - after), before < 0.0)
    return ops.logical_and(ops.logical_or(is_below, is_above), is_downhill)


def slopes_of_losses(
    before: Tensor, taken: Tensor, raised: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the slopes, by eta / eta_t, of the parabola through three losses.

    Args:
        before: L_t(w_t).
        taken: L_t(w_{t+1}(eta_t)).
        raised: L_t(w_{t+1}(f eta_t)).
        factor: f.

    Returns:
        The slopes at a rate of 0 and at the rate.
    """
    # L = before + linear r + square r^2 at r = eta / eta_t.
    change, raised_change = taken - before, raised - before
    square = (raised_change - factor * change) / (factor * (factor - 1.0))
    linear = change - square
    return linear, linear + 2.0 * square


def step_size(
    step: Tensor,
    direction: Tensor,
    previous: Tensor,
    *,
    smallest: float,
    largest: float,
) -> Tensor:
    """Return h_{t+1}, the logarithm of the factor to move by.

    Args:
        step: h_t.
        direction: d_t.
        previous: d_{t-1}; 0 in the first step, which has the smallest factor.
        smallest: log f.
        largest: h_max.
    """
    agrees = direction * previous > 0.0
    return ops.where(agrees, ops.minimum(GROWTH * step, largest), smallest)


def walked(value: Tensor, step: Tensor) -> Tensor:
    """Return a rate that moves by a step in the logarithm."""
    return value * ops.exp(step)


def walked_complement(value: Tensor, step: Tensor) -> Tensor:
    """Return a momentum whose distance from 1 moves: upwards for a positive step."""
    return 1.0 - walked(1.0 - value, -step)
