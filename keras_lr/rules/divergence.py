"""When the losses of a training say that it diverges.

Two averages of the losses so far are compared with the first loss L_0. A training
diverges if

- the fast one, each loss counting 0.9 of the next, is not finite or above
  L_0 + 3 |L_0|, from the seventh loss on;
- the slow one, each loss counting 0.97 of the next, was ever below L_0 by 0.15 |L_0|
  and by twice as much as the losses scattered around it, and has lost half of what it
  had gained, from the 23rd loss on. So does a network whose units all died: its loss is
  not high, but it stays where it began.

Numbers on the host. The first few losses of small batches say little, and L_0 may be a
high one by chance.
"""

import dataclasses
import math

FAST, SLOW = 0.9, 0.97
# A training diverges if its fast average is that many times the first loss,
LIMIT = 4.0
# or if the slow one had gained this part of the first loss,
PROGRESS = 0.15
# and so many standard deviations,
SCATTER = 2.0
# and has lost so much of it.
LOSS_OF_PROGRESS = 0.5
# The weight of an average that counts: 1 - 0.9^n is above it from n = 7 on.
ENOUGH = 0.5


@dataclasses.dataclass(frozen=True)
class Average:
    """Of losses since the last restart.

    Attributes:
        memory: What each loss counts of the next.
        total: Their weighted sum.
        weight: The same sum of ones.
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
        """Whether there are losses enough."""
        return self.weight > ENOUGH

    @property
    def value(self) -> float:
        """The average."""
        return self.total / self.weight


@dataclasses.dataclass(frozen=True)
class Losses:
    """What is known of the losses of a training.

    Attributes:
        first: Of the first step; `None` before it.
        lowest: Slow average so far.
        scatter: Standard deviation of the losses around it, by then.
        fast: The fast average.
        slow: The slow average.
        variance: The slow average of the squared deviations from it.
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
        """Return what is known where a training begins anew: its first loss."""
        return Losses(self.first)


def limit(first: float) -> float:
    """Return the fast average above which a training diverges."""
    # A loss may be negative; its size is that of the first one.
    return first + (LIMIT - 1.0) * abs(first)


def limit_of_progress(first: float, lowest: float, scatter: float) -> float:
    """Return the slow average above which a training has lost what it had gained."""
    gained = first - lowest
    if gained > max(PROGRESS * abs(first), SCATTER * scatter):
        return lowest + LOSS_OF_PROGRESS * gained
    return math.inf
