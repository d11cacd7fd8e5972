"""Checks of the arguments of callbacks that move the learning rate in each step."""

import math
from collections.abc import Callable, Mapping
from typing import Any

LEARNING_RATE = "learning_rate"

Check = Callable[[str, Any], Any]


def checked(
    checks: Mapping[str, Check],
    *,
    min_learning_rate: float,
    max_learning_rate: float,
    **arguments: Any,
) -> dict[str, Any]:
    """Return the arguments as the callback keeps them, or raise a `ValueError`.

    Args:
        checks: By the names of the arguments; each is given name and value.
        min_learning_rate: Lower limit of the rate.
        max_learning_rate: Upper limit.
        **arguments: The others; one without a check is kept as it is.
    """
    limits = ordered_limits(min_learning_rate, max_learning_rate)
    values = {
        name: checks[name](name, value) if name in checks else value
        for name, value in arguments.items()
    }
    limit_names = "min_learning_rate", "max_learning_rate"
    return values | dict(zip(limit_names, limits, strict=True))


def optional(check: Any) -> Any:
    """Return a check that lets `None` pass."""
    return lambda name, value: None if value is None else check(name, value)


def number(name: str, value: float) -> float:
    """Return a number that is not negative as a float."""
    if isinstance(value, str) or not (math.isfinite(value) and value >= 0):
        raise ValueError(
            f"`{name}` must be a number that is not negative. "
            f"Received: {name}={value!r}."
        )
    return float(value)


def learning_rate_first(name: str, value: Any) -> tuple[str, ...]:
    """Return names of hyperparameters as a tuple, the learning rate first."""
    names = (value,) if isinstance(value, str) else tuple(value)
    if LEARNING_RATE not in names or len(set(names)) < len(names):
        raise ValueError(
            f"`{name}` must be different names, `{LEARNING_RATE!r}` among them. "
            f"Received: {name}={value!r}."
        )
    return LEARNING_RATE, *(each for each in names if each != LEARNING_RATE)


def number_or_word(name: str, value: float | str, word: str) -> float | str:
    """Return a number that is not negative as a float, or the word."""
    if value == word:
        return word
    if isinstance(value, str) or not (math.isfinite(value) and value >= 0):
        raise ValueError(
            f"`{name}` must be {word!r} or a number that is not negative. "
            f"Received: {name}={value!r}."
        )
    return float(value)


def ordered_limits(minimum: float, maximum: float) -> tuple[float, float]:
    """Return the limits of the rate as floats, or raise unless they are in order."""
    if not 0 <= minimum < maximum < math.inf:
        raise ValueError(
            "The limits must satisfy 0 <= `min_learning_rate` < `max_learning_rate` < "
            f"inf. Received: min_learning_rate={minimum}, max_learning_rate={maximum}."
        )
    return float(minimum), float(maximum)
