"""When the losses of a training say that it diverges.

The average of the losses so far, each counting 0.9 of the next, is compared with the
first loss and with the lowest average. A training diverges if the average is not finite
or is above

    L_0 + 3 |L_0|               as long as it never was below L_0 - |L_0| / 2,
    (L_0 + lowest average) / 2  if it was: then half of what was gained is lost again.

Numbers on the host; the losses are looked at from the seventh on, since a few of small
batches say little.
"""

import dataclasses
import math

MEMORY = 0.9
# A training diverges if its average loss is that many times the first loss,
LIMIT = 4.0
# or if it had got below this part of the first loss, and has lost so much of it again.
PROGRESS = 0.5
LOSS_OF_PROGRESS = 0.5
# The weight of an average that counts: 1 - 0.9^n is above it from n = 7 on.
ENOUGH = 0.5


@dataclasses.dataclass(frozen=True)
class Losses:
    """What is known of the losses of a training.

    Attributes:
        first: Of the first step; `None` before it.
        lowest: Average so far.
        total: Of the losses since the last restart, each times 0.1 and 0.9 for every
            one that followed.
        weight: The same sum of ones.
        has_diverged: Whether one of the averages was too high.
    """

    first: float | None = None
    lowest: float = math.inf
    total: float = 0.0
    weight: float = 0.0
    has_diverged: bool = False

    def followed_by(self, loss: float) -> "Losses":
        """Return what is known after one more step."""
        first = loss if self.first is None else self.first
        total = MEMORY * self.total + (1.0 - MEMORY) * loss
        weight = MEMORY * self.weight + (1.0 - MEMORY)
        average, lowest = total / weight, min(self.lowest, first)
        is_high = False
        if weight > ENOUGH:
            lowest = min(lowest, average)
            is_high = average > limit(first, lowest)
        diverges = is_high or not math.isfinite(average)
        return Losses(first, lowest, total, weight, self.has_diverged or diverges)

    def restarted(self) -> "Losses":
        """Return what is known where a training begins anew: its first loss."""
        return Losses(self.first)


def limit(first: float, lowest: float) -> float:
    """Return the average above which a training diverges."""
    # A loss may be negative; its size is that of the first one.
    size = abs(first)
    if lowest < first - (1.0 - PROGRESS) * size:
        return lowest + LOSS_OF_PROGRESS * (first - lowest)
    return first + (LIMIT - 1.0) * size
