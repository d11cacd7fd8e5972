"""Unwrap optimizers, replace them, and intercept their methods."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_lr._typing import Tensor


def leaf_optimizers(optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """Return the optimizers that own a learning rate, through every wrapper.

    `LossScaleOptimizer` wraps one (`mixed_float16` does it silently), `MultiOptimizer`
    several; any other optimizer is its own leaf.
    """
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None:
        return leaf_optimizers(inner)
    several = getattr(optimizer, "optimizers", None)
    if several is not None:
        return [leaf for each in several for leaf in leaf_optimizers(each)]
    return [optimizer]


def further_optimizers(model: keras.Model) -> dict[str, Any]:
    """Return the optimizers that a model holds beside the one it is compiled with.

    They are those that a training step of the user's own works with, by the names of
    the attributes. In a list, they are numbered; in a dict, they have its keys too.
    """
    known = {id(model.optimizer), *map(id, leaf_optimizers(model.optimizer))}
    return {
        name: each
        for attribute, value in vars(model).items()
        # TensorFlow's own lists of the same objects.
        if not attribute.startswith("_self_")
        for name, each in _members(attribute, value)
        if isinstance(each, keras.optimizers.Optimizer) and id(each) not in known
    }


def _members(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{name}_{key}", each) for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [(f"{name}_{number}", each) for number, each in enumerate(value)]
    return [(name, value)]


def require_single_optimizer(model: keras.Model, owner: str) -> None:
    """Raise a `ValueError` if the model has optimizers beside the compiled one.

    Args:
        model: A compiled model.
        owner: Name of the callback, for the message.
    """
    further = further_optimizers(model)
    if further:
        raise ValueError(
            f"`{owner}` sets the learning rate of one optimizer, which the model is "
            f"compiled with and takes each step by. Received: model {model.name!r} "
            f"with {', '.join(further)} beside it. Take one step for all weights by "
            "`self.optimizer`, or drop the callback: `LearningRateRecorder` records "
            "the rates of several."
        )


def to_float(value: Tensor | keras.Variable) -> float:
    """Fetch a scalar from the device."""
    # `.numpy()`, because NumPy warns about the `__array__` of TensorFlow's variables.
    return float(value.numpy() if hasattr(value, "numpy") else value)


def scalar(variable: keras.Variable) -> Any:
    """Return the value of a scalar variable: a float, in a traced step a tensor."""
    import tensorflow as tf

    is_eager = keras.backend.backend() != "tensorflow" or tf.executing_eagerly()
    return to_float(variable) if is_eager else variable.value


def replace_optimizer(
    model: keras.Model, make_optimizer: Callable[[], keras.optimizers.Optimizer]
) -> None:
    """Replace the optimizer of a compiled model that was never trained.

    The new one is wrapped for the scaling of losses as the old one was.
    """
    with model.distribute_strategy.scope():
        optimizer = make_optimizer()
        if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.optimizer = optimizer


@contextlib.contextmanager
def intercepted(
    optimizer: keras.optimizers.Optimizer, **methods: Callable[..., Any]
) -> Iterator[None]:
    """Replace methods of an optimizer by functions while a step runs.

    Args:
        optimizer: Compiled optimizer, with its wrappers.
        **methods: Functions by the names of the methods that they replace. Each gets
            the method it replaces, and then the arguments of the call.
    """
    for name, function in methods.items():
        method = optimizer.__dict__.get(name)
        if not isinstance(method, _Intercepted):
            method = _Intercepted(getattr(optimizer, name))
            # Not by assignment, which Keras would track.
            optimizer.__dict__[name] = method
        method.functions.append((threading.get_ident(), function))
    try:
        yield
    finally:
        for name, function in methods.items():
            method = optimizer.__dict__[name]
            method.functions.remove((threading.get_ident(), function))
            if not method.functions:
                del optimizer.__dict__[name]


class _Intercepted:
    """A method that functions replace, each in its own thread.

    The replicas of a strategy trace their steps in turns, and share the optimizer.
    """

    def __init__(self, plain: Callable[..., Any]) -> None:
        self.plain = plain
        self.functions: list[tuple[int, Callable[..., Any]]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = self.plain
        for thread, function in self.functions:
            if thread == threading.get_ident():
                call = functools.partial(function, call)
        return call(*args, **kwargs)


def loss_scale(optimizer: keras.optimizers.Optimizer) -> Tensor | None:
    """Return what a `LossScaleOptimizer` divides gradients by; `None` without one."""
    scale = getattr(optimizer, "dynamic_scale", None)
    return None if scale is None else scale.value


def scales_loss(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether a loss is scaled before its gradient is taken."""
    leaf = leaf_optimizers(optimizer)[0]
    return loss_scale(optimizer) is not None or leaf.loss_scale_factor is not None
