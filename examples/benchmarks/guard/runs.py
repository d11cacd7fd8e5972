"""The command line of scripts that add rows to a CSV, and their tables on a page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "suite"))

from page import DOCS, markdown, rewrite
from rows import append, read

__all__ = ["DOCS", "append", "parser", "publish", "read"]

RESULTS = Path(__file__).resolve().parents[1] / "results"
PAGE = DOCS / "divergence.md"


def parser(
    doc: str | None, output: str, page: Path | None = None
) -> argparse.ArgumentParser:
    """Return the command line that every script has.

    Args:
        doc: Docstring of the script.
        output: Name of its CSV in `results/`.
        page: Page of its table; the one about divergence unless said otherwise.
    """
    name = (page or PAGE).name
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=RESULTS / output)
    parser.add_argument("--summary", action="store_true", help="run nothing")
    parser.add_argument("--write", action="store_true", help=f"into docs/{name}")
    return parser


def publish(
    options: argparse.Namespace,
    lines: Sequence[Sequence[str]],
    script: str,
    page: Path | None = None,
    folder: str = "guard",
) -> None:
    """Print a table, and put it on the page if that was asked for.

    Args:
        options: Options of the command line.
        lines: The table, its header first.
        script: Name of the script that makes it.
        page: The page; the one about divergence unless said otherwise.
        folder: Folder of the script.
    """
    text = markdown(lines)
    print(text)
    if options.write:
        rewrite(page or PAGE, text, script, folder)
