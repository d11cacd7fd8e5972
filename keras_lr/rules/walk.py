r"""The learning-rate walk: a little more where that is better, else a little less.

L_t is the loss of batch t, w_{t+1}(eta) what the optimizer's step on it makes of the
weights at a rate of eta, and f > 1 the factor:

    eta_{t+1} = f eta_t   if  L_t(w_{t+1}(f eta_t)) < L_t(w_{t+1}(eta_t)),
                eta_t / f otherwise.

For f -> 1 the condition is that the slope dL_t(w_{t+1}(eta)) / deta is negative.

The source's factor is constant. Here it may grow while decisions agree, as long as
nothing is learned, which a rate that is far too low needs: no trial has seen a step
that lowers the loss of its own batch by 2 %, nor an average loss that has come down by
20 %. With the direction d_t, 1 or -1, and h_t = log f_t,

    h_{t+1} = min(GROWTH h_t, h_max)   if d_t = d_{t-1} and nothing was learned so far,
              log f                    otherwise,
    eta_{t+1} = eta_t exp(d_t h_{t+1}).

A momentum moves like this by its distance from 1. All functions take and return
scalars, as numbers or as tensors inside a step.
"""

from keras import ops

from keras_lr._typing import Tensor

# Of the logarithm of the factor.
GROWTH = 2.0
# A step learns if it leaves a loss of its own batch that is that much lower,
GAIN = 0.02
# or if the average loss, each counting so much of the next, is that much lower than it
# was after the first steps.
PROGRESS, MEMORY, EARLY = 0.2, 0.9, 10


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


def step_size(
    step: Tensor,
    direction: Tensor,
    previous: Tensor,
    learned: Tensor,
    *,
    smallest: float,
    largest: float,
) -> Tensor:
    """Return h_{t+1}, the logarithm of the factor to move by.

    Args:
        step: h_t.
        direction: d_t.
        previous: d_{t-1}; 0 in the first step, which has the smallest factor.
        learned: 1 if a step so far has learned, else 0.
        smallest: log f.
        largest: h_max.
    """
    grows = ops.logical_and(learned == 0.0, direction * previous > 0.0)
    return ops.where(grows, ops.minimum(GROWTH * step, largest), smallest)


def learns(before: Tensor, after: Tensor) -> Tensor:
    """Return whether a step learns from its batch: L_t falls by 2 % or more.

    No if one of the losses is not finite.

    Args:
        before: L_t(w_t).
        after: L_t(w_{t+1}).
    """
    gains = before - after >= GAIN * ops.abs(before)
    return ops.logical_and(gains, ops.isfinite(before - after))


def has_come_down(mean: Tensor, early: Tensor) -> Tensor:
    """Return whether the average loss is a fifth lower than the early one.

    Args:
        mean: Of the losses so far.
        early: The same after the first ten steps.
    """
    return mean < early - PROGRESS * ops.abs(early)


def walked(value: Tensor, step: Tensor) -> Tensor:
    """Return a rate that moves by a step in the logarithm."""
    return value * ops.exp(step)


def walked_complement(value: Tensor, step: Tensor) -> Tensor:
    """Return a momentum whose distance from 1 moves: upwards for a positive step."""
    return 1.0 - walked(1.0 - value, -step)
