"""Inputs and targets from a CSV file, for the command line."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_lr._optional import imported

# Texts of a column that become inputs of their own. A column of more is rather names,
# times or numbers of rows.
_MOST_TEXTS = 50
_MOST_NAMES = 5
# What pandas calls a first column without a name, as it writes one itself.
_ROW_NUMBERS = "Unnamed: 0"


@dataclass(frozen=True)
class Columns:
    """The columns of a file as arrays.

    Attributes:
        x: Inputs, float64 of shape `(rows, features)`.
        y: Targets, numbers or texts, of shape `(rows,)`.
        is_indicator: Whether a feature is 1 for one text of a column, and else 0.
        target: Name of the column of the targets.
    """

    x: np.ndarray
    y: np.ndarray
    is_indicator: np.ndarray
    target: str


def read_csv(path: Path, target: str | None = None) -> Columns:
    """Return the columns of a CSV file whose first line names them.

    Columns of numbers are inputs as they are. One of text becomes an input for each of
    its texts, 1 in the rows that hold it and 0 in the others. A first column without a
    name holds the numbers of the rows, and is left out.

    Args:
        path: The file.
        target: Name of the column of the targets. Defaults to `None`: the last one.

    Raises:
        ValueError: If the file cannot be used; the message names the column.
        ImportError: If pandas is missing.
    """
    frame = _read(path)
    names: list[str] = list(frame.columns)
    target = names[-1] if target is None else target
    if target not in names:
        raise ValueError(
            f"`--target` must be a column of {path}: {_listed(names)}. "
            f"Received: {target}"
        )
    y = frame[target]
    parts = [_inputs(path, frame[name]) for name in names if name != target]
    return Columns(
        x=np.concatenate([x for x, _ in parts], axis=1),
        y=y.to_numpy() if _is_numeric(y) else np.array(y.astype(str).tolist()),
        is_indicator=np.repeat(
            [is_text for _, is_text in parts], [x.shape[1] for x, _ in parts]
        ),
        target=target,
    )


def _read(path: Path) -> Any:
    """Return the data frame of a file in which each column has a value in each row."""
    pandas = imported("pandas", extra="examples", function=f"--data {path.name}")
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    try:
        with warnings.catch_warnings():
            # More values in each row than names are no reason to drop the last ones.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            frame = pandas.read_csv(
                path, skipinitialspace=True, low_memory=False, index_col=False
            )
    # Empty, of lines of different lengths, or no text at all.
    except (ValueError, pandas.errors.ParserWarning) as error:
        raise ValueError(f"The file {path} cannot be read as CSV: {error}") from error
    names = list(frame.columns)
    if len(names) < 2:
        raise ValueError(
            f"The first line of {path} must name two columns at least, separated by "
            f"commas. Received: {_listed(names)}"
        )
    if names[0] == _ROW_NUMBERS:
        frame = frame[names[1:]]
    missing = frame.isna().sum()
    gaps = [f"{name} ({count} rows)" for name, count in missing.items() if count]
    if gaps:
        raise ValueError(
            f"Each column of {path} must have a value in each row. Received: nothing, "
            f"or a text for it such as NA, in {_listed(gaps)}. Fill in the values, or "
            "leave out the rows or the columns."
        )
    return frame


def _inputs(path: Path, column: Any) -> tuple[np.ndarray, bool]:
    """Return the features of a column, and whether they are those of texts."""
    if _is_numeric(column):
        values = column.to_numpy(dtype="float64")
        if not np.isfinite(values).all():
            raise ValueError(
                f"Columns of {path} must be finite. Received: infinity in {column.name}"
            )
        return values[:, None], False
    values = np.array(column.astype(str).tolist())
    texts = np.unique(values)
    if len(texts) > _MOST_TEXTS:
        raise ValueError(
            f"A column of text in {path} must have {_MOST_TEXTS} different texts at "
            f"most, each of which becomes an input. Received: {len(texts)} in "
            f"{column.name}. Leave out that column, or turn it into numbers."
        )
    return (values[:, None] == texts).astype("float64"), True


def _is_numeric(column: Any) -> bool:
    return column.dtype.kind in "biuf"


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    rest = [f"{more} more"] if more > 0 else []
    return ", ".join([*names[:_MOST_NAMES], *rest])
