"""What all runs of a comparison have in common, in words for a report."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_lr._keras import get_learning_rates, leaf_optimizers
from keras_lr.comparison.runner import Data, RunSettings

_MOST_LAYERS = 6
_LIBRARIES = ("keras_lr", "keras", "tensorflow")


@dataclass(frozen=True)
class Conditions:
    """What all runs of a comparison have in common.

    Attributes:
        model: The layers and the number of parameters, in a line.
        optimizer: The optimizer that the model was compiled with, and the arguments
            that are not Keras's defaults.
        learning_rate: The rate that the model was compiled with, of its first optimizer
            if it has several.
        data: The shapes of an input and of a target, in a line.
        training_rows: Number of rows of the training data.
        validation_rows: Number of rows of the validation data.
        epochs: Number of epochs of a run.
        batch_size: Number of examples in a batch.
        versions: Versions by the names of the packages.
    """

    model: str
    optimizer: str
    learning_rate: float
    data: str
    training_rows: int
    validation_rows: int
    epochs: int
    batch_size: int
    versions: Mapping[str, str] = field(default_factory=dict)


def conditions_of(model: keras.Model, data: Data, settings: RunSettings) -> Conditions:
    """Return the conditions of a comparison.

    Args:
        model: The compiled model, which has its weights.
        data: The training and the validation data.
        settings: Epochs and batch size.
    """
    (x, y, *_), (x_validation, *_) = data
    return Conditions(
        model=model_in_a_line(model),
        optimizer=" and ".join(map(_optimizer, leaf_optimizers(model.optimizer))),
        learning_rate=next(iter(get_learning_rates(model.optimizer).values())),
        data=f"inputs of shape {_shapes(x)}, targets of shape {_shapes(y)}",
        training_rows=_rows(x),
        validation_rows=_rows(x_validation),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        versions={
            name: str(getattr(sys.modules[name], "__version__", "unknown"))
            for name in _LIBRARIES
            if name in sys.modules
        },
    )


def model_in_a_line(model: keras.Model) -> str:
    """Return the class, the layers and the number of parameters of a model."""
    layers = [
        _layer(layer)
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer)
    ]
    if len(layers) > _MOST_LAYERS:
        hidden = len(layers) - _MOST_LAYERS + 1
        layers[_MOST_LAYERS - 2 : -1] = [f"{hidden} more"]
    parameters = _count(model.weights)
    trainable = _count(model.trainable_weights)
    of_them = f", {trainable:,} of them trainable" if trainable < parameters else ""
    structure = f": {', '.join(layers)}" if layers else ""
    return f"{type(model).__name__}{structure}; {parameters:,} parameters{of_them}"


def _layer(layer: keras.Layer) -> str:
    """Return the class of a layer, with its size if it has one."""
    size = getattr(layer, "units", None) or getattr(layer, "filters", None)
    name = type(layer).__name__
    return f"{name}({size})" if isinstance(size, int) else name


def _count(weights: list[Any]) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def _optimizer(optimizer: Any) -> str:
    """Return the call that makes an optimizer, without the defaults."""
    name = type(optimizer).__name__
    rate = next(iter(get_learning_rates(optimizer).values()))
    arguments = {"learning_rate": f"{rate:.3g}"}
    # Optimizers of users may need arguments, or have no configuration.
    try:
        usual = type(optimizer)().get_config()
        config = optimizer.get_config()
    except Exception:
        usual = config = {}
    for key, value in config.items():
        if key not in {"name", "learning_rate"} and value != usual.get(key):
            is_float = isinstance(value, float)
            arguments[key] = f"{value:.3g}" if is_float else repr(value)
    return f"{name}({', '.join(f'{k}={v}' for k, v in arguments.items())})"


def _shapes(arrays: Any) -> str:
    """Return the shapes of a row of each array, in words."""
    rows = [tuple(leaf.shape[1:]) for leaf in keras.tree.flatten(arrays)]
    return " and ".join(map(_shape, rows))


def _shape(row: tuple[int, ...]) -> str:
    return " x ".join(map(str, row)) or "1"


def _rows(arrays: Any) -> int:
    return int(keras.tree.flatten(arrays)[0].shape[0])
