"""Pieces of HTML that notebooks show for results."""

from collections.abc import Sequence
from html import escape


def paragraph(text: str) -> str:
    """Return a paragraph, empty for no text."""
    return f"<p>{escape(text)}</p>" if text else ""


def code(text: str) -> str:
    """Return lines of code, empty for none."""
    return f"<pre>{escape(text)}</pre>" if text else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table.

    Args:
        header: Names of the columns.
        rows: Cells of each row.
    """
    top = "".join(f"<th>{escape(each)}</th>" for each in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def folded(title: str, content: str) -> str:
    """Return content that a click on its title shows.

    Args:
        title: Text of the title.
        content: HTML.
    """
    return f"<details><summary>{escape(title)}</summary>{content}</details>"
