"""Files of a KerasTuner search: written whole or not at all, set aside if broken."""

import json
import os
import threading
from collections.abc import Callable
from typing import Any

from keras_lr import _warnings


def write_json(path: str, state: Any) -> None:
    """Write a file such that a process that is killed never leaves half of it."""
    import tensorflow as tf

    # Another process may search in the same directory.
    partial = f"{path}.{os.getpid()}-{threading.get_ident()}.partial"
    with tf.io.gfile.GFile(partial, "w") as file:
        file.write(json.dumps(state))
    tf.io.gfile.rename(partial, path, overwrite=True)


def keep_if_whole(path: str, parse: Callable[[Any], Any]) -> bool:
    """Set a file aside if it is broken, and warn.

    Args:
        path: Path of a JSON file.
        parse: Function of its content. An error that it raises means broken.

    Returns:
        Whether the file is there and whole.
    """
    import tensorflow as tf

    if not tf.io.gfile.exists(path):
        return False
    try:
        with tf.io.gfile.GFile(path, "r") as file:
            parse(json.loads(file.read()))
    # A broken file may also be nested without end, or hold a number without one.
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        tf.io.gfile.rename(path, f"{path}.corrupt", overwrite=True)
        _warnings.warn(
            f"{path} cannot be read ({type(error).__name__}: {error}). It is kept as "
            f"{path}.corrupt, and the search continues without it."
        )
        return False
    return True
