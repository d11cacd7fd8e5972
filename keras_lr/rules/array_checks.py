"""Checks of arrays and numbers that come from users; NumPy in float64 on the host."""

import math

import numpy as np
from numpy.typing import ArrayLike

from keras_lr._typing import FloatArray


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


def positive_number(name: str, value: float) -> float:
    """Return `value` as a float, or raise if it is not finite and positive."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(
            f"`{name}` must be finite and positive. Received: {name}={value}."
        )
    return float(value)


def positive_integer(name: str, value: int) -> int:
    """Return a whole number as an int, or raise if it is not positive."""
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value!r}."
        )
    return int(value)


def fraction(name: str, value: float) -> float:
    """Return `value` as a float, or raise if it is not between 0 and 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be between 0 and 1. Received: {name}={value}.")
    return float(value)


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise if `value` is not one of the choices."""
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. "
            f"Received: {name}={value!r}."
        )


def decay_rate(name: str, value: float) -> float:
    """Return `value` as a float, or raise if it is not from 0 to below 1."""
    if not 0 <= value < 1:
        raise ValueError(
            f"`{name}` must be from 0 to below 1. Received: {name}={value}."
        )
    return float(value)
