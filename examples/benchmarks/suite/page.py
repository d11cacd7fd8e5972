"""Tables in Markdown, and where they go on a page of the documentation."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from results import CSV, LOWEST

DOCS = Path(__file__).resolve().parents[3] / "docs"
END = "<!-- end of the tables -->"


def parser(doc: str | None, results: Path = CSV) -> argparse.ArgumentParser:
    """Return the command line of a script that makes tables of runs.

    Args:
        doc: Docstring of the script.
        results: CSV of the runs, unless `--results` says another.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--page", type=Path, help="default: the one with the markers")
    return parser


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first row is the header."""
    header, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([header, "|---" * len(rows[0]) + "|", *body])


def replace_tables(page: str, tables: str, script: str, folder: str = "suite") -> str:
    """Return the page with new text between the markers of a script."""
    begin = marker(script, folder)
    before, is_there, rest = page.partition(begin)
    _, end, after = rest.partition(END)
    if not is_there or not end:
        raise ValueError(f"The page must hold the lines {begin} and {END}.")
    return f"{before}{begin}\n\n{tables}\n\n{END}{after}"


def marker(script: str, folder: str = "suite") -> str:
    """Return the line behind which the tables of a script begin."""
    path = "/".join(filter(None, ("examples/benchmarks", folder, script)))
    return f"<!-- begin of the tables made by {path} -->"


def page_with(script: str, folder: str = "suite") -> Path:
    """Return the page of benchmarks that has the markers of a script."""
    begin = marker(script, folder)
    pages = sorted(DOCS.glob("benchmarks*.md"))
    (page,) = (each for each in pages if begin in each.read_text(encoding="utf-8"))
    return page


def rewrite(page: Path | None, tables: str, script: str, folder: str = "suite") -> None:
    """Put tables between the markers of a page, `None` for the one that has them."""
    page = page or page_with(script, folder)
    text = page.read_text(encoding="utf-8")
    new = replace_tables(text, tables, script, folder)
    page.write_text(new, encoding="utf-8")


def made_from(script: str, results: Path) -> str:
    """Return how the markers name a script with a section for each of several CSVs."""
    return f"{script} from {results.name}"


def signed(value: float) -> str:
    """Return points with their sign; a number below -100 says nothing more."""
    if math.isnan(value):
        return ""
    return f"{value:+.1f}" if value > LOWEST else f"below {LOWEST}"
