"""Optimizers: what is behind their wrappers, and their learning rates."""

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


def require_settable_learning_rate(
    optimizer: keras.optimizers.Optimizer | None, owner: str
) -> None:
    """Raise a `ValueError` unless every learning rate is a plain float.

    Args:
        optimizer: The compiled optimizer.
        owner: Name of the callback that wants to set the rate, for the message.
    """
    if optimizer is None:
        raise ValueError(
            f"`{owner}` sets the learning rate of the model's optimizer, so the model "
            "must be compiled with one. Received: optimizer=None."
        )
    for leaf in leaf_optimizers(optimizer):
        rate = leaf._learning_rate
        if not isinstance(rate, keras.Variable):
            kind = getattr(rate, "__name__", type(rate).__name__)
            raise ValueError(
                f"`{owner}` sets the learning rate, so the optimizer needs a float "
                f"`learning_rate`. Received: learning_rate=<{kind}> in {leaf.name!r}. "
                "Pass a float to the optimizer, or drop the callback."
            )


def get_learning_rates(optimizer: keras.optimizers.Optimizer) -> dict[str, float]:
    """Return the current rates under the names that Keras's own callbacks log.

    One optimizer gives `{"learning_rate": value}`; a `MultiOptimizer` gives a
    `learning_rate_<name>` for each of its optimizers.
    """
    leaves = leaf_optimizers(optimizer)
    values = [to_float(leaf.learning_rate) for leaf in leaves]
    if len(leaves) == 1:
        return {"learning_rate": values[0]}
    return {
        f"learning_rate_{leaf.name}": value
        for leaf, value in zip(leaves, values, strict=True)
    }


def to_float(value: Tensor | keras.Variable) -> float:
    """Fetch a scalar from the device."""
    # `.numpy()`, because NumPy warns about the `__array__` of TensorFlow's variables.
    return float(value.numpy() if hasattr(value, "numpy") else value)


def set_learning_rate(optimizer: keras.optimizers.Optimizer, value: float) -> None:
    """Set every leaf's learning rate from the host."""
    for leaf in leaf_optimizers(optimizer):
        leaf.learning_rate = float(value)


def learning_rate_variable(leaf: keras.optimizers.Optimizer) -> keras.Variable:
    """Return the variable that holds a leaf's rate, to be assigned inside a step."""
    return leaf._learning_rate


def set_learning_rate_schedule(
    optimizer: keras.optimizers.Optimizer,
    schedule: keras.optimizers.schedules.LearningRateSchedule,
) -> None:
    """Give a fresh optimizer a schedule instead of its float learning rate.

    Only before the first step: a traced step keeps the rate it was traced with.
    """
    for leaf in leaf_optimizers(optimizer):
        leaf.learning_rate = schedule


def replace_optimizer(
    model: keras.Model, make_optimizer: Callable[[], keras.optimizers.Optimizer]
) -> None:
    """Give a compiled model that was never trained another optimizer.

    It is wrapped for the scaling of losses as the first one was.
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
    """Let functions take the place of an optimizer's methods while a step runs.

    Args:
        optimizer: The compiled one, with its wrappers.
        **methods: By the name of a method, a function that is given what the optimizer
            had before, and then the arguments of the call.
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
    """A method that functions have taken the place of, each in its own thread.

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
