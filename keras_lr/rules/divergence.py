"""Tell from the losses of a training whether it diverges.

Two averages of the losses so far are compared with the first loss L_0. A training
diverges if

- the fast one, with a decay of 0.9, is not finite or above L_0 + 3 |L_0|, from the
  seventh loss on;
- the slow one, with a decay of 0.97, was ever below L_0 by 0.15 |L_0| and by twice the
  scatter of the losses around it, and has lost half of what it had gained, from the
  23rd loss on. This also catches a network whose units all died: its loss is not high,
  but stays where it began.

Numbers on the host. The first few losses of small batches say little, and L_0 may be
high by chance.
"""

import dataclasses
import math

FAST, SLOW = 0.9, 0.97
# A training diverges if its fast average is this many times the first loss,
LIMIT = 4.0
# or if the slow one had fallen by this part of the first loss,
PROGRESS = 0.15
# and by this many standard deviations,
SCATTER = 2.0
# and has lost this part of the gain.
LOSS_OF_PROGRESS = 0.5
# Weight from which an average is used: 1 - 0.9^n is above it from n = 7 on.
ENOUGH = 0.5


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
        return self.weight > ENOUGH

    @property
    def value(self) -> float:
        """The average."""
        return self.total / self.weight


@dataclasses.dataclass(frozen=True)
class Losses:
    """What is known about the losses of a training.

    Attributes:
        first: Loss of the first step; `None` before it.
        lowest: Lowest slow average so far.
        scatter: Standard deviation of the losses at the lowest slow average.
        fast: Fast average of the losses.
        slow: Slow average of the losses.
        variance: Slow average of the squared deviations from the slow average.
        has_diverged: Whether one of the averages was too high.
    """

    first: float | None = None
    lowest: float = math.inf
    scatter: float = 0.0
    fast: Average = Average(FAST)
    slow: Average = Average(SLOW)
    variance: Average = Average(SLOW)
    has_diverged: bool = False

    def followed_by(self, loss: float) -> "Losses":
        """Return what is known after one more step."""
        first = loss if self.first is None else self.first
        fast, slow = self.fast.followed_by(loss), self.slow.followed_by(loss)
        variance = self.variance.followed_by((loss - slow.value) ** 2)
        lowest, scatter = self.lowest, self.scatter
        if slow.counts and slow.value < lowest:
            lowest, scatter = slow.value, math.sqrt(variance.value)
        diverges = (
            not math.isfinite(fast.value)
            or (fast.counts and fast.value > limit(first))
            or (slow.counts and slow.value > limit_of_progress(first, lowest, scatter))
        )
        averages = fast, slow, variance
        has_diverged = self.has_diverged or diverges
        return Losses(first, lowest, scatter, *averages, has_diverged)

    def restarted(self) -> "Losses":
        """Return what is known after a training is rolled back: its first loss."""
        return Losses(self.first)


def limit(first: float) -> float:
    """Return the fast average above which a training diverges."""
    # A loss may be negative: its scale is the size of the first one.
    return first + (LIMIT - 1.0) * abs(first)


def limit_of_progress(first: float, lowest: float, scatter: float) -> float:
    """Return the slow average above which a training has lost what it had gained."""
    gained = first - lowest
    if gained > max(PROGRESS * abs(first), SCATTER * scatter):
        return lowest + LOSS_OF_PROGRESS * gained
    return math.inf
