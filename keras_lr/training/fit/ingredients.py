"""What a fit is made from: two that are made from the same need one trace."""

from collections.abc import Collection
from pathlib import PurePath
from typing import Any

import keras

from keras_lr import _keras

PLAIN = (bool, int, float, str, PurePath, type(None))
"""Types whose values are compared, where other objects are compared by identity."""


def ingredients(
    model: keras.Model, callback: keras.callbacks.Callback, changing: Collection[str]
) -> Any:
    """Return all that a callback's fit depends on, to be compared with `==`.

    That is: the callback's arguments, the optimizer with the numbers that its traced
    step has frozen, the weights that are trained, and how the model runs its step. What
    `compile` sets beside these is left to the caller.

    Args:
        model: A built, compiled model.
        callback: Callback that makes the fit.
        changing: Names of the callback's attributes that a fit changes.
    """
    arguments = {n: v for n, v in vars(callback).items() if n not in changing}
    optimizers = [model.optimizer, *_keras.leaf_optimizers(model.optimizer)]
    return _comparable(
        [
            type(callback),
            arguments,
            optimizers,
            [_numbers(each) for each in optimizers],
            model.trainable_variables,
            model.distribute_strategy,
            (model.run_eagerly, model.jit_compile, model.steps_per_execution),
        ]
    )


def what_trains(model: keras.Model) -> list[int]:
    """Return the ids of the optimizers that own a rate, and of the trained weights.

    Two results can be compared as long as something holds the objects of the first, as
    a fit does: else an id may be that of another object.
    """
    optimizers = _keras.leaf_optimizers(model.optimizer)
    return [id(each) for each in (*optimizers, *model.trainable_variables)]


def _numbers(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    public = {n: v for n, v in vars(optimizer).items() if n[0] != "_"}
    # It is built by the fit.
    public.pop("built", None)
    return {n: v for n, v in public.items() if isinstance(v, PLAIN)}


def _comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return [(name, _comparable(each)) for name, each in value.items()]
    if isinstance(value, list | tuple):
        return [_comparable(each) for each in value]
    return value if isinstance(value, PLAIN) else _Identity(value)


class _Identity:
    """An object that equals itself alone. Arrays compare by their entries."""

    def __init__(self, value: Any) -> None:
        # It is held, so that its id is not reused.
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)
