"""Files of a KerasTuner search: written whole or not at all, put aside if broken."""

import json
import warnings
from collections.abc import Callable
from typing import Any


def write_json(path: str, state: Any) -> None:
    """Write a file that a process which is killed never leaves half written."""
    import tensorflow as tf

    partial = f"{path}.partial"
    with tf.io.gfile.GFile(partial, "w") as file:
        file.write(json.dumps(state))
    tf.io.gfile.rename(partial, path, overwrite=True)


def is_readable(path: str, parse: Callable[[Any], Any]) -> bool:
    """Tell whether a file is there and whole; a broken one is put aside.

    Args:
        path: Of a JSON file.
        parse: Called with what is in it; any error that it raises means broken.
    """
    import tensorflow as tf

    if not tf.io.gfile.exists(path):
        return False
    try:
        with tf.io.gfile.GFile(path, "r") as file:
            parse(json.loads(file.read()))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        tf.io.gfile.rename(path, f"{path}.corrupt", overwrite=True)
        warnings.warn(
            f"{path} cannot be read ({type(error).__name__}: {error}). It is kept as "
            f"{path}.corrupt, and the search goes on without it.",
            stacklevel=2,
        )
        return False
    return True
