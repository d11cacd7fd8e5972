"""The line of code that compiles a model with its optimizer at another rate."""

import inspect
from typing import Any

import keras

from keras_lr._keras import leaf_optimizers


def compile_line(optimizer: keras.optimizers.Optimizer, learning_rate: float) -> str:
    """Return the call of `compile` with the same optimizer at another rate.

    Args:
        optimizer: A compiled optimizer. What mixed precision wraps it in is left out,
            because `compile` does so again.
        learning_rate: The rate.
    """
    leaf = leaf_optimizers(optimizer)[0]
    kind = type(leaf)
    # Keras's own are imported from where users find them.
    is_keras = getattr(keras.optimizers, kind.__name__, None) is kind
    name = f"keras.optimizers.{kind.__name__}" if is_keras else kind.__name__
    words = "".join(f", {key}={value!r}" for key, value in _changed(leaf).items())
    return f"model.compile({name}({learning_rate:.3g}{words}), ...)"


def _changed(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Return the arguments that differ from the defaults of the constructor."""
    parameters = inspect.signature(type(optimizer).__init__).parameters
    defaults = {name: each.default for name, each in parameters.items()}
    return {
        name: value
        for name, value in optimizer.get_config().items()
        if name not in ("learning_rate", "name")
        and name in defaults
        and value != defaults[name]
        # Some have an empty list for `None`.
        and (value or defaults[name] is not None)
    }
