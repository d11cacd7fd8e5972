"""Checks of `MARTHE`'s arguments."""

import math
from typing import Any

from keras_lr.rules.array_checks import fraction, one_of, positive_number

LEARNING_RATE = "learning_rate"


def checked(
    *, min_learning_rate: float, max_learning_rate: float, **arguments: Any
) -> dict[str, Any]:
    """Return the arguments as the callback keeps them, or raise a `ValueError`."""
    limits = ordered_limits(min_learning_rate, max_learning_rate)
    one_of("update", arguments["update"], ("log", "additive"))
    values = {
        name: CHECKS[name](name, value) if name in CHECKS else value
        for name, value in arguments.items()
    }
    limit_names = "min_learning_rate", "max_learning_rate"
    return values | dict(zip(limit_names, limits, strict=True))


def optional(check: Any) -> Any:
    """Return a check that lets `None` pass."""
    return lambda name, value: None if value is None else check(name, value)


def number_or_auto(name: str, value: float | str) -> float | str:
    """Return a number that is not negative as a float, or `"auto"`."""
    return number_or_word(name, value, "auto")


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


def discount_factor(name: str, value: float | str) -> float | str:
    """Return a number from 0 to 1 as a float, or `"adaptive"`."""
    if isinstance(value, str):
        return number_or_word(name, value, "adaptive")
    return fraction(name, value)


def positive_integer(name: str, value: int) -> int:
    """Return a positive whole number."""
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value!r}."
        )
    return int(value)


def batch_part(name: str, value: float | None) -> float | None:
    """Return a number of rows, a part of the batch between 0 and 1, or `None`."""
    if value is None:
        return None
    if isinstance(value, float):
        if not 0 < value <= 1:
            raise ValueError(
                f"`{name}` must be a number of rows, or a float above 0 and up to 1 "
                f"for a part of the batch. Received: {name}={value!r}."
            )
        return None if value == 1.0 else value
    return positive_integer(name, value)


def ordered_limits(minimum: float, maximum: float) -> tuple[float, float]:
    """Return the limits of the rate as floats, or raise unless they are in order."""
    if not 0 <= minimum < maximum < math.inf:
        raise ValueError(
            "The limits must satisfy 0 <= `min_learning_rate` < `max_learning_rate` < "
            f"inf. Received: min_learning_rate={minimum}, max_learning_rate={maximum}."
        )
    return float(minimum), float(maximum)


CHECKS = {
    "hyper_learning_rate": number_or_auto,
    "hyper_learning_rate_adaptation": number,
    "discount": discount_factor,
    "hyperparameters": learning_rate_first,
    "anneal": optional(fraction),
    "validation_batch_size": positive_integer,
    "curvature_batch_size": batch_part,
    "every": positive_integer,
    "initial_learning_rate": optional(positive_number),
}
"""By the names of the arguments; each is given name and value."""
