"""Variables of a callback on disk, from which a fit resumes."""

import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lr._typing import Tensor

UNREADABLE = (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile)
"""Errors that reading a missing or broken file raises."""


def write(
    path: Path,
    variables: Mapping[str, keras.Variable],
    epoch: int,
    arrays: Mapping[str, np.ndarray] = {},
) -> None:
    """Write the state at the end of an epoch; all of it or, if killed, nothing.

    Args:
        path: The file.
        variables: Variables by names.
        epoch: Number of the epoch.
        arrays: Further arrays, under names that begin alike.
    """
    values: dict[str, Any] = {name: array(x.value) for name, x in variables.items()}
    write_arrays(path, {**values, **arrays, "epoch": np.asarray(epoch)})


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Replace the file by these arrays: by all of them or, if killed, by none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(partial, path)


def read(
    path: Path,
    variables: Mapping[str, keras.Variable],
    epoch: int,
    prefix: str | None = None,
    added: Sequence[str] = (),
) -> dict[str, np.ndarray] | None:
    """Set the variables to those of the end of an epoch.

    Args:
        path: The file.
        variables: Variables by names.
        epoch: Number of the epoch.
        prefix: How the names of further arrays begin; `None` if there may be none.
        added: Names that files of earlier versions lack. Those variables stay as they
            are.

    Returns:
        The further arrays, by names; `None` if the file does not hold the variables. A
        warning then says why.
    """
    try:
        arrays = read_arrays(path)
    except UNREADABLE as error:
        return _warn(path, f"it cannot be read: {error}")
    if int(arrays.pop("epoch", -1)) != epoch:
        return _warn(path, f"it is not that of epoch {epoch + 1}")
    further = {n: x for n, x in arrays.items() if prefix and n.startswith(prefix)}
    lacking = {name for name in added if name not in arrays}
    present = {n: each for n, each in variables.items() if n not in lacking}
    shapes = {name: tuple(each.shape) for name, each in present.items()}
    if shapes != {n: x.shape for n, x in arrays.items() if n not in further}:
        return _warn(path, "it belongs to another model or optimizer")
    for name, variable in present.items():
        variable.assign(arrays[name])
    return further


def read_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a file, or raise one of `UNREADABLE`."""
    # Not `np.load(path)`, which leaves a broken file open.
    with path.open("rb") as file, np.load(file) as archive:
        return dict(archive)


def array(tensor: Tensor) -> np.ndarray:
    """Return the values of a tensor in a dtype that files have."""
    values = ops.convert_to_numpy(tensor)
    # NumPy's files have no bfloat16.
    return values.astype("float32") if values.dtype == "bfloat16" else values


def _warn(path: Path, reason: str) -> None:
    warnings.warn(
        f"The fit resumes without the state in {path.name}: {reason}.", stacklevel=2
    )
