"""The command line of the guard's scripts, and their tables on its page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "suite"))

from page import DOCS, markdown, rewrite
from rows import append, read

__all__ = ["append", "parser", "publish", "read"]

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


def publish(
    options: argparse.Namespace, lines: Sequence[Sequence[str]], script: str
) -> None:
    """Print a table, and put it on the page if that was asked for."""
    text = markdown(lines)
    print(text)
    if options.write:
        rewrite(PAGE, text, script, "guard")
