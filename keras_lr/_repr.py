"""How an object shows itself: the constructor's call, without what is left as it is."""

import inspect
import numbers
import reprlib
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import keras
import numpy as np

# Other objects equal a default only if they are it: arrays compare by their entries.
_COMPARABLE = (bool, int, float, str, tuple, type(None))


def constructor_call(made: Any) -> str:
    """Return the call that makes an object, with the arguments that are not defaults.

    Arguments are read from attributes of their names. Those that a constructor passes
    on in `**kwargs` count if `get_config` has them: it may set others itself.

    Args:
        made: An object that stores what it was made with.
    """
    arguments = ", ".join(
        f"{name}={_SHORT.repr(getattr(made, name))}"
        for name, default in _parameters(made)
        if hasattr(made, name) and not _is_default(getattr(made, name), default)
    )
    return f"{type(made).__name__}({arguments})"


def _parameters(made: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and default of each argument, in the constructor's order."""
    names: set[str] = set()
    allowed = None
    for cls in type(made).__mro__:
        if "__init__" not in vars(cls):
            continue
        # Without `self`.
        _, *parameters = inspect.signature(vars(cls)["__init__"]).parameters.values()
        passes_on = False
        for each in parameters:
            if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
                passes_on = passes_on or each.kind is each.VAR_KEYWORD
            elif each.name not in names and (allowed is None or each.name in allowed):
                names.add(each.name)
                yield each.name, each.default
        if not passes_on:
            return
        allowed = made.get_config()


def _is_default(value: Any, default: Any) -> bool:
    if value is default:
        return True
    return isinstance(value, _COMPARABLE) and bool(value == default)


class _Short(reprlib.Repr):
    """Shows data by their kind and shape, and the beginning of long lists and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxstring = 2, 4, 60

    def repr_instance(self, x: Any, level: int) -> str:
        """Return a number or a path as it is, and the kind of any other object."""
        if isinstance(x, numbers.Number | None):
            # Without NumPy's type around it.
            return repr(x.item() if isinstance(x, np.generic) else x)
        if isinstance(x, PurePath):
            return self.repr_str(str(x), level)
        if hasattr(x, "__name__"):
            return f"<{x.__name__.strip('<>')}>"
        detail = getattr(x, "shape", None)
        if detail is None and isinstance(x, keras.Layer):
            detail = x.name
        return f"<{type(x).__name__}{'' if detail is None else f' {detail}'}>"


_SHORT = _Short()
