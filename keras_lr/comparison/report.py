"""A comparison as one HTML file which needs no other file."""

import base64
from collections.abc import Sequence
from html import escape

from keras_lr.comparison.summary import PolicySummary
from keras_lr.comparison.text_table import table_cells

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto;
  padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:nth-child(2), td:nth-child(2) { text-align: left; }
tr:nth-child(2) td { font-weight: 600; }
img { max-width: 100%; }
"""

_EXPLANATION = """Every policy started from the same weights and saw the same batches
at each seed. Mean ± standard deviation over seeds; "best" is the mean of each run's
best epoch; a gradient is that of one batch; a run has diverged if its loss or a weight
is not finite or its last training loss is above the first. The rates of a grid are
picked and judged on the same validation data, which flatters the best one."""


def html_report(
    table: Sequence[PolicySummary],
    advice: Sequence[str],
    monitor: str,
    picture: bytes,
) -> str:
    """Return the page.

    Args:
        table: Rows of the comparison, the best first.
        advice: Sentences.
        monitor: Name of the metric.
        picture: A PNG image.
    """
    header, *rows = table_cells(table, monitor)
    image = base64.b64encode(picture).decode("ascii")
    sentences = "\n".join(f"<li>{escape(sentence)}</li>" for sentence in advice)
    alternative = escape(f"{monitor} and learning rate over epochs")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Learning-rate policies compared</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Learning-rate policies compared</h1>
<ul>
{sentences}
</ul>
<img alt="{alternative}" src="data:image/png;base64,{image}">
<table>
{_cells(header, "th")}
{chr(10).join(_cells(row, "td") for row in rows)}
</table>
<p>{_EXPLANATION}</p>
</body>
</html>
"""


def _cells(row: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"
