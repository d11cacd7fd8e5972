"""Let a function take the place of one of TensorFlow's while a step is traced."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

_LOCK = threading.Lock()
# What each function was, and how many want it replaced.
_REPLACED: dict[tuple[ModuleType, str], tuple[Callable[..., Any], int]] = {}


@contextlib.contextmanager
def substituted(
    module: ModuleType, name: str, substitute: Callable[..., Any]
) -> Iterator[None]:
    """Replace a function of a module, for everybody, in this context.

    The replicas of a strategy trace their steps in turns, each in a thread of its own,
    so that the substitute stays until the last of them is done. It must give the same
    values as the function.

    Args:
        module: Where Keras looks the function up at each call.
        name: Its name there.
        substitute: Is given the function, and then the arguments of the call.
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
