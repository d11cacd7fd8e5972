"""Checks of `LearningRateWalk`'s arguments."""

import math

from keras_lr._checks import (
    decay_rate,
    fraction,
    one_of,
    positive_integer,
    positive_number,
)
from keras_lr.callbacks.online_arguments import learning_rate_first, optional
from keras_lr.training.walk.around_step import PROBES


def factor_above_one(name: str, value: float | str) -> float | str:
    """Return a finite number above 1 as a float, or `"auto"`."""
    if value == "auto":
        return "auto"
    if isinstance(value, str) or not 1.0 < value < math.inf:
        raise ValueError(
            f"`{name}` must be 'auto' or a number above 1. Received: {name}={value!r}."
        )
    return float(value)


def probe_name(name: str, value: str) -> str:
    """Return the name of a probe."""
    one_of(name, value, PROBES)
    return value


CHECKS = {
    "factor": factor_above_one,
    "every": optional(positive_integer),
    "probe": optional(probe_name),
    "smoothing": decay_rate,
    "hyperparameters": learning_rate_first,
    "anneal": optional(fraction),
    "initial_learning_rate": optional(positive_number),
}
"""By the names of the arguments; each is given name and value."""
