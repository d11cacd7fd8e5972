"""The range test, with every rung of the ladder tried and NumPy's interpolation."""

import numpy as np


def gain(losses, untrained):
    """Mean difference over the second half, minus infinity if a loss is not finite."""
    if len(losses) < len(untrained) or not np.isfinite(losses).all():
        return -np.inf
    late = slice(len(untrained) // 2, None)
    return float(np.mean(np.subtract(untrained, losses)[late]))


def suggestion(rates, gains, share):
    """First crossing of a share of the largest gain, linear in the logarithm."""
    goal = share * max(gains)
    for index, each in enumerate(gains):
        if each >= goal:
            pair = [max(index - 1, 0), index]
            if index == 0 or not np.isfinite(gains[index - 1]):
                return rates[index]
            logs = np.log(np.array(rates)[pair])
            return float(np.exp(np.interp(goal, np.array(gains)[pair], logs)))
    raise AssertionError
