"""The ranked table as text, for terminals and reports."""

import math
from collections.abc import Sequence

from keras_lr.comparison.summary import PolicySummary

_FILE_WIDTH = 120
# A diverged loss has up to forty digits.
_LONG = 1e5


def table_cells(table: Sequence[PolicySummary], monitor: str) -> list[list[str]]:
    """Return the ranked table as rows of text, the header first."""
    header = ["", "policy", f"final {monitor}", "best", "gradients", "sec", "diverged"]
    has_failed = any(row.failed for row in table)
    rows = [[*header, "failed"] if has_failed else header]
    for row in table:
        name = row.policy + (f" ({row.note})" if row.note else "")
        spread = ""
        if not math.isnan(row.final_metric_std):
            spread = f" ± {_metric(row.final_metric_std)}"
        cells = [
            str(row.rank),
            name,
            _metric(row.final_metric) + spread,
            _metric(row.best_metric),
            _number(row.gradient_evaluations, ".0f"),
            _number(row.seconds, ".1f"),
            f"{row.diverged}/{row.runs}",
        ]
        rows.append([*cells, str(row.failed)] if has_failed else cells)
    return rows


def table_lines(table: Sequence[PolicySummary], monitor: str) -> list[str]:
    """Return the ranked table as lines of plain text."""
    rows = table_cells(table, monitor)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number == 1 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _metric(value: float) -> str:
    return _number(value, ".4f" if abs(value) < _LONG else ".4g")


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def print_table(table: Sequence[PolicySummary], monitor: str) -> None:
    """Print the ranked table, with rich if it is installed."""
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        print("\n".join(table_lines(table, monitor)))
        return
    header, *rows = table_cells(table, monitor)
    rich_table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False
    )
    for name in header:
        is_policy = name == "policy"
        rich_table.add_column(
            Text(name), justify="left" if is_policy else "right", no_wrap=is_policy
        )
    for row in rows:
        # Text, because a name in brackets is no markup.
        rich_table.add_row(*map(Text, row), style="bold" if row[0] == "1" else None)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    console.print(rich_table)
