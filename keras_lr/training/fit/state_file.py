"""Variables of a callback on disk, from which a fit resumes.

There are two files, the last state and the one before it: a fit that is killed between
a backup of its weights and one of this state finds here the state that belongs to the
weights, whichever was written first.
"""

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lr import _warnings
from keras_lr._typing import Tensor


class BrokenFileError(ValueError):
    """A file that does not hold what was written to it."""


ONE_WRITER = (
    "Only what wrote last can resume exactly. Give each training and each search a "
    "`backup_dir` of its own."
)
"""What follows if two write a state; see `SoleWriter`."""

UNREADABLE = (OSError, BrokenFileError)
"""Errors that reading a missing or broken file raises."""

# Says when a state was written, beside its variables.
_EPOCH, _UPDATES = "epoch", "updates"


def require_writable(directory: Path) -> None:
    """Raise a `ValueError` unless a file can be written to a `backup_dir`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ValueError(
            "`backup_dir` must be a directory that files can be written to, or a path "
            f"where there is nothing yet. Received: backup_dir={str(directory)!r} "
            f"({error}). Choose another directory, or change its permissions."
        ) from error


def write(
    path: Path,
    variables: Mapping[str, keras.Variable],
    epoch: int,
    arrays: Mapping[str, np.ndarray] = {},
    *,
    updates: int = 0,
) -> None:
    """Write the state at the end of an epoch; all of it or, if killed, nothing.

    Args:
        path: The file. What it held is found by `read` too.
        variables: Variables by names.
        epoch: Number of the epoch.
        arrays: Further arrays, under names that begin alike.
        updates: Number of updates that the optimizer has made.
    """
    values: dict[str, Any] = {name: array(x.value) for name, x in variables.items()}
    moment = {_EPOCH: np.asarray(epoch), _UPDATES: np.asarray(updates)}
    write_arrays(path, {**values, **arrays, **moment}, keeps_previous=True)


def write_arrays(
    path: Path, arrays: Mapping[str, Any], *, keeps_previous: bool = False
) -> None:
    """Replace the file by these arrays: by all of them or, if killed, by none.

    Args:
        path: The file.
        arrays: Arrays by names.
        keeps_previous: Whether the file that is replaced is kept, as `previous`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another training may write to the same directory.
    partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        if keeps_previous:
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, previous(path))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """Return where the state before the last one is."""
    return path.with_suffix(f".previous{path.suffix}")


def read(
    path: Path,
    variables: Mapping[str, keras.Variable],
    epoch: int,
    prefix: str | None = None,
    added: Sequence[str] = (),
    *,
    updates: int | None = None,
    accepts: Callable[[str, np.ndarray], bool] = lambda name, array: True,
) -> dict[str, np.ndarray] | None:
    """Set the variables to those of the end of an epoch.

    Args:
        path: The file.
        variables: Variables by names.
        epoch: Number of the epoch.
        prefix: How the names of further arrays begin; `None` if there may be none.
        added: Names that files of earlier versions lack. Those variables stay as they
            are.
        updates: Number of updates that the optimizer has made; `None` if it does not
            matter. Version 0.1.0 did not write it.
        accepts: Function of a name and an array: whether the variable can have this
            value.

    Returns:
        The further arrays, by names; `None` if no file holds the variables. A warning
        then says why.
    """
    reasons = []
    for each in (path, previous(path)):
        try:
            arrays = read_arrays(each)
        except FileNotFoundError as error:
            reasons.append(f"it cannot be read: {error}")
            continue
        except UNREADABLE as error:
            reasons.append(f"it cannot be read: {error}{_put_aside(each)}")
            continue
        number = _whole_number(arrays.pop(_EPOCH, None))
        made = _whole_number(arrays.pop(_UPDATES, None))
        further = {n: x for n, x in arrays.items() if prefix and n.startswith(prefix)}
        own = {n: x for n, x in arrays.items() if n not in further}
        wanted = {n: x for n, x in variables.items() if n in own or n not in added}
        if number != epoch:
            reasons.append(f"it is not that of epoch {epoch + 1}")
        elif made is not None and updates is not None and made != updates:
            reasons.append(
                f"it is that of {made} updates of the weights, and the restored ones "
                f"have had {updates}. It is written at the end of each epoch: so must "
                'the weights be, as by `BackupAndRestore(save_freq="epoch")`'
            )
        elif not _fit_together(wanted, own):
            reasons.append("it belongs to another model or optimizer")
        elif strange := [n for n in wanted if not accepts(n, own[n])]:
            values = ", ".join(_shown(name, own[name]) for name in strange)
            reasons.append(f"it holds {values}, which is out of range")
        else:
            for name, variable in wanted.items():
                variable.assign(own[name])
            return further
    _warnings.warn(f"The fit resumes without the state in {path.name}: {reasons[0]}.")
    return None


def read_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a file, or raise one of `UNREADABLE`."""
    # Not `np.load(path)`, which leaves a broken file open.
    with path.open("rb") as file:
        try:
            with np.load(file) as archive:
                return dict(archive)
        # A wrong byte may ask for an unknown compression, or for more memory than
        # there is: the readers raise whatever they like.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise BrokenFileError(reason) from error


def array(tensor: Tensor) -> np.ndarray:
    """Return the values of a tensor in a dtype that files have."""
    values = ops.convert_to_numpy(tensor)
    # NumPy's files have no bfloat16.
    return values.astype("float32") if values.dtype == "bfloat16" else values


def _whole_number(value: np.ndarray | None) -> int | None:
    """Return a scalar as an integer; `None` if it is no such number."""
    if value is None or value.shape or value.dtype.kind not in "iuf":
        return None
    return int(value) if np.isfinite(value) and value == int(value) else None


def _fit_together(
    variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray]
) -> bool:
    """Return whether there is an array of numbers for each variable, and no other."""
    shapes = {name: tuple(each.shape) for name, each in variables.items()}
    are_numbers = all(x.dtype.kind in "biuf" for x in arrays.values())
    return are_numbers and shapes == {name: x.shape for name, x in arrays.items()}


def _shown(name: str, value: np.ndarray) -> str:
    return f"{name}={value}" if value.size == 1 else f"a number in {name}"


def _put_aside(path: Path) -> str:
    """Rename a broken file; return how to go on about it in a message."""
    aside = path.with_name(f"{path.name}.corrupt")
    try:
        os.replace(path, aside)
    except OSError:
        return ""
    return f". It is kept as {aside.name}"
