import csv
import math
import re
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from keras_lr.comparison import ComparisonResult, RunRecord
from keras_lr.comparison.text_table import print_table, table_lines


def record(policy, seed, metrics, rates):
    return RunRecord(policy, seed, "val_acc", "max", {"val_acc": metrics}, rates)


@pytest.fixture
def result():
    return ComparisonResult(
        [
            record("constant 0.1", 0, [0.5, 0.75], [0.1, 0.1]),
            record("constant 0.1", 1, [0.5, 0.25], [0.1, 0.1]),
            record("constant 10", 0, [0.125, math.nan], [10.0]),
            record("<b>&", 0, [0.5, 1.0], [0.2, 0.1]),
            RunRecord("broken", 0, "val_acc", "max", error="ValueError: <no>"),
        ]
    )


def test_table_of_text_is_aligned_and_ranked(result):
    lines = table_lines(result.table, result.monitor)
    assert lines[0].split() == [
        *("policy", "final", "val_acc", "best", "gradients", "sec"),
        *("diverged", "failed"),
    ]
    assert re.match(r" *1  <b>& +1\.0000 +1\.0000", lines[1])
    assert re.match(r" *2  constant 0\.1 \(best\) +0\.5000 ± 0\.3536", lines[2])
    assert str(result).startswith(lines[0])


def test_table_is_printed_with_and_without_rich(result, capsys, monkeypatch):
    print_table(result.table, result.monitor)
    assert "constant 0.1 (best)" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "rich.console", None)
    print_table(result.table, result.monitor)
    printed = capsys.readouterr().out.splitlines()
    assert printed == table_lines(result.table, result.monitor)


def test_plot_takes_and_returns_axes(result):
    _, axes = plt.subplots(1, 2)
    assert result.plot(axes) is axes
    assert axes[1].get_yscale() == "log"
    assert axes[0].get_ylabel() == "val_acc"


def test_plot_draws_the_mean_over_seeds(result):
    axes = result.plot()
    lines = {line.get_label(): line for line in axes[0].get_lines()}
    drawn = lines["constant 0.1 (best)"].get_ydata()
    np.testing.assert_allclose(drawn, [0.5, 0.5])


def test_saved_tables_hold_the_numbers(result, tmp_path):
    result.save(tmp_path)
    with (tmp_path / "table.csv").open() as file:
        rows = {row["policy"]: row for row in csv.DictReader(file)}
    assert float(rows["constant 0.1"]["final_metric"]) == 0.5
    with (tmp_path / "runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert [run["final_metric"] for run in runs] == [
        "0.75",
        "0.25",
        "nan",
        "1.0",
        "nan",
    ]
    assert runs[-1]["error"] == "ValueError: <no>"


def test_report_needs_no_other_file(result, tmp_path):
    paths = result.save(tmp_path / "new")
    page = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert {path.name for path in paths} >= {"comparison.png", "report.html"}
    assert re.findall(r'(?:src|href)="([^"]{11})', page) == ["data:image/"]
    assert not re.search(r"https?://|@import|url\(", page)
    assert "&lt;b&gt;&amp;" in page
    assert "<b>" not in page


def test_picture_is_a_png_of_some_size(result, tmp_path):
    result.save(tmp_path)
    picture = plt.imread(tmp_path / "comparison.png")
    assert picture.shape[0] > 500
    assert picture.std() > 0.01


def test_dataframe_has_a_row_for_each_policy(result):
    frame = result.to_dataframe()
    assert list(frame["policy"]) == ["<b>&", "constant 0.1", "constant 10", "broken"]
    assert frame["final_metric"][1] == 0.5


@pytest.mark.parametrize(
    ("method", "package", "extra"),
    [
        ("to_dataframe", "pandas", "examples"),
        ("plot", "matplotlib", "plot"),
        ("save", "matplotlib.figure", "plot"),
    ],
)
def test_missing_package_is_named_with_its_extra(
    result, monkeypatch, method, package, extra
):
    monkeypatch.setitem(sys.modules, package, None)
    arguments = ["unused"] if method == "save" else []
    with pytest.raises(ImportError, match=rf'pip install "keras_lr\[{extra}\]"'):
        getattr(result, method)(*arguments)


def test_policy_outside_of_the_metric_axis_says_so(result):
    axes = result.plot()
    labels = [line.get_label() for line in axes[1].get_lines()]
    assert "constant 10 (worst), off the scale" in labels
    assert axes[0].get_ylim()[0] > 0.125
