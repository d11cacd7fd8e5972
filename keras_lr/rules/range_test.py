r"""The range test: which learning rate to start a training from, by short trials.

Smith's test raises the rate from step to step of one training, and looks at where the
loss falls and where it climbs again. fastai's `lr_find` reads a rate off that curve:
where it falls fastest (`steepest`), a tenth of where it is lowest (`minimum`), a third
into its longest valley (`valley`), or before the slope turns (`slide`). Each point of
such a curve depends on all rates before it, and on one batch.

Here each rate of a ladder gets a trial of its own: k steps from the same weights, on
the same batches. A trial at a vanishing rate says what the losses of these batches are
without training. The gain of a rate is by how much its losses are lower, on average
over the second half of its steps. Pairs of losses of one batch have little noise.

The ladder is climbed from the rung next to the present rate until the loss is not
finite or rungs beyond the best one are worse, and then descended likewise. The largest
gain is where a parabola through the best rung and its neighbors has its top, over the
logarithm of the rate. The suggestion is `MARGIN` times that: what gains most in k steps
is often a little too high for the rest of a training. It is not below the lowest rate
that may be tried. Numbers on the host.

Sources: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017,
https://arxiv.org/abs/1506.01186, section 3.3; J. Howard and S. Gugger, fastai, 2020,
https://arxiv.org/abs/2002.04688.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

RUNGS_PER_DECADE = 2
MARGIN = 0.7
"""Part of the rate with the largest gain that is suggested."""
ABOVE, BELOW = 2, 3
"""How many rungs on each side have to be worse than the best one."""
NEAR, FAR = 0.95, 0.8
"""Shares of the largest gain that are as good, and that are worse for certain."""
CLEAR = 2.0
"""A gain is clear if it is so many times its standard error."""

Doubt = Literal["", "no_gain", "too_high", "lower_limit", "upper_limit", "uneven"]


@dataclass(frozen=True)
class Trial:
    """What a number of steps at one rate gained.

    Attributes:
        learning_rate: The rate of all steps.
        loss: Mean training loss over the second half of the steps, NaN if a loss was
            not finite.
        gain: By how much that is lower than without training, minus infinity if a loss
            was not finite.
        standard_error: That of the gain, over batches.
    """

    learning_rate: float
    loss: float
    gain: float
    standard_error: float


@dataclass(frozen=True)
class Verdict:
    """The suggestion that trials lead to.

    Attributes:
        learning_rate: The suggested rate.
        optimum: The rate at which the gain is largest, by interpolation.
        best: Trial with the largest gain.
        doubt: Why the suggestion may be wrong, or empty.
    """

    learning_rate: float
    optimum: float
    best: Trial
    doubt: Doubt


def trial(
    learning_rate: float, losses: Sequence[float], untrained: Sequence[float]
) -> Trial:
    """Return what a trial gained.

    Args:
        learning_rate: The rate of all steps.
        losses: Loss of each batch before its step; a trial that ended early has fewer.
        untrained: Losses of the same batches without training, all of them finite.
    """
    count = len(untrained)
    if len(losses) < count or not all(map(math.isfinite, losses)):
        return Trial(learning_rate, math.nan, -math.inf, 0.0)
    late = range(count // 2, count)
    gains = [untrained[step] - losses[step] for step in late]
    mean = sum(gains) / len(late)
    loss = sum(losses[step] for step in late) / len(late)
    deviation = math.hypot(*(gain - mean for gain in gains))
    degrees = max(len(late) - 1, 1)
    return Trial(learning_rate, loss, mean, deviation / math.sqrt(degrees * len(late)))


def ladder(minimum: float, maximum: float) -> list[float]:
    """Return the rates that may be tried, from the lowest on, half a decade apart."""
    # A little more, for a quotient that is a power of ten only up to rounding.
    rungs = math.floor(RUNGS_PER_DECADE * math.log10(maximum / minimum) + 1e-6) + 1
    return [minimum * 10.0 ** (rung / RUNGS_PER_DECADE) for rung in range(rungs)]


def next_rung(
    trials: Sequence[Trial], rates: Sequence[float], present: float
) -> int | None:
    """Return which rate of the ladder to try next, `None` if there are enough trials.

    Args:
        trials: Trials so far, of neighboring rungs, in any order.
        rates: Rates of the ladder, ascending.
        present: Learning rate that the optimizer has, where the trials begin.
    """
    if not trials:
        distances = [abs(math.log(rate / present)) for rate in rates]
        return distances.index(min(distances))
    tried = sorted(trials, key=_rate)
    best = tried.index(max(tried, key=_gain))
    top = rates.index(tried[-1].learning_rate)
    is_over = math.isinf(tried[-1].gain) or len(tried) - 1 - best >= ABOVE
    if top + 1 < len(rates) and not is_over:
        return top + 1
    bottom = rates.index(tried[0].learning_rate)
    # Of rates that are all too high, one is the best too.
    is_under = best >= BELOW and tried[best].gain > 0.0
    return bottom - 1 if bottom > 0 and not is_under else None


def verdict(
    trials: Sequence[Trial], rates: Sequence[float], margin: float = MARGIN
) -> Verdict:
    """Return a part of the rate with the largest gain, and what is against it.

    Args:
        trials: All trials, of neighboring rungs, in any order.
        rates: Rates of the ladder, ascending.
        margin: The part.
    """
    tried = sorted(trials, key=_rate)
    best = max(tried, key=_gain)
    if not best.gain > CLEAR * best.standard_error:
        chosen = best if best.gain > 0.0 else tried[0]
        rate = chosen.learning_rate
        is_lowest = best.gain <= 0.0 and tried[0].learning_rate == rates[0]
        is_lost = is_lowest and _raises_loss(tried[0])
        return Verdict(rate, rate, best, "too_high" if is_lost else "no_gain")
    optimum = _optimum(tried, tried.index(best))
    if best.learning_rate == rates[0]:
        doubt: Doubt = "lower_limit"
    elif best.learning_rate == rates[-1]:
        doubt = "upper_limit"
    else:
        doubt = "uneven" if _is_uneven(tried, best) else ""
    # There is nothing to clip above: the optimum is one of the rates, or between two.
    return Verdict(max(margin * optimum, rates[0]), optimum, best, doubt)


def _raises_loss(trial: Trial) -> bool:
    """Return whether a trial ends at more than twice the loss without training."""
    untrained = trial.loss + trial.gain
    return math.isinf(trial.gain) or -trial.gain > abs(untrained)


def _optimum(tried: Sequence[Trial], best: int) -> float:
    """Return where a parabola through three gains, over log rates, has its top."""
    rate = tried[best].learning_rate
    if best in (0, len(tried) - 1):
        return rate
    # What is lost, or not finite, is no more than nothing.
    below, top, above = (max(each.gain, 0.0) for each in tried[best - 1 : best + 2])
    curvature = below - 2 * top + above
    if curvature == 0.0:
        return rate
    return rate * 10.0 ** ((below - above) / (2 * curvature) / RUNGS_PER_DECADE)


def _is_uneven(tried: Sequence[Trial], best: Trial) -> bool:
    """Return whether there is another top, as good as the best, beyond a valley."""
    place = tried.index(best)
    for side in (tried[place:], tried[place::-1]):
        far = [index for index, each in enumerate(side) if each.gain < FAR * best.gain]
        if far and any(each.gain >= NEAR * best.gain for each in side[far[0] :]):
            return True
    return False


def _rate(trial: Trial) -> float:
    return trial.learning_rate


def _gain(trial: Trial) -> float:
    return trial.gain
