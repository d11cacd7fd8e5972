"""Scripts of `examples/` as modules."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@contextlib.contextmanager
def scripts_of(folder: str) -> Iterator[Callable[[str], ModuleType]]:
    """Give a function that imports a script of a folder by name; forget all after."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        # The first place that Python looks at for what a script imports.
        patch.syspath_prepend(EXAMPLES / folder)
        # Some scripts set them for their workers.
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            patch.setenv(name, "1")
        yield importlib.import_module
    for name in set(sys.modules) - before:
        path = getattr(sys.modules[name], "__file__", None) or ""
        if Path(path).is_relative_to(EXAMPLES):
            del sys.modules[name]
