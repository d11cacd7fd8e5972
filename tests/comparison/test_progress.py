import sys

import pytest

from keras_lr.comparison.progress import make_progress
from keras_lr.comparison.runner import RunRecord

DONE = RunRecord("p", 0, "val_acc", "max", {"val_acc": [0.5]})
DIVERGED = RunRecord("p", 1, "val_acc", "max", {"val_acc": [0.125]}, diverged=True)
FAILED = RunRecord("p", 2, "val_acc", "max", error="ValueError: [no]")


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def tell(progress):
    for record in (DONE, DIVERGED, FAILED):
        progress.start(record.policy, record.seed)
        progress.epoch(0)
        progress.finish(record)
    progress.close()


def test_plain_lines_tell_metric_divergence_and_error(capsys):
    tell(make_progress(3, 1, 1))
    lines = [
        line.partition(" left: ")[2] for line in capsys.readouterr().out.split("\n")
    ]
    assert lines[:3] == [
        "p, seed 0: val_acc 0.5",
        "p, seed 1: val_acc 0.125 (diverged)",
        "p, seed 2 failed: ValueError: [no]",
    ]


def test_bar_is_drawn_on_a_terminal_and_shows_errors(capsys, terminal):
    tell(make_progress(3, 1, 1))
    assert "p, seed 2 failed: ValueError: [no]" in capsys.readouterr().out


def test_name_in_brackets_is_no_markup_on_the_bar(terminal):
    progress = make_progress(1, 1, 1)
    progress.start("[/b]", 0)
    shown = progress.bar.columns[0].render(progress.bar.tasks[0])
    progress.close()
    assert shown.plain.strip() == "[/b], seed 0"


def test_plain_lines_are_used_on_a_terminal_without_rich(capsys, terminal, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    tell(make_progress(3, 1, 1))
    assert "Run 3/3" in capsys.readouterr().out
