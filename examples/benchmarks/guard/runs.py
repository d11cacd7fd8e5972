"""Rows of a script in a CSV, and its table on the page about the guard."""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "suite"))

from page import DOCS, markdown, rewrite

RESULTS = Path(__file__).resolve().parents[1] / "results"
PAGE = DOCS / "divergence.md"


def parser(doc: str | None, output: str) -> argparse.ArgumentParser:
    """Return the command line that every script has.

    Args:
        doc: Docstring of the script.
        output: Name of its CSV in `results/`.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=RESULTS / output)
    parser.add_argument("--summary", action="store_true", help="run nothing")
    parser.add_argument("--write", action="store_true", help=f"into docs/{PAGE.name}")
    return parser


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of the CSV, none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append(path: Path, row: dict[str, Any]) -> None:
    """Append a row, below a header in a new CSV."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(*row.values(), flush=True)


def publish(
    options: argparse.Namespace, lines: Sequence[Sequence[str]], script: str
) -> None:
    """Print a table, and put it on the page if that was asked for."""
    text = markdown(lines)
    print(text)
    if options.write:
        rewrite(PAGE, text, script, "guard")
