"""Packages that only some functions need, imported where they are used."""

import importlib
from types import ModuleType


def imported(module: str, *, extra: str, function: str) -> ModuleType:
    """Return a module of an optional package, or raise with the way to install it.

    Args:
        module: Name of the module, as `"matplotlib.pyplot"`.
        extra: Extra of `keras_lr` that installs its package.
        function: Name of the public function that needs it.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"`{function}` needs {package}. "
            f'Install it with `pip install "keras_lr[{extra}]"`.'
        ) from error
