r"""The learning-rate walk: raise the rate a little if that helps, else lower it.

L_t is the loss of batch t, w_{t+1}(eta) are the weights after the optimizer's step on
it at a rate of eta, and f > 1 is the factor:

    eta_{t+1} = f eta_t   if  L_t(w_{t+1}(f eta_t)) < L_t(w_{t+1}(eta_t)),
                eta_t / f otherwise.

For f -> 1 the condition is that the slope s_t = dL_t(w_{t+1}(eta)) / deta is negative.
With s_t(0), the slope before the step has any effect, this says that a step should
remove all of the slope, and no more.

An optimizer with a memory of beta repeats what a step adds, 1 / (1 - beta) times in
all. Then each step should remove only its share sigma = (1 - beta)^(1/2) of the slope:

    eta_{t+1} = f eta_t   if  s_t < (1 - sigma) s_t(0),
                eta_t / f otherwise.

The source's factor is constant. Here it may grow while decisions agree: with the
direction d_t, 1 or -1, and h_t = log f_t,

    h_{t+1} = min(GROWTH h_t, h_max)   if d_t = d_{t-1},
              log f                    otherwise,
    eta_{t+1} = eta_t exp(d_t h_{t+1}).

For a momentum, its distance from 1 moves in this way.

A batch speaks for the step that was made from it: where a network has learned most
batches by heart, they all ask for more, until one that it has not learned comes. So a
walk whose factor may grow also listens to three others:

- s_t and s_t(0) are averages over the last few trials, in which a batch with a large
  slope counts for more.
- The factor grows, upwards, only while the next batch agrees: the average of the slopes
  <w_{t+1} - w_t, grad L_{t+1}(w_{t+1})> / eta_t is below 0 by some standard errors.
- Where it does not agree, and the average of the losses is above the lowest one before
  it by more than the standard errors of both, the rate falls in each step. The lowest
  of many averages is low by chance too: where losses neither fall nor rise, this is so
  in about half of the steps, and the rate does not rise.

Near the edge of what a network stands, one long step is enough to lose it: it leads to
a larger gradient, and that to a longer step. So a step whose gradient is larger than
LARGE times the root mean square of those before it is taken at a rate that is lower in
proportion, and decides nothing.

All functions take and return scalars, as numbers or as tensors inside a step.
"""

import math

from keras import ops

from keras_lr._typing import Tensor

# Growth of the logarithm of the factor while decisions agree.
GROWTH = 2.0
# A rate is far below its goal if a step removes less than this of its share,
LITTLE = 0.1
# and far above if it removes more than this.
MUCH = 2.0
# Share of a trial in the averages of slopes, and the trials after which it is a half.
TRIAL_SHARE, FIRST_TRIALS = 0.3, 3.0
# Share of a step in the averages of losses and of the slopes of next batches.
STEP_SHARE = 0.03
# Standard errors by which the next batches must agree.
AGREEMENT = 1.5
# Standard errors between an average of losses and the end of its range.
MARGIN = 2.0
# Losses before which no range is known.
FIRST_LOSSES = 20.0
# By how much log eta falls in a step while losses are too high.
FALL = 0.03
# Root mean squares above which a gradient is large, and gradients before which no mean
# square is known.
LARGE, FIRST_GRADIENTS = 1.5, 20.0


def share(memory: float) -> float:
    """Return sigma, the part of the slope that a step should remove.

    It lies between 1 - beta, a step's part of its total effect where gradients agree,
    and (1 - beta^2)^(1/2), that part where they are noise.

    Args:
        memory: beta, the weight of each velocity in the next; 0 for none.
    """
    return math.sqrt(1.0 - memory)


def direction_of_losses(raised: Tensor, after: Tensor) -> Tensor:
    """Return 1 if a step at the raised rate leaves a lower loss, else -1.

    A loss that is not finite counts as higher than any that is. If neither is finite,
    the direction is -1.

    Args:
        raised: L_t(w_{t+1}(f eta_t)).
        after: L_t(w_{t+1}(eta_t)).
    """
    is_lower = ops.logical_or(raised < after, ops.logical_not(ops.isfinite(after)))
    return _sign(ops.logical_and(ops.isfinite(raised), is_lower), after)


