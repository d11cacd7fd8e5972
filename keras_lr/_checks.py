"""Argument checks: each returns the checked value, or raises.

Arguments are checked one by one, in constructors, so that an error names the argument
and comes before any training. Arrays become NumPy arrays in float64, on the host.
"""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from keras_lr._typing import FloatArray

Checked = TypeVar("Checked")

LEARNING_RATE = "learning_rate"
"""The hyperparameter that every method tunes; those that tune more name it first."""


def finite_array(name: str, values: ArrayLike) -> FloatArray:
    """Return `values` in float64, or raise if they are not finite numbers."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be an array of numbers. Received: {name}={values!r}."
        ) from error
    if array.size == 0:
        raise ValueError(
            f"`{name}` must not be empty. Received: {name}.shape={array.shape}."
        )
    if not np.isfinite(array).all():
        count = np.count_nonzero(~np.isfinite(array))
        raise ValueError(
            f"`{name}` must be finite. Received: {name} of shape {array.shape} with "
            f"{count} entries that are NaN or infinite. Drop or fill them."
        )
    return array


def finite_matrix(name: str, values: ArrayLike) -> FloatArray:
    """Return `values` as a float64 matrix, or raise."""
    array = finite_array(name, values)
    if array.ndim != 2:
        raise ValueError(
            f"`{name}` must be a matrix, `(rows, columns)`. "
            f"Received: {name}.shape={array.shape}."
        )
    return array


def target_matrix(name: str, values: ArrayLike, rows: int) -> FloatArray:
    """Return targets `(rows,)` or `(rows, outputs)` as a float64 matrix, or raise."""
    array = finite_array(name, values)
    if array.ndim not in (1, 2):
        raise ValueError(
            f"`{name}` must be `(examples,)` or `(examples, outputs)`. "
            f"Received: {name}.shape={array.shape}."
        )
    if len(array) != rows:
        raise ValueError(
            f"`x` and `{name}` must have the same number of rows. Received: "
            f"{rows} rows in `x` and {name}.shape={array.shape}."
        )
    return array.reshape(rows, -1)


def real(value: Any) -> float:
    """Return a number as a float; NaN, which no range holds, for anything else."""
    dtype = str(getattr(value, "dtype", ""))
    is_other = any(word in dtype for word in ("bool", "complex", "<U", "|S"))
    if isinstance(value, bool | str | bytes) or is_other or getattr(value, "ndim", 0):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def positive_number(name: str, value: float) -> float:
    """Return `value` as a float, or raise if it is not finite and positive."""
    number = real(value)
    if not 0.0 < number < math.inf:
        raise ValueError(
            f"`{name}` must be finite and positive. Received: {name}={value!r}."
        )
    return number


def positive_integer(name: str, value: Any) -> int:
    """Return a whole number as an int, or raise if it is not positive."""
    number = real(value)
    if not (number >= 1.0 and number.is_integer()):
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value!r}."
        )
    return int(value)


def nonnegative_integer(name: str, value: int) -> int:
    """Return a whole number as an int, or raise if it is negative."""
    number = real(value)
    if not (number >= 0.0 and number.is_integer()):
        raise ValueError(
            f"`{name}` must be an integer that is not negative. "
            f"Received: {name}={value!r}."
        )
    return int(value)


def fraction(name: str, value: float) -> float:
    """Return `value` as a float, or raise if it is not between 0 and 1."""
    number = real(value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(
            f"`{name}` must be between 0 and 1. Received: {name}={value!r}."
        )
    return number


def fraction_or(name: str, value: float | str, words: Sequence[str]) -> float | str:
    """Return `value` as a float, or one of the words; raise if it is neither."""
    if isinstance(value, str):
        return one_of(name, value, words)
    return fraction(name, value)


def one_of(name: str, value: str, choices: Sequence[str]) -> str:
    """Return `value`, or raise if it is not one of the choices."""
    if not (isinstance(value, str) and value in choices):
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. "
            f"Received: {name}={value!r}."
        )
    return value


def decay_rate(name: str, value: float) -> float:
    """Return `value` as a float, or raise if it is not at least 0 and below 1."""
    number = real(value)
    if not 0.0 <= number < 1.0:
        raise ValueError(
            f"`{name}` must be from 0 to below 1. Received: {name}={value!r}."
        )
    return number


def nonnegative_number(name: str, value: float) -> float:
    """Return `value` as a float, or raise if it is negative or not finite."""
    number = real(value)
    if not 0.0 <= number < math.inf:
        raise ValueError(
            f"`{name}` must be a number that is not negative. "
            f"Received: {name}={value!r}."
        )
    return number


def nonnegative_number_or(name: str, value: float | str, word: str) -> float | str:
    """Return `value` as a float, or the word; raise if it is neither."""
    if isinstance(value, str) and value == word:
        return word
    number = real(value)
    if not 0.0 <= number < math.inf:
        raise ValueError(
            f"`{name}` must be {word!r} or a number that is not negative. "
            f"Received: {name}={value!r}."
        )
    return number


def optional(
    check: Callable[[str, Any], Checked], name: str, value: Any
) -> Checked | None:
    """Return `None` unchanged, and anything else as `check` returns it."""
    return None if value is None else check(name, value)


def ordered_limits(
    minimum: float, maximum: float, *, has_floor: bool = False
) -> tuple[float, float]:
    """Return the limits of a learning rate as floats, or raise if they are not valid.

    Args:
        minimum: The lower limit.
        maximum: The upper limit.
        has_floor: Whether the lower limit must be above 0.
    """
    low, high = real(minimum), real(maximum)
    is_floor = low > 0 if has_floor else low >= 0
    if not (is_floor and low <= high < math.inf and high > 0):
        sign = "<" if has_floor else "<="
        raise ValueError(
            f"The limits must satisfy 0 {sign} `min_learning_rate` <= "
            "`max_learning_rate`, and 0 < `max_learning_rate` < inf. Received: "
            f"min_learning_rate={minimum!r}, max_learning_rate={maximum!r}."
        )
    return low, high


def learning_rate_first(name: str, value: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of hyperparameters, the learning rate first, or raise."""
    is_one = isinstance(value, str) or not isinstance(value, Iterable)
    names: tuple[Any, ...] = (value,) if is_one else tuple(value)
    are_names = all(isinstance(each, str) for each in names)
    if not are_names or LEARNING_RATE not in names or len(set(names)) < len(names):
        raise ValueError(
            f"`{name}` must be different names, `{LEARNING_RATE!r}` among them. "
            f"Received: {name}={value!r}."
        )
    return LEARNING_RATE, *(each for each in names if each != LEARNING_RATE)


def part_or_number_of_rows(name: str, value: float | None) -> float | None:
    """Return a number of rows or a part of a batch; `None` for the whole batch."""
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


def factor_above_one(name: str, value: float | str) -> float | str:
    """Return `value` as a float, or `"auto"`; raise if it is not finite and above 1."""
    if isinstance(value, str) and value == "auto":
        return "auto"
    number = real(value)
    if not 1.0 < number < math.inf:
        raise ValueError(
            f"`{name}` must be 'auto' or a number above 1. Received: {name}={value!r}."
        )
    return number


def path_or_none(name: str, value: Any) -> Any:
    """Return a path, or `None`, unchanged; raise for anything else."""
    if value is not None and not isinstance(value, str | os.PathLike):
        raise ValueError(f"`{name}` must be a path. Received: {name}={value!r}.")
    return value
