"""Checks of `compare_policies`'s arguments."""

from collections.abc import Iterable
from typing import Any

import keras

from keras_lr._checks import positive_integer, real
from keras_lr._keras import (
    parts_that_train,
    require_new_model,
    require_settable_learning_rate,
)


def checked_seeds(seeds: Any) -> list[int]:
    """Return the seeds, for a number as many from 0 on, or raise a `ValueError`."""
    is_one = isinstance(seeds, str | bytes) or not isinstance(seeds, Iterable)
    if is_one or getattr(seeds, "ndim", 1) == 0:
        return list(range(positive_integer("seeds", seeds)))
    seeds = [*seeds]
    values = [real(seed) for seed in seeds]
    are_seeds = all(seed >= 0.0 and seed.is_integer() for seed in values)
    if not values or len(set(values)) < len(values) or not are_seeds:
        raise ValueError(
            "`seeds` must be a number of seeds, or different non-negative integers. "
            f"Received: seeds={seeds}"
        )
    return [int(seed) for seed in seeds]


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


def checked_models(
    build_model: Any, name: str = "build_model"
) -> tuple[keras.Model, keras.Model]:
    """Return two compiled models, or raise a `TypeError` or a `ValueError`.

    Args:
        build_model: Function which must return a new model with a float
            `learning_rate`.
        name: What messages call the function.
    """
    if not callable(build_model) or isinstance(build_model, keras.Model):
        raise TypeError(
            f"`{name}` must be a function which returns a new compiled model. "
            f"Received: {name}={build_model!r}"
        )
    model = _compiled_model(build_model, name)
    another = _compiled_model(build_model, name)
    require_new_model(name, another, parts_that_train(model))
    return model, another


def _compiled_model(build_model: Any, name: str) -> keras.Model:
    model: Any = build_model()
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`{name}` must return a `keras.Model`. Received: a {type(model).__name__}"
        )
    if not model.compiled or getattr(model, "optimizer", None) is None:
        raise ValueError(
            f"`{name}` must return a compiled model. Received: a model that is "
            "not compiled. Call `model.compile(optimizer, loss)` before returning it."
        )
    try:
        require_settable_learning_rate(model.optimizer, "compare_policies")
    except ValueError as error:
        raise ValueError(
            f"`compare_policies` sets the learning rate, so `{name}` must compile "
            "the model with a float `learning_rate`. Received: a schedule or a function"
        ) from error
    return model
