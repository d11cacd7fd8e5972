"""A model of the user's own, named on the command line as `module:function`."""

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras

from keras_lr.comparison.arguments import checked_models
from keras_lr.comparison.runner import Data

_BATCH = 32
_MOST_LETTERS = 300
# Paragraphs in errors of Keras beside the one that says what is wrong.
_BESIDE = ("Exception encountered when", "Arguments received by")
_BOLD = re.compile(r"\x1b\[\d*m")


def load_model_function(name: str, data: Data) -> Callable[[], keras.Model]:
    """Return the function of this name, which was seen to build a model for the data.

    Args:
        name: `module:function`. The module may be a file in the current directory.
        data: The training and the validation data.

    Raises:
        ValueError: If there is no such function, or its model cannot be compared.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise ValueError(
            "`--model` must be `module:function`, such as my_model:build for the "
            f"function `build` in my_model.py. Received: {name}"
        )
    module = _import(module_name)
    if not hasattr(module, function_name):
        raise ValueError(
            f"`--model` must name a function. Received: {name}, but the module "
            f"{module_name} has no {function_name!r}"
        )
    function = getattr(module, function_name)
    _require_no_arguments(function, name)
    _check(function, name, data)
    return function


def _import(name: str) -> ModuleType:
    directory = os.getcwd()
    if not {"", directory} & {*sys.path}:
        sys.path.insert(0, directory)
    try:
        return importlib.import_module(name)
    # What a module runs may raise anything.
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            raise ValueError(
                f"There is no module {missing}, neither in the current directory "
                f"nor installed. Received: --model {name}:..."
            ) from error
        raise ValueError(
            f"The module {name} cannot be imported: {_described(error)}"
        ) from error


def _require_no_arguments(function: Any, name: str) -> None:
    if not callable(function) or isinstance(function, keras.Model):
        raise ValueError(
            "`--model` must name a function which returns a new compiled model. "
            f"Received: {name} of type {type(function).__name__}"
        )
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ValueError(
            "`--model` must name a function that can be called without arguments. "
            f"Received: {name}{inspect.signature(function)}"
        ) from error


def _check(function: Callable[[], Any], name: str, data: Data) -> None:
    """Build a model and evaluate it on a batch, or raise with the reason."""

    def build_model() -> Any:
        try:
            return function()
        except Exception as error:
            raise ValueError(f"`{name}` failed: {_described(error)}") from error

    try:
        model, _ = checked_models(build_model, name)
    except TypeError as error:
        raise ValueError(str(error)) from error
    x, y = (array[:_BATCH] for array in data[1][:2])
    # What is wrong in a graph is said amid the lines of Keras that made it.
    model.run_eagerly = True
    try:
        model.evaluate(x, y, verbose=0)
    except Exception as error:
        raise ValueError(
            f"The model of `{name}` must fit the data. Received: inputs of shape "
            f"{x.shape}, {x.dtype}, and targets of shape {y.shape}, {y.dtype}. "
            f"{_described(error)}"
        ) from error


def _described(error: Exception) -> str:
    """Return an error in a line."""
    paragraphs = _BOLD.sub("", str(error)).split("\n\n")
    said = [text for text in paragraphs if not text.strip().startswith(_BESIDE)]
    text = " ".join(f"{type(error).__name__}: {' '.join(said)}".split())
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."
