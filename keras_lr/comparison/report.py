"""A comparison as one HTML file which needs no other file.

It links to the files that are written beside it.
"""

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from keras_lr.comparison.header import Facts
from keras_lr.comparison.summary import PolicySummary, not_distinguished
from keras_lr.comparison.text_table import table_cells

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto;
  padding: 0 1rem; color: #222; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }
dt { color: #666; }
dd { margin: 0; }
@media (max-width: 40rem) { dl { display: block; } dd { margin: 0 0 .4rem 1rem; } }
.wide { overflow-x: auto; }
.wide th, .wide td { white-space: nowrap; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:nth-child(2), td:nth-child(2) { text-align: left; }
tr.best td { font-weight: 600; }
tr.tie td { background: #f4f4f4; }
pre { background: #f4f4f4; padding: .6rem 1rem; overflow-x: auto; }
img { max-width: 100%; }
.note { color: #666; font-size: 0.9em; }
"""

_EXPLANATION = """Every policy started from the same weights and saw the same batches
at each seed. Mean ± standard deviation over seeds; "best" is the mean of each run's
best epoch; a gradient is that of one batch; a run has diverged if its loss or a weight
is not finite or the training loss ends above that of the initial weights; its policy
ranks below the others. Policies of one rank are equal, or within one row of the
validation data: that with the lowest validation loss is first, then the cheapest. Gray
rows cannot be told from the first one: they have its rank, or are within twice its
spread over seeds, which one seed does not have. The rates of a grid are picked and
judged on the same validation data, which flatters the best one."""

_DOCUMENTATION = """In the documentation of keras_lr, <code>docs/which_method.md</code>
says what each method costs and cannot do, <code>docs/quickstart.md</code> how to
compare on other data, and <code>docs/divergence.md</code> what a rollback is."""

_CAPTIONS = {
    "ranking": "Each dot is a run, each bar the mean of a policy; an arrow points to a "
    "run that is further away.",
    "comparison": "Mean over the seeds, and the range of the metric. Gray: the other "
    "policies.",
    "robustness": "The metric at the end over the rate that the training started from.",
}


@dataclass(frozen=True)
class Report:
    """What the page says.

    Attributes:
        table: Rows of the comparison, the best first.
        monitor: Name of the metric.
        advice: Sentences.
        code: Lines of code for the best policy, or empty.
        pictures: PNG images by their name, a key of the captions.
        facts: What was trained and how, for the head of the page.
        policies: What each policy does.
        files: Names of the files beside the page.
    """

    table: Sequence[PolicySummary]
    monitor: str
    advice: Sequence[str]
    code: str
    pictures: Mapping[str, bytes]
    facts: Facts
    policies: Facts
    files: Sequence[str]


def html_report(report: Report) -> str:
    """Return the page."""
    header, *rows = table_cells(report.table, report.monitor)
    ties = {row.policy for row in not_distinguished(report.table)}
    lines = [
        _cells(cells, "td", _standing(row, ties))
        for cells, row in zip(rows, report.table, strict=True)
    ]
    sentences = "\n".join(f"<li>{escape(sentence)}</li>" for sentence in report.advice)
    ranking, *others = (_figure(*item) for item in report.pictures.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Learning-rate policies compared</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Learning-rate policies compared</h1>
{_definitions(report.facts)}
<h2>What to use</h2>
<ul>
{sentences}
</ul>
{_code(report)}
<h2>The ranking</h2>
{ranking}
<div class="wide" tabindex="0">
<table>
{_cells(header, "th")}
{chr(10).join(lines)}
</table>
</div>
<p class="note">{_EXPLANATION}</p>
<h2>What was compared</h2>
{_definitions(report.policies)}
<h2>How they trained</h2>
{chr(10).join(others)}
<h2>Files</h2>
<p>Beside this page: {", ".join(map(_link, report.files))}.</p>
<p class="note">{_DOCUMENTATION}</p>
</body>
</html>
"""


def _code(report: Report) -> str:
    if not report.code:
        return ""
    name = escape(report.table[0].policy)
    return f"<p>To train with {name}:</p>\n<pre>{escape(report.code)}</pre>"


def _figure(name: str, picture: bytes) -> str:
    image = base64.b64encode(picture).decode("ascii")
    return (
        f'<img alt="{name}" src="data:image/png;base64,{image}">\n'
        f'<p class="note">{_CAPTIONS[name]}</p>'
    )


def _standing(row: PolicySummary, ties: Collection[str]) -> str:
    """Return the class of a row: of the first rank, not told from it, or neither."""
    names = [
        *(["best"] if row.rank == 1 and row.is_sound else []),
        *(["tie"] if row.policy in ties else []),
    ]
    return " ".join(names)


def _cells(row: Sequence[str], tag: str, standing: str = "") -> str:
    cells = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
    return f'<tr class="{standing}">{cells}</tr>' if standing else f"<tr>{cells}</tr>"


def _definitions(facts: Facts) -> str:
    lines = [
        f"<dt>{escape(title)}</dt><dd>{escape(line)}</dd>" for title, line in facts
    ]
    return "\n".join(["<dl>", *lines, "</dl>"])


def _link(name: str) -> str:
    return f'<a href="{name}">{name}</a>'
