"""Learning rates of a compiled optimizer: reading and setting them."""

import math
from typing import Any

import keras
from keras import ops

from keras_lr._keras.optimizers import leaf_optimizers, to_float


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
        value = to_float(rate)
        if not 0.0 < value < math.inf:
            raise ValueError(
                f"`{owner}` starts from the optimizer's learning rate, so it must be "
                f"positive and finite. Received: learning_rate={value} in "
                f"{leaf.name!r}. Compile with a positive one."
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


def last_learning_rates(optimizer: keras.optimizers.Optimizer) -> dict[str, float]:
    """Return the optimizer's `learning_rate` of the last step, as Keras names it.

    For a schedule it is the rate of the last update, where the optimizer's
    `learning_rate` is already that of the next one. For a float it is the current one.

    Args:
        optimizer: The compiled optimizer. Several of them in a `MultiOptimizer` give a
            `learning_rate_<name>` each.
    """
    leaves = leaf_optimizers(optimizer)
    return {_key("learning_rate", leaf, leaves): _last_rate(leaf) for leaf in leaves}


def effective_learning_rates(
    optimizer: keras.optimizers.Optimizer,
) -> dict[str, float]:
    """Return the rate and the constant behind an adaptive optimizer's last step.

    Args:
        optimizer: The compiled optimizer.

    Returns:
        `effective_learning_rate` and `lipschitz_constant`, followed by `_<name>` if
        there are several optimizers; nothing for those that have no such rate.
    """
    leaves = leaf_optimizers(optimizer)
    return {
        _key(quantity, leaf, leaves): float(getattr(leaf, quantity))
        for leaf in leaves
        if hasattr(leaf, "effective_learning_rate")
        for quantity in ("effective_learning_rate", "lipschitz_constant")
    }


def _key(quantity: str, leaf: Any, leaves: list[Any]) -> str:
    return quantity if len(leaves) == 1 else f"{quantity}_{leaf.name}"


def _last_rate(leaf: Any) -> float:
    rate = learning_rate_variable(leaf)
    if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return to_float(leaf.learning_rate)
    # A schedule counts batches, `iterations` updates: the last batch of each group of
    # accumulated ones makes the update.
    batches = leaf.gradient_accumulation_steps or 1
    updates = ops.convert_to_tensor(leaf.iterations)
    return to_float(rate(ops.maximum(updates * batches - 1, 0)))
