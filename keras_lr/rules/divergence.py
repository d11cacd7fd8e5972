"""Tell a training that diverges from one whose losses are noisy.

In two stages. The losses of the steps, which cost nothing, raise a suspicion: their
average is above the lowest one before by half of what would be a divergence, or most of
them are not finite. Then pairs decide: the loss of the same batch at the weights now,
N_i, and at those of the last good copy, G_i. The noise of the batches is in both. With
d_i = N_i - G_i a training has diverged if

- most N_i are not finite where G_i is;
- or the d_i are on average above a threshold T, by four standard errors, and do not
  fall: half of what was gained since the first losses F, T = (F - G) / 2, if that is
  more than 0.15 |F| and than twice the scatter of the first losses; else T is so high
  that the loss is four times G, and four times F.

Where the same batch cannot be evaluated twice, the losses have to be so much higher
than those up to the good copy that the two do not overlap.

Numbers on the host.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

FAST, SLOW = 0.9, 0.97
# Losses whose median is F.
FIRST = 7
# Part of the gain whose loss is a divergence, and the least gain that counts, as a part
# of F and in standard deviations of the first losses.
LOSS_OF_GAIN, LEAST_GAIN, SCATTER = 0.5, 0.15, 2.0
# Without a gain: a divergence is a loss this many times G, and F.
LIMIT = 4.0
# Part of T that is suspicious.
SUSPICIOUS = 0.5
# Pairs, and the standard errors that the d_i must then be above 0.
FEW, ENOUGH, MOST = 8, 16, 64
SURE, VERY_SURE = 4.0, 6.0
# Steps without a suspicion after one that was none: twice as many each time, up to a
# part of the steps so far.
WAIT, LONGEST_WAIT = 32, 0.125
# Weight from which an average is used: 1 - 0.9^n is above it from n = 7 on.
ENOUGH_WEIGHT = 0.5
# Losses on each side where there are no pairs.
RECENT = 16

Verdict = Literal["diverged", "fine", "not finite", "open"]
"""`"not finite"`: neither are the losses at the good weights, so no rate cures it.
`"open"`: more pairs are needed."""


@dataclasses.dataclass(frozen=True)
class Average:
    """Exponentially weighted average of the losses since the last restart.

    Attributes:
        memory: Decay of the average.
        total: Weighted sum of the losses.
        weight: Sum of the weights.
    """

    memory: float
    total: float = 0.0
    weight: float = 0.0

    def followed_by(self, loss: float) -> "Average":
        """Return the average with one more loss."""
        total = self.memory * self.total + (1.0 - self.memory) * loss
        weight = self.memory * self.weight + (1.0 - self.memory)
        return Average(self.memory, total, weight)

    @property
    def counts(self) -> bool:
        """Whether there are enough losses to use it."""
        return self.weight > ENOUGH_WEIGHT

    @property
    def value(self) -> float:
        """The average."""
        return self.total / self.weight


@dataclasses.dataclass(frozen=True)
class Losses:
    """What is known about the losses of a training.

    Attributes:
        first: The first finite losses, up to `FIRST`.
        recent: The last losses since the last restart, up to `RECENT`.
        fast: Fast average of the finite losses.
        slow: Slow average of the finite losses.
        lowest: Lowest slow average since the last restart or false suspicion.
        failed: Fast average of 1 for each step without a finite loss and gradient, and
            0 for the others.
        steps: Number of steps.
        next_look: Step from which on an average may be suspicious.
        wait: Steps to wait after the next false suspicion.
        is_suspicious: Whether the training may have diverged.
        cures_nothing: Whether losses that are not finite are known to be no matter of
            the rate.
    """

    first: tuple[float, ...] = ()
    recent: tuple[float, ...] = ()
    fast: Average = Average(FAST)
    slow: Average = Average(SLOW)
    lowest: float = math.inf
    failed: Average = Average(FAST)
    steps: int = 0
    next_look: int = 0
    wait: int = WAIT
    is_suspicious: bool = False
    cures_nothing: bool = False

    def followed_by(self, loss: float, *, has_failed: bool = False) -> "Losses":
        """Return what is known after one more step.

        Args:
            loss: Loss of the step.
            has_failed: Whether the step had a gradient that was not finite.
        """
        is_finite = math.isfinite(loss)
        first, fast, slow, lowest = self.first, self.fast, self.slow, self.lowest
        if is_finite:
            first = first if len(first) == FIRST else (*first, loss)
            fast, slow = fast.followed_by(loss), slow.followed_by(loss)
            if slow.counts:
                lowest = min(lowest, slow.value)
        after = dataclasses.replace(
            self,
            first=first,
            recent=(*self.recent, loss)[-RECENT:],
            fast=fast,
            slow=slow,
            lowest=lowest,
            failed=self.failed.followed_by(float(has_failed or not is_finite)),
            steps=self.steps + 1,
        )
        is_suspicious = self.is_suspicious or after._is_high() or after._fails()
        return dataclasses.replace(after, is_suspicious=is_suspicious)

    def _is_high(self) -> bool:
        if self.steps < self.next_look or not self.fast.counts:
            return False
        reference = min(self.lowest, center(self.first))
        limit = reference + SUSPICIOUS * threshold(reference, self.first)
        return not self.fast.value <= limit

    def _fails(self) -> bool:
        mostly = self.failed.counts and self.failed.value > 0.5
        return mostly and not self.cures_nothing

    def cleared(self, verdict: Verdict) -> "Losses":
        """Return what is known after a suspicion that was none."""
        longest = max(WAIT, int(LONGEST_WAIT * self.steps))
        return dataclasses.replace(
            self,
            # The level of the losses has proved to be a good one.
            lowest=self.slow.value if self.slow.counts else self.lowest,
            next_look=self.steps + self.wait,
            wait=min(2 * self.wait, longest),
            failed=Average(FAST),
            is_suspicious=False,
            cures_nothing=self.cures_nothing or verdict == "not finite",
        )

    def restarted(self) -> "Losses":
        """Return what is known after a training is rolled back."""
        return Losses(
            first=self.first, steps=self.steps, cures_nothing=self.cures_nothing
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes: numbers, lists and dicts of them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Losses":
        """Return what `to_dict` described."""
        averages = {n: Average(**values[n]) for n in ("fast", "slow", "failed")}
        lists = {n: tuple(values[n]) for n in ("first", "recent")}
        return cls(**{**values, **averages, **lists})


def center(first: Sequence[float]) -> float:
    """Return F, the median of the first losses; infinite if there are none."""
    return float(np.median(first)) if first else math.inf


def threshold(good: float, first: Sequence[float]) -> float:
    """Return T, how much the loss must have risen above a good one."""
    start = center(first)
    if not math.isfinite(start):
        return (LIMIT - 1.0) * abs(good)
    gain = start - good
    if gain > max(LEAST_GAIN * abs(start), SCATTER * float(np.std(first))):
        return LOSS_OF_GAIN * gain
    # A loss may be negative: its scale is its size.
    above = start + (LIMIT - 1.0) * abs(start)
    return max((LIMIT - 1.0) * abs(good), above - good)


def verdict_of_pairs(
    now: Sequence[float], good: Sequence[float], first: Sequence[float]
) -> Verdict:
    """Return what pairs of losses of the same batches say.

    Args:
        now: N_i, losses at the weights of the training, in the order of the steps.
        good: G_i, losses at those of the good copy.
        first: First losses of the training.
    """
    high, low = np.asarray(now, float), np.asarray(good, float)
    number = len(high)
    if number < FEW:
        return "open"
    usable = np.isfinite(low)
    if np.mean(usable) < 0.5:
        return "not finite"
    if np.mean(np.isfinite(high[usable])) < 0.5:
        return "diverged"
    usable &= np.isfinite(high)
    limit = threshold(float(np.mean(low[usable])), first)
    # One huge difference says as much as twice the limit.
    rises = np.clip(high[usable] - low[usable], -2.0 * limit, 2.0 * limit)
    mean = float(np.mean(rises))
    if mean <= limit:
        return "open" if number < ENOUGH else "fine"
    error = float(np.std(rises, ddof=1)) / math.sqrt(len(rises))
    half = len(rises) // 2
    falls = float(np.mean(rises[half:])) < 0.5 * float(np.mean(rises[:half]))
    if mean > (VERY_SURE if number < ENOUGH else SURE) * error and not falls:
        return "diverged"
    return "open" if number < MOST else "fine"


def verdict_without_pairs(
    now: Sequence[float], good: Sequence[float], first: Sequence[float]
) -> Verdict:
    """Return what the losses say where the same batch is not evaluated twice.

    Args:
        now: Last losses of the training.
        good: Losses up to the good copy, or the training's earlier ones.
        first: First losses of the training.
    """
    high, low = np.asarray(now, float), np.asarray(good, float)
    if len(high) < FEW // 2 or len(low) < FEW // 2:
        return "open"
    if np.mean(np.isfinite(high)) < 0.5 and np.all(np.isfinite(low)):
        return "diverged"
    if not np.all(np.isfinite([*high, *low])):
        return "fine"
    rise = float(np.median(high) - np.median(low))
    is_apart = bool(np.min(high) > np.max(low))
    is_high = rise > threshold(float(np.median(low)), first)
    return "diverged" if is_apart and is_high else "fine"
