"""Variables of a callback on disk, from which a fit resumes."""

import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

UNREADABLE = (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile)
"""Errors that reading a missing or broken file raises."""


def write(path: Path, variables: Mapping[str, keras.Variable], epoch: int) -> None:
    """Write the variables at the end of an epoch; all of them or, if killed, none."""
    arrays: dict[str, Any] = {name: _array(each) for name, each in variables.items()}
    write_arrays(path, arrays | {"epoch": np.asarray(epoch)})


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Replace the file by these arrays: by all of them or, if killed, by none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(partial, path)


def read(path: Path, variables: Mapping[str, keras.Variable], epoch: int) -> bool:
    """Set the variables to those of the end of an epoch.

    Returns:
        Whether the file holds them. If not, a warning says why.
    """
    try:
        arrays = read_arrays(path)
    except UNREADABLE as error:
        return _warn(path, f"it cannot be read: {error}")
    if int(arrays.pop("epoch", -1)) != epoch:
        return _warn(path, f"it is not that of epoch {epoch + 1}")
    shapes = {name: tuple(each.shape) for name, each in variables.items()}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        return _warn(path, "it belongs to another model or optimizer")
    for name, array in arrays.items():
        variables[name].assign(array)
    return True


def read_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a file, or raise one of `UNREADABLE`."""
    # Not `np.load(path)`, which leaves a broken file open.
    with path.open("rb") as file, np.load(file) as archive:
        return dict(archive)


def _array(variable: keras.Variable) -> np.ndarray:
    array = ops.convert_to_numpy(variable.value)
    # NumPy's files have no bfloat16.
    return array.astype("float32") if variable.dtype == "bfloat16" else array


def _warn(path: Path, reason: str) -> bool:
    warnings.warn(
        f"The fit resumes without the state in {path.name}: {reason}.", stacklevel=2
    )
    return False
