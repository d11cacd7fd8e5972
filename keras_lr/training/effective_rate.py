"""The rates that an optimizer took its last step with; read on the host."""

from typing import Any

import keras
from keras import ops

from keras_lr import _keras


def last_learning_rates(optimizer: keras.optimizers.Optimizer) -> dict[str, float]:
    """Return the optimizer's own rate of the last step, by the names Keras logs.

    A schedule gives the rate of the update that was made last, where the optimizer's
    `learning_rate` is already that of the next one. A float is the one it has now.

    Args:
        optimizer: The compiled optimizer. Several of them in a `MultiOptimizer` give a
            `learning_rate_<name>` each.
    """
    leaves = _keras.leaf_optimizers(optimizer)
    return {_key("learning_rate", leaf, leaves): _last_rate(leaf) for leaf in leaves}


def effective_learning_rates(
    optimizer: keras.optimizers.Optimizer,
) -> dict[str, float]:
    """Return what the last step of an adaptive optimizer was really taken with.

    Args:
        optimizer: The compiled optimizer.

    Returns:
        `effective_learning_rate` and `lipschitz_constant`, followed by `_<name>` if
        there are several optimizers; nothing for those that have no such rate.
    """
    leaves = _keras.leaf_optimizers(optimizer)
    return {
        _key(quantity, leaf, leaves): float(getattr(leaf, quantity))
        for leaf in leaves
        if hasattr(leaf, "effective_learning_rate")
        for quantity in ("effective_learning_rate", "lipschitz_constant")
    }


def _key(quantity: str, leaf: Any, leaves: list[Any]) -> str:
    return quantity if len(leaves) == 1 else f"{quantity}_{leaf.name}"


def _last_rate(leaf: Any) -> float:
    rate = _keras.learning_rate_variable(leaf)
    if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return _keras.to_float(leaf.learning_rate)
    # A schedule counts batches, `iterations` updates: the last batch of each group of
    # accumulated ones makes the update.
    batches = leaf.gradient_accumulation_steps or 1
    updates = ops.convert_to_tensor(leaf.iterations)
    return _keras.to_float(rate(ops.maximum(updates * batches - 1, 0)))
