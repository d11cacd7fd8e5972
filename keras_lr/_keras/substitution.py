"""Replace a function or a gradient of TensorFlow while a step is traced."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

Gradient = Callable[..., Any]

_LOCK = threading.Lock()
_ABSENT = object()
# By namespace and name: what was there, and how many contexts need something else.
_REPLACED: dict[tuple[int, str], tuple[Any, int]] = {}


def substituted(
    module: ModuleType, name: str, substitute: Callable[..., Any]
) -> contextlib.AbstractContextManager[None]:
    """Replace a function of a module, for every caller, in this context.

    The substitute must give the same values as the function.

    Args:
        module: Module in which Keras looks the function up at each call.
        name: Name of the function in the module.
        substitute: Function that gets the replaced one, and then the arguments of the
            call.
    """
    return _replaced(
        vars(module), name, lambda plain: functools.partial(substitute, plain)
    )


@contextlib.contextmanager
def with_gradients(gradients: dict[str, Gradient]) -> Iterator[None]:
    """Replace or add gradients of TensorFlow's operations in this context.

    Args:
        gradients: By the type of the operation, a function that gets TensorFlow's
            gradient (`None` if there is none), and then what a gradient gets: the
            operation, and the gradients of its outputs.
    """
    from tensorflow.python.framework import ops

    registry = ops.gradient_registry._registry

    def entry(plain: Any, gradient: Gradient) -> dict[str, Any]:
        before = {} if plain is _ABSENT else plain
        return before | {"type": functools.partial(gradient, before.get("type"))}

    with contextlib.ExitStack() as stack:
        for name, gradient in gradients.items():
            made = functools.partial(entry, gradient=gradient)
            stack.enter_context(_replaced(registry, name, made))
        yield


@contextlib.contextmanager
def _replaced(
    namespace: dict[str, Any], name: str, make: Callable[[Any], Any]
) -> Iterator[None]:
    """Replace an entry of a namespace.

    The replicas of a strategy trace their steps in turns, each in a thread of its own,
    so that what is made from the plain entry stays until the last of them is done.
    """
    key = id(namespace), name
    with _LOCK:
        plain, users = _REPLACED.get(key) or (namespace.get(name, _ABSENT), 0)
        _REPLACED[key] = plain, users + 1
        if users == 0:
            namespace[name] = make(plain)
    try:
        yield
    finally:
        with _LOCK:
            plain, users = _REPLACED.pop(key)
            if users > 1:
                _REPLACED[key] = plain, users - 1
            elif plain is _ABSENT:
                del namespace[name]
            else:
                namespace[name] = plain