def direction_of_slopes(before: Tensor, after: Tensor, share: float = 1.0) -> Tensor:
    """Return 1 if a step leaves too much of the slope, -1 if not or if not finite.

    Args:
        before: s_t(0); one that is not downhill counts as 0.
        after: s_t.
        share: sigma, the part of the slope that a step should remove. With 1, the sign
            of the slope after the step decides.
    """
    goal = ops.zeros_like(after)
    if share < 1.0:
        goal = (1.0 - share) * ops.minimum(before, 0.0)
    return _sign(ops.logical_and(ops.isfinite(after), after < goal), after)


def _sign(is_positive: Tensor, like: Tensor) -> Tensor:
    return ops.where(is_positive, ops.ones_like(like), -ops.ones_like(like))


def is_far(before: Tensor, after: Tensor, share: float = 1.0) -> Tensor:
    """Return whether the rate is far from where a step removes its share of the slope.

    There a trial in each step pays. False if a slope is not finite, or if the first one
    is not downhill.

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
    before: Tensor, after: Tensor, raised: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the slopes of the parabola through three losses, in eta / eta_t.

    Args:
        before: L_t(w_t).
        after: L_t(w_{t+1}(eta_t)).
        raised: L_t(w_{t+1}(f eta_t)).
        factor: f.

    Returns:
        The slopes at a rate of 0 and at the rate.
    """
    # L = before + linear r + square r^2 at r = eta / eta_t.
    change, raised_change = after - before, raised - before
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
    """Return h_{t+1}, the logarithm of the factor by which the rate moves.

    Args:
        step: h_t.
        direction: d_t.
        previous: d_{t-1}; 0 in the first step, which has the smallest factor.
        smallest: log f.
        largest: h_max.
    """
    agrees = direction * previous > 0.0
    return ops.where(agrees, ops.minimum(GROWTH * step, largest), smallest)


def standard_error(mean_square: Tensor, share: Tensor) -> Tensor:
    """Return the standard error of a moving average: it is one of 2 / share values.

    Args:
        mean_square: Moving average of the squares of the deviations.
        share: Share of the last value in the averages.
    """
    return ops.sqrt(0.5 * share * mean_square)


def is_agreed(mean: Tensor, mean_square: Tensor, share: Tensor) -> Tensor:
    """Return whether the next batches descend too.

    Args:
        mean: Moving average of the slopes of the next batches along the steps.
        mean_square: That of their squares.
        share: Share of the last one.
    """
    return mean < -AGREEMENT * standard_error(mean_square, share)


def range_of_losses(
    mean: Tensor, mean_square: Tensor, share: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the range in which the mean loss lies.

    Args:
        mean: Moving average of the losses.
        mean_square: That of the squares of their deviations from the average so far.
        share: Share of the last one.
    """
    margin = MARGIN * standard_error(mean_square, share)
    return mean - margin, mean + margin


def shortening(square: Tensor, mean_square: Tensor, count: Tensor) -> Tensor:
    """Return the factor on the rate of a step: below 1 if its gradient is large.

    Args:
        square: ||g||^2.
        mean_square: Moving average of the squares before it.
        count: Number of them.
    """
    limit = LARGE**2 * mean_square
    is_known = ops.logical_and(count >= FIRST_GRADIENTS, limit > 0.0)
    is_known = ops.logical_and(is_known, ops.isfinite(square))
    is_large = ops.logical_and(is_known, square > limit)
    one = ops.ones_like(square)
    return ops.where(is_large, ops.sqrt(limit / ops.where(is_large, square, one)), one)


def lowered(value: Tensor, first: Tensor) -> Tensor:
    """Return a rate that falls, not below the one that the training started from."""
    return ops.minimum(value, ops.maximum(value * math.exp(-FALL), first))


def walked(value: Tensor, step: Tensor) -> Tensor:
    """Return a rate whose logarithm moves by a step."""
    return value * ops.exp(step)


def walked_complement(value: Tensor, step: Tensor) -> Tensor:
    """Return a momentum whose distance from 1 moves: upwards for a positive step."""
    return 1.0 - walked(1.0 - value, -step)
