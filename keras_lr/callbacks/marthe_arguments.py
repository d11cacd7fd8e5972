"""Checks of `MARTHE`'s arguments."""

import math

from keras_lr.rules.array_checks import fraction


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


def discount_factor(value: float | str) -> float | str:
    """Return a number from 0 to 1 as a float, or `"adaptive"`."""
    if isinstance(value, str):
        return number_or_word("discount", value, "adaptive")
    return fraction("discount", value)


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
