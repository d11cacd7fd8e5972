"""Replace a function of TensorFlow while a step is traced."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

_LOCK = threading.Lock()
# Each replaced function, and how many contexts need its substitute.
_REPLACED: dict[tuple[ModuleType, str], tuple[Callable[..., Any], int]] = {}


@contextlib.contextmanager
def substituted(
    module: ModuleType, name: str, substitute: Callable[..., Any]
) -> Iterator[None]:
    """Replace a function of a module, for every caller, in this context.

    The replicas of a strategy trace their steps in turns, each in a thread of its own,
    so that the substitute stays until the last of them is done. It must give the same
    values as the function.

    Args:
        module: Module in which Keras looks the function up at each call.
        name: Name of the function in the module.
        substitute: Function that gets the replaced one, and then the arguments of the
            call.
    """
    key = module, name
    with _LOCK:
        plain, users = _REPLACED.get(key) or (getattr(module, name), 0)
        _REPLACED[key] = plain, users + 1
        if users == 0:
            setattr(module, name, functools.partial(substitute, plain))
    try:
        yield
    finally:
        with _LOCK:
            plain, users = _REPLACED.pop(key)
            if users > 1:
                _REPLACED[key] = plain, users - 1
            else:
                setattr(module, name, plain)
