import re

from keras_lr.comparison.advice import advice
from keras_lr.comparison.report import Report, html_report
from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.summary import summarize

# The spread of a is 0.25 / sqrt(2) = 0.18: b is within twice that, c is not.
ENDS = {"a": (1.0, 0.75), "b": (0.75, 0.5), "c": (0.25, 0.5)}


def table(seeds):
    return summarize(
        [
            RunRecord(name, seed, "val_acc", "max", {"val_acc": [ends[seed]]})
            for name, ends in ENDS.items()
            for seed in range(seeds)
        ]
    )


def page_of(rows):
    return html_report(
        Report(
            table=rows,
            monitor="val_acc",
            advice=advice(rows, "max"),
            code="",
            pictures={"ranking": b""},
            facts=[("<Data>", "x & y")],
            policies=[],
            files=["table.csv"],
        )
    )


def classes(page):
    return re.findall(r"<tr(?: class=\"(.*?)\")?><td>\d</td><td>(\w)</td>", page)


def test_policies_that_the_advice_does_not_tell_apart_are_shaded():
    rows = table(seeds=2)
    page = page_of(rows)
    assert classes(page) == [("best", "a"), ("tie", "b"), ("", "c")]
    assert "<li>Within twice its spread over seeds: b.</li>" in page


def test_one_seed_has_no_spread_to_shade_by():
    page = page_of(table(seeds=1))
    assert classes(page) == [("best", "a"), ("", "b"), ("", "c")]
    assert "With one seed, small differences mean nothing" in page


def test_facts_are_escaped():
    page = page_of(table(seeds=1))
    assert "<dt>&lt;Data&gt;</dt><dd>x &amp; y</dd>" in page


def test_page_fits_a_narrow_screen():
    page = page_of(table(seeds=1))
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    assert viewport in page
    # What does not fit scrolls in a box of its own.
    assert ".wide { overflow-x: auto; }" in page
    assert page.count("<table>") == 1
    assert '<div class="wide" tabindex="0">\n<table>' in page
