"""What tells one model from another: its layers, their code, its losses and metrics.

Names are left out, because Keras numbers them anew in each process. What a function
does is read from its compiled code, so that comments and line numbers do not count.
Values of weights count if `build_model` gives the same ones each time: a trained model
that it loads, not what an initializer draws.
"""

import base64
import binascii
import hashlib
import inspect
import json
import marshal
import types
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_lr._keras.models import all_layers, compile_arguments

_LAYER_NAMES = ("input_layers", "output_layers", "keras_history")
_LIBRARIES = ("keras", "tensorflow", "builtins")


def array_digest(*arrays: Any) -> str:
    """Return a digest of the shapes, types and values of arrays."""
    digest = hashlib.sha256()
    for each in arrays:
        array = np.ascontiguousarray(each)
        digest.update(f"{array.shape}{array.dtype}".encode())
        # The bytes of Python objects, such as strings, are addresses.
        is_object = array.dtype.hasobject
        digest.update(repr(array.tolist()).encode() if is_object else array.tobytes())
    return digest.hexdigest()


def given_weights_digest(model: keras.Model, again: keras.Model) -> str:
    """Return a digest of the weights which are not drawn: equal in two models."""
    pairs = zip(model.get_weights(), again.get_weights(), strict=False)
    return array_digest(*(one for one, other in pairs if np.array_equal(one, other)))


def model_digests(model: keras.Model) -> dict[str, str]:
    """Return a digest of the layers, and one of what the model was compiled with."""
    compiled = compile_arguments(model)
    names = ("loss", "loss_weights", "metrics", "weighted_metrics")
    return {
        "layers": _digest([_layer(layer) for layer in (model, *all_layers(model))]),
        "losses and metrics": _digest([_value(compiled.get(each)) for each in names]),
    }


def _digest(description: Any) -> str:
    text = json.dumps(description, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _layer(layer: Any) -> Any:
    try:
        with warnings.catch_warnings():
            # Keras warns of lambdas, which it could not load safely.
            warnings.simplefilter("ignore")
            described = _config(layer.get_config(), {})
    # Layers of users raise what their code raises; Keras's own NotImplementedError.
    except Exception:
        described = {
            key: _value(value, int(isinstance(value, types.FunctionType)))
            for key, value in vars(layer).items()
            if key != "name" and not key.startswith("_")
        }
    return [_class(type(layer)), described]


def _config(config: Any, numbers: Mapping[str, int]) -> Any:
    """Return a configuration with layers by number, and lambdas by their code."""
    if isinstance(config, Mapping):
        if config.get("class_name") == "DTypePolicy":
            return config["config"]["name"]
        numbers = _numbers(config) or numbers
        return {
            str(key): _numbered(value, numbers)
            if key in _LAYER_NAMES
            else _config(value, numbers)
            for key, value in config.items()
            if key != "name"
        }
    if isinstance(config, list | tuple):
        code = _code_in(config)
        return [_config(each, numbers) for each in config] if code is None else code
    return _value(config)


def _numbers(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the place of each layer of a graph by its name."""
    layers = config.get("layers")
    if not isinstance(layers, list):
        return {}
    return {
        layer["name"]: number
        for number, layer in enumerate(layers)
        if isinstance(layer, Mapping) and "name" in layer
    }


def _numbered(value: Any, numbers: Mapping[str, int]) -> Any:
    """Return places in the graph with the numbers of layers for their names."""
    if isinstance(value, Mapping):
        return {str(key): _numbered(each, numbers) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_numbered(each, numbers) for each in value]
    return numbers.get(value, value) if isinstance(value, str) else _value(value)


def _code_in(config: list[Any] | tuple[Any, ...]) -> Any:
    """Return the description of a lambda in the form that Keras saves it in."""
    if len(config) != 3 or not isinstance(config[0], str):
        return None
    try:
        code = marshal.loads(base64.b64decode(config[0]))
    except (binascii.Error, ValueError, EOFError, TypeError):
        return None
    if not isinstance(code, types.CodeType):
        return None
    return [_code(code), *(_value(each) for each in config[1:])]


def _value(value: Any, depth: int = 2) -> Any:
    """Return something that `json` can write, equal for what does the same."""
    match value:
        case None | bool() | int() | float() | str():
            described = value
        case Mapping():
            described = {str(key): _value(each, depth) for key, each in value.items()}
        case list() | tuple():
            described = [_value(each, depth) for each in value]
        case keras.layers.Layer():
            described = _layer(value)
        case np.ndarray() | np.generic():
            described = array_digest(value)
        case types.FunctionType() if depth:
            described = _function(value, depth - 1)
        case type() if depth:
            described = _class(value)
        case types.FunctionType() | type():
            # A function may be among the variables of its own closure.
            described = value.__qualname__
        case _ if depth and hasattr(value, "__dict__"):
            members = {
                key: _value(each, depth - 1)
                for key, each in vars(value).items()
                if key not in ("name", "_name")
            }
            described = [_class(type(value)), members]
        case _:
            described = type(value).__qualname__
    return described


def _class(cls: type) -> Any:
    """Return the name of a class, and the code of all that is not a library's."""
    classes = [each for each in inspect.getmro(cls) if not _is_of_library(each)]
    members = [
        {name: _member(value) for name, value in vars(each).items()} for each in classes
    ]
    return (
        [cls.__qualname__, members] if classes else f"{cls.__module__}.{cls.__name__}"
    )


def _member(value: Any) -> Any:
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__func__", value)
    if isinstance(value, types.FunctionType):
        return _function(inspect.unwrap(value))
    return value if isinstance(value, bool | int | float) else None


def _function(function: types.FunctionType, depth: int = 1) -> Any:
    if _is_of_library(function):
        return f"{function.__module__}.{function.__qualname__}"
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_set(cell)]
    return [
        _code(function.__code__),
        _value(function.__defaults__, depth),
        _value(function.__kwdefaults__, depth),
        # `super()` has its class there.
        [_value(each, 0 if isinstance(each, type) else depth) for each in cells],
    ]


def _is_set(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - empty cells raise.
    except ValueError:
        return False
    return True


def _code(code: types.CodeType) -> Any:
    return [
        code.co_code.hex(),
        list(code.co_names),
        [_constant(each) for each in code.co_consts],
    ]


def _constant(constant: Any) -> Any:
    if isinstance(constant, types.CodeType):
        return _code(constant)
    if isinstance(constant, frozenset):
        return sorted(map(repr, constant))
    return repr(constant)


def _is_of_library(item: Any) -> bool:
    return (item.__module__ or "").split(".")[0] in _LIBRARIES
