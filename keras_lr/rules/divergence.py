"""Tell a training that diverges from one whose losses are noisy.

What decides are pairs: the loss of the same batch at the weights now, N_i, and at those
of a good copy, G_i. The noise of the batches is in both. With d_i = N_i - G_i a
training has diverged if

- most N_i are not finite where G_i is;
- or the d_i are on average above a threshold T, by four standard errors, and do not
  fall: half of what was gained since the beginning, T = (F - G) / 2, with the loss F at
  the initial weights, if that is more than 0.15 |F| and than twice the scatter of F;
  else T is so high that the loss is four times G, and four times F, or half as high
  again as G, and higher by eight times that scatter;
- or the weights have moved further than their own size without a lower loss.

A copy is good if the d_i after it are below 0 by two standard errors, so that the loss
at good copies only falls. Pairs cost a forward pass each, so they are made where a copy
is due and where the losses of the steps, which cost nothing, raise a suspicion: their
average is above the lowest one before by half of T, or most of them are not finite.

Where the same batch cannot be evaluated twice, the losses have to be so much higher
than those up to the last copy that the two do not overlap.

Numbers on the host.
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

FAST, SLOW = 0.9, 0.97
# Losses whose median stands for F until there are pairs at the initial weights.
FIRST = 7
# Part of the gain whose loss is a divergence, and the least gain that counts, as a part
# of F and in standard deviations of the first losses.
LOSS_OF_GAIN, LEAST_GAIN, SCATTER = 0.5, 0.15, 2.0
# Without a gain: a divergence is a loss this many times G, and F.
LIMIT = 4.0
# Or a rise by half of G, and by this many standard deviations of the first losses.
CLEAR = 8.0
# Part of T that is suspicious.
SUSPICIOUS = 0.5
# Pairs, and the standard errors that the d_i must then be above 0.
FEW, ENOUGH, MOST = 8, 16, 64
# Pairs or losses that must do at the end of a fit.
LAST = 4
SURE, VERY_SURE = 4.0, 6.0
# Standard errors that they must be below 0 after a good copy.
BETTER = 2.0
# Distance that is too far to have moved in vain, as a part of the initial weights.
FAR = 1.0
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
class Start:
    """What is known of the loss at the initial weights.

    Attributes:
        losses: Losses of batches at these weights or, at first, of the first steps.
        center: F; infinite without any.
        scatter: Standard deviation of the losses.
    """

    losses: tuple[float, ...] = ()
    center: float = math.inf
    scatter: float = 0.0

    @classmethod
    def of(cls, losses: Sequence[float]) -> "Start":
        """Return what the losses of the first steps say, where a few may be high."""
        if not losses:
            return cls()
        return cls(tuple(losses), statistics.median(losses), statistics.pstdev(losses))

    @classmethod
    def at_initial_weights(cls, losses: Sequence[float]) -> "Start":
        """Return what losses at the initial weights say."""
        return cls(tuple(losses), statistics.fmean(losses), statistics.pstdev(losses))

    def followed_by(self, loss: float) -> "Start":
        """Return what is known with one more loss, unless there are enough."""
        if len(self.losses) >= FIRST:
            return self
        return Start.of((*self.losses, loss))


@dataclasses.dataclass(frozen=True)
class Losses:
    """What is known about the losses of a training.

    Attributes:
        start: Loss at the initial weights.
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

    start: Start = Start()
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
        start, fast, slow, lowest = self.start, self.fast, self.slow, self.lowest
        if is_finite:
            start = start.followed_by(loss)
            fast, slow = fast.followed_by(loss), slow.followed_by(loss)
            if slow.counts:
                lowest = min(lowest, slow.value)
        failed = self.failed.followed_by(float(has_failed or not is_finite))
        steps = self.steps + 1
        fails = _is_most(failed) and not self.cures_nothing
        is_high = (
            steps >= self.next_look
            and fast.counts
            and _is_high(fast.value, min(lowest, start.center), start)
        )
        return Losses(
            start,
            (*self.recent, loss)[-RECENT:],
            fast,
            slow,
            lowest,
            failed,
            steps,
            self.next_look,
            self.wait,
            self.is_suspicious or fails or is_high,
            self.cures_nothing,
        )

    def cleared(self, verdict: Verdict) -> "Losses":
        """Return what is known after a suspicion that was none.

        Args:
            verdict: `"fine"` or `"not finite"`.
        """
        longest = max(WAIT, int(LONGEST_WAIT * self.steps))
        return dataclasses.replace(
            self,
            # The level of the losses has proved to be a good one.
            lowest=self.slow.value if self.slow.counts else self.lowest,
            next_look=self.steps + self.wait,
            wait=min(2 * self.wait, longest),
            failed=Average(FAST),
            is_suspicious=False,
            # Losses that are fine have gradients that are not.
            cures_nothing=self.cures_nothing
            or verdict == "not finite"
            or _is_most(self.failed),
        )

    def restarted(self) -> "Losses":
        """Return what is known after a training is rolled back."""
        return Losses(
            start=self.start, steps=self.steps, cures_nothing=self.cures_nothing
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes: numbers, lists and dicts of them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Losses":
        """Return what `to_dict` described."""
        rebuilt: dict[str, Any] = dict(values)
        for name in ("fast", "slow", "failed"):
            rebuilt[name] = Average(**values[name])
        first = values["start"]
        rebuilt["start"] = Start(
            tuple(first["losses"]), first["center"], first["scatter"]
        )
        rebuilt["recent"] = tuple(values["recent"])
        return cls(**rebuilt)


def threshold(good: float, start: Start) -> float:
    """Return T, how much the loss must have risen above a good one."""
    first = start.center
    if not math.isfinite(first):
        return (LIMIT - 1.0) * abs(good)
    gain = first - good
    if gain > max(LEAST_GAIN * abs(first), SCATTER * start.scatter):
        return LOSS_OF_GAIN * gain
    # A loss may be negative: its scale is its size.
    above = first + (LIMIT - 1.0) * abs(first)
    limit = max((LIMIT - 1.0) * abs(good), above - good)
    # Where losses scatter little, a smaller rise is clear.
    clear = max(LOSS_OF_GAIN * abs(good), CLEAR * start.scatter)
    return min(limit, clear) if len(start.losses) >= FIRST else limit


def _is_most(failed: Average) -> bool:
    return failed.counts and failed.value > 0.5


def _is_high(average: float, reference: float, start: Start) -> bool:
    return not average <= reference + SUSPICIOUS * threshold(reference, start)


def verdict_of_pairs(
    now: Sequence[float], good: Sequence[float], start: Start, enough: int = ENOUGH
) -> Verdict:
    """Return what pairs of losses of the same batches say.

    Args:
        now: N_i, losses at the weights of the training, in the order of the steps.
        good: G_i, losses at those of the good copy.
        enough: Pairs after which losses that are not high are fine.
        start: Loss at the initial weights.
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
    limit = threshold(float(np.mean(low[usable])), start)
    # One huge difference says as much as twice the limit.
    rises = np.clip(high[usable] - low[usable], -2.0 * limit, 2.0 * limit)
    mean = float(np.mean(rises))
    if mean <= limit:
        return "open" if number < enough else "fine"
    error = float(np.std(rises, ddof=1)) / math.sqrt(len(rises))
    half = len(rises) // 2
    falls = float(np.mean(rises[half:])) < 0.5 * float(np.mean(rises[:half]))
    if mean > (VERY_SURE if number < ENOUGH else SURE) * error and not falls:
        return "diverged"
    return "open" if number < MOST else "fine"


def last_verdict(now: Sequence[float], good: Sequence[float], start: Start) -> Verdict:
    """Return what few pairs say at the end of a fit: each must be above T.

    Args:
        now: N_i, losses at the weights of the training.
        good: G_i, losses at those of the good copy.
        start: Loss at the initial weights.
    """
    high, low = np.asarray(now, float), np.asarray(good, float)
    if not np.all(np.isfinite(low)):
        return "not finite"
    limit = threshold(float(np.mean(low)), start)
    return "fine" if np.any(high - low <= limit) else "diverged"


def is_better(now: Sequence[float], good: Sequence[float]) -> bool:
    """Return whether losses N_i are below the G_i, by more than chance."""
    rises = np.subtract(now, good)
    rises = rises[np.isfinite(rises)]
    if len(rises) < FEW:
        return False
    error = float(np.std(rises, ddof=1)) / math.sqrt(len(rises))
    return float(np.mean(rises)) < -BETTER * error


def verdict_without_pairs(
    now: Sequence[float], good: Sequence[float], start: Start
) -> Verdict:
    """Return what the losses say where the same batch is not evaluated twice.

    Args:
        now: Last losses of the training.
        good: Losses up to the good copy, or the training's earlier ones.
        start: Loss at the initial weights.
    """
    high, low = np.asarray(now, float), np.asarray(good, float)
    if len(high) < LAST or len(low) < LAST:
        return "open"
    if np.mean(np.isfinite(high)) < 0.5 and np.all(np.isfinite(low)):
        return "diverged"
    if not np.all(np.isfinite([*high, *low])):
        return "fine"
    rise = float(np.median(high) - np.median(low))
    is_apart = bool(np.min(high) > np.max(low))
    # From nothing but zeros, any loss is a rise.
    is_high = rise > threshold(float(np.median(low)), start) > 0.0
    return "diverged" if is_apart and is_high else "fine"
