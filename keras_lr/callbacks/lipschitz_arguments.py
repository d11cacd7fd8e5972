"""Checks of `LipschitzLR`'s arguments that belong together."""

import math
from typing import Any


def ordered_limits(minimum: float, maximum: float) -> tuple[float, float]:
    """Return the limits of the rate as floats, or raise unless they are in order."""
    if not 0 < minimum <= maximum < math.inf:
        raise ValueError(
            "The limits must satisfy 0 < `min_learning_rate` <= `max_learning_rate` < "
            f"inf. Received: min_learning_rate={minimum}, max_learning_rate={maximum}."
        )
    return float(minimum), float(maximum)


def require_fitting_data(source: str, data: Any, update: str) -> None:
    """Raise unless `data` is given for a forward pass once per epoch, and only then."""
    if (source == "forward_pass") != (data is not None):
        raise ValueError(
            '`data` must be given with `source="forward_pass"` and only with it. '
            f"Received: source={source!r}, data=<{type(data).__name__}>."
        )
    if source == "forward_pass" and update != "epoch":
        raise ValueError(
            '`update` must be "epoch" with `source="forward_pass"`. Received: '
            f"update={update!r}."
        )


def require_fitting_constant(constant: float | None, bound: str) -> None:
    """Raise unless a constant of the user's own is positive and strict."""
    if constant is not None and not (0 < constant < math.inf and bound == "strict"):
        raise ValueError(
            '`constant` must be a positive number, with `bound="strict"`. '
            f"Received: constant={constant}, bound={bound!r}."
        )
