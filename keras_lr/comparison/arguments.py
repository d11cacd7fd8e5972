"""Checks of `compare_policies`'s arguments."""

from typing import Any

import keras


def check_positive(**numbers: int) -> None:
    """Raise a `ValueError` unless all are positive integers."""
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. Received: {name}={value}"
            )


def check_data(data: Any) -> None:
    """Raise a `ValueError` unless the data are two pairs of arrays of equal length."""
    pairs = isinstance(data, list | tuple) and len(data) == 2
    if not pairs or any(not isinstance(p, list | tuple) or len(p) != 2 for p in data):
        raise ValueError(
            "`data` must be `((x_train, y_train), (x_validation, y_validation))`. "
            f"Received: data of type {type(data).__name__}"
        )
    for name, pair in zip(("training", "validation"), data, strict=True):
        leaves = keras.tree.flatten(tuple(pair))
        if not all(getattr(leaf, "shape", ()) for leaf in leaves):
            raise ValueError(
                f"The {name} data must be arrays with one row for each example. "
                f"Received: {[type(leaf).__name__ for leaf in leaves]}"
            )
        lengths = [int(leaf.shape[0]) for leaf in leaves]
        if len(set(lengths)) != 1 or not lengths[0]:
            raise ValueError(
                f"The {name} inputs and targets must have the same number of rows, "
                f"at least one. Received: {lengths}"
            )


def check_callable(build_model: object) -> None:
    """Raise a `TypeError` unless it is a function."""
    if not callable(build_model) or isinstance(build_model, keras.Model):
        raise TypeError(
            "`build_model` must be a function which returns a new compiled model. "
            f"Received: build_model={build_model!r}"
        )
