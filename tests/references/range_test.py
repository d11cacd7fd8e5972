"""The range test, with every rung of the ladder tried and NumPy's parabola."""

import numpy as np


def gain(losses, untrained):
    """Mean difference over the second half, minus infinity if a loss is not finite."""
    if len(losses) < len(untrained) or not np.isfinite(losses).all():
        return -np.inf
    late = slice(len(untrained) // 2, None)
    return float(np.mean(np.subtract(untrained, losses)[late]))


def suggestion(rates, gains, margin):
    """A part of the top of the parabola through the best rung and its neighbors."""
    best = int(np.argmax(gains))
    three = slice(best - 1, best + 2)
    logs = np.log10(rates[three])
    center = logs.mean()
    gains = np.maximum(gains[three], 0.0)
    curvature, slope, _ = np.polyfit(logs - center, gains, 2)
    return margin * 10 ** (center - slope / (2 * curvature))
