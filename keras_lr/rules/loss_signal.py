"""What the loss of a training says about its learning rate, whatever the metric says.

A loss that blew up means that the rate is too high, one that never left its initial
value mostly that it is too low. Metrics hide both: a model whose weights are NaN scores
at chance. Numbers on the host. For losses that may be negative, the shares below are
shares of the absolute value of the initial loss.
"""

import math
from collections.abc import Sequence

BLOW_UP = 0.1
"""A loss has blown up if it ends more than this share above its initial value."""
DEPARTURE = 0.1
"""A loss has never left its initial value if it is not this share below it."""
HOPE = 0.02
"""A training is given up if its loss has not fallen by this share in a quarter."""
EARLY_BATCHES = 10
"""Batches whose mean loss is still about the initial one, unless it blew up in them."""
EXPLOSION = 1.0
"""If the mean of these is more than this share above the first loss, it blew up."""


def initial_loss(first: float, early: float) -> float:
    """Return the loss before any update, of which the first batch is a poor estimate.

    An easy first batch would make a loss that never moved look as if it had blown up.

    Args:
        first: Loss of the first batch, before any update.
        early: Mean loss of the first ten batches.
    """
    if early <= first + EXPLOSION * abs(first):
        return max(first, early)
    return first


def loss_signal(initial: float, final: float) -> int:
    """Return 1 if the loss blew up, -1 if it never left its initial value, else 0.

    Args:
        initial: Loss before any update.
        final: Mean loss of the last epoch. If it is not finite, the loss blew up.
    """
    if not (math.isfinite(initial) and math.isfinite(final)):
        return 1
    if final > initial + BLOW_UP * abs(initial):
        return 1
    if final > initial - DEPARTURE * abs(initial):
        return -1
    return 0


def decision_epoch(epochs: int) -> int:
    """Return after how many epochs a training may be given up: a quarter of all.

    Never after the first one, whose mean loss is mostly that of an untrained model.
    """
    return max(2, math.ceil(epochs / 4))


def is_hopeless(initial: float, losses: Sequence[float]) -> bool:
    """Tell whether a loss, after a quarter of the epochs, is where it began.

    Ten batches are too few to recognize 2 %. So unless the loss blew up, a fall since
    the first epoch counts too.

    Args:
        initial: Loss before any update.
        losses: Mean losses of the epochs so far.
    """
    start = initial
    if loss_signal(initial, losses[0]) <= 0:
        start = max(initial, losses[0])
    return not losses[-1] <= start - HOPE * abs(start)
