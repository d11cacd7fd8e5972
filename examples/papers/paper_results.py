"""Rows of a CSV: one for each training, found again by what identifies it."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, str]


class Results:
    """The rows of a CSV.

    Args:
        path: Of the CSV, which need not be there.
        columns: Its header.
        identity: How many of the first columns identify a row.
    """

    def __init__(self, path: Path, columns: Sequence[str], identity: int) -> None:
        self.path, self.columns = path, tuple(columns)
        self._keys = self.columns[:identity]

    def rows(self, **wanted: str) -> list[Row]:
        """Return the rows with these values, in order."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [row for row in rows if row.items() >= wanted.items()]

    def find(self, identity: Iterable[Any]) -> Row | None:
        """Return the row of a training, `None` if it is not there."""
        wanted = dict(zip(self._keys, map(str, identity), strict=True))
        return next(iter(self.rows(**wanted)), None)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        is_new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)


def grouped(rows: Iterable[Row], by: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    """Return rows by their values in some columns, in the order of the first ones."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in by), []).append(row)
    return groups


def spread(rows: Iterable[Row], column: str, digits: int = 2) -> str:
    """Return mean and standard deviation of a column, the mean alone of one row."""
    values = np.array([float(row[column]) for row in rows])
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def markdown(header: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text(value: float) -> str:
    """Return a number as the CSV has it."""
    return f"{value:.6g}"
