"""Checks of `MARTHE`'s arguments."""

from keras_lr._checks import fraction, one_of, positive_integer, positive_number
from keras_lr.callbacks.online_arguments import (
    learning_rate_first,
    number,
    number_or_word,
    optional,
)


def number_or_auto(name: str, value: float | str) -> float | str:
    """Return a number that is not negative as a float, or `"auto"`."""
    return number_or_word(name, value, "auto")


def discount_factor(name: str, value: float | str) -> float | str:
    """Return a number from 0 to 1 as a float, or `"adaptive"`."""
    if isinstance(value, str):
        return number_or_word(name, value, "adaptive")
    return fraction(name, value)


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


def update_name(name: str, value: str) -> str:
    """Return the name of an update."""
    one_of(name, value, ("log", "additive"))
    return value


CHECKS = {
    "update": update_name,
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
