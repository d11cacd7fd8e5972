r"""The range test: which learning rate to start a training from, by short trials.

Smith's test raises the rate from step to step of one training, and looks at where the
loss falls and where it climbs again. fastai's `lr_find` reads a rate off that curve:
where it falls fastest (`steepest`), a tenth of where it is lowest (`minimum`), a third
into its longest valley (`valley`), or before the slope turns (`slide`). Each point of
such a curve depends on all rates before it, and on one batch.

Here each rate of a ladder gets a trial of its own: k steps from the same weights, on
the same batches. A trial at a vanishing rate says what the losses of these batches
are without training, and the gain of a rate is by how much its losses are lower, on average
over the second half of its steps. Pairs of losses of one batch have little noise.

The ladder is climbed from the rung next to the present rate until trials end in losses
that are not finite, or two rungs gain less than `FEW` of the most, and then descended
until a rung gains less than that. The suggestion is the lowest rate which has `SHARE`
of the largest gain, interpolated between rungs: what gains most in k steps is often
too high for the rest of a training. Numbers on the host.

Sources: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017,
https://arxiv.org/abs/1506.01186, section 3.3; J. Howard and S. Gugger, fastai, 2020,
https://arxiv.org/abs/2002.04688.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

RUNGS_PER_DECADE = 2
SHARE = 0.95
"""Share of the largest gain that the suggestion has to have."""
FEW = 0.8
"""Share of the largest gain below which there is no need to look further."""
CLEAR = 2.0
"""A gain is clear if it is so many times its standard error."""

Doubt = Literal["", "no_gain", "lower_limit", "upper_limit", "uneven"]


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
        best: Trial with the largest gain.
        doubt: Why the suggestion may be wrong, or empty.
    """

    learning_rate: float
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
    enough = max(FEW * max(each.gain for each in tried), 0.0)
    bottom = rates.index(tried[0].learning_rate)
    top = rates.index(tried[-1].learning_rate)
    is_over = math.isinf(tried[-1].gain) or (
        len(tried) > 1 and all(each.gain <= enough for each in tried[-2:])
    )
    if top + 1 < len(rates) and not is_over:
        return top + 1
    is_under = enough > 0.0 and tried[0].gain < enough
    return bottom - 1 if bottom > 0 and not is_under else None


def verdict(
    trials: Sequence[Trial], rates: Sequence[float], share: float = SHARE
) -> Verdict:
    """Return the lowest rate with a share of the largest gain, and what is against it.

    Args:
        trials: All trials, of neighboring rungs, in any order.
        rates: Rates of the ladder, ascending.
        share: The share.
    """
    tried = sorted(trials, key=_rate)
    best = max(tried, key=lambda each: each.gain)
    if not best.gain > CLEAR * best.standard_error:
        chosen = best if best.gain > 0.0 else tried[0]
        return Verdict(chosen.learning_rate, best, "no_gain")
    goal = share * best.gain
    first = next(index for index, each in enumerate(tried) if each.gain >= goal)
    rate = tried[first].learning_rate
    if first > 0 and math.isfinite(tried[first - 1].gain):
        rate = _crossing(tried[first - 1], tried[first], goal)
    between = tried[first : tried.index(best)]
    if first == 0:
        doubt: Doubt = "lower_limit"
    elif best.learning_rate == rates[-1]:
        doubt = "upper_limit"
    elif any(each.gain < FEW * best.gain for each in between):
        doubt = "uneven"
    else:
        doubt = ""
    return Verdict(rate, best, doubt)


def _crossing(below: Trial, above: Trial, goal: float) -> float:
    """Return where the line between two gains, over log rates, reaches the goal."""
    share = (goal - below.gain) / (above.gain - below.gain)
    return below.learning_rate * (above.learning_rate / below.learning_rate) ** share


def _rate(trial: Trial) -> float:
    return trial.learning_rate
