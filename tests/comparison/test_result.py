import csv
import dataclasses
import math
import re
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from keras_lr.comparison import ComparisonResult, Conditions, RunRecord
from keras_lr.comparison.summary import robustness_curves
from keras_lr.comparison.text_table import print_table, table_lines


def record(policy, seed, metrics, rates, **kwargs):
    logs = {"val_acc": metrics}
    return RunRecord(policy, seed, "val_acc", "max", logs, rates, **kwargs)


def constant(rate, seed, metrics, rates):
    return record(
        f"constant {rate:g}", seed, metrics, rates, kind="constant", start=rate
    )


@pytest.fixture
def result():
    return ComparisonResult(
        [
            constant(0.1, 0, [0.5, 0.75], [0.1, 0.1]),
            constant(0.1, 1, [0.5, 0.25], [0.1, 0.1]),
            constant(10, 0, [0.125, math.nan], [10.0]),
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


ODD = ("[/b]", "[red]", r"$\frac$", r"\$x$", "$", "{x}", "%s")


@pytest.mark.parametrize(
    "name",
    [
        # Markup of Rich, and of matplotlib.
        pytest.param(
            name, marks=[] if name in ("[/b]", r"$\frac$") else [pytest.mark.slow]
        )
        for name in ODD
    ],
)
def test_name_of_a_policy_is_text_in_table_and_pictures(name, tmp_path, capsys):
    odd = ComparisonResult(
        [
            record(name, 0, [0.5], [0.1], start=0.1),
            record(name, 1, [0.75], [0.2], start=0.2),
            record("default", 0, [0.25], [0.1], kind="default"),
        ]
    )
    print_table(odd.table, odd.monitor)
    assert name in capsys.readouterr().out
    odd.plot_robustness()
    odd.save(tmp_path)
    figure = odd.plot_ranking().figure
    figure.canvas.draw()
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    # matplotlib draws an escaped dollar as a dollar.
    assert [text.replace(r"\$", "$") for text in labels] == [name, "default"]


def test_huge_metric_has_few_digits(capsys):
    lost = [record("lost", seed, [1e30 * (seed + 1)], [0.1]) for seed in (0, 1)]
    line = table_lines(ComparisonResult(lost).table, "val_acc")[1]
    assert "1.5e+30 ± 7.071e+29  1.5e+30" in line


def test_file_of_somebody_else_is_not_replaced(result, tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(ValueError, match=r"which holds report\.html\. Choose another"):
        result.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_result_may_be_saved_again(result, tmp_path):
    assert result.save(tmp_path) == result.save(tmp_path)


def test_diverged_policy_is_not_the_one_to_train_with():
    lost = record("constant 1000", 0, [0.9], [1e3], code="fit()", diverged=True)
    result = ComparisonResult([lost])
    assert result.code == ""
    assert "To train with" not in str(result)


def test_equal_policies_have_equal_ranks_in_the_table():
    runs = [record(name, 0, [0.5], [0.1]) for name in "ab"]
    lines = table_lines(ComparisonResult(runs).table, "val_acc")
    assert [line.split()[:2] for line in lines[1:]] == [["1", "a"], ["1", "b"]]


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
    pictures = ["ranking.png", "comparison.png"]
    names = ["table.csv", "runs.csv", *pictures, "report.html"]
    assert [path.name for path in paths] == names
    assert re.findall(r'src="([^"]{11})', page) == ["data:image/"] * 2
    assert re.findall(r'href="([^"]*)"', page) == names[:-1]
    assert not re.search(r"https?://|@import|url\(", page)
    assert "&lt;b&gt;&amp;" in page
    assert "<b>" not in page


CONDITIONS = Conditions(
    model="Sequential: Dense(1); 2 parameters",
    optimizer="SGD(learning_rate=0.1)",
    learning_rate=0.1,
    data="inputs 1, targets 1",
    training_rows=8,
    validation_rows=4,
    epochs=2,
    batch_size=4,
    versions={"keras_lr": "1.2.3", "keras": "4.5.6"},
)


def test_report_begins_with_what_was_trained_and_how(result, tmp_path):
    result = ComparisonResult(result.records, conditions=CONDITIONS)
    result.save(tmp_path, data_name="<x>.csv")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    head, _, _ = page.partition("<h2>")
    assert re.findall(r"<dt>(.*)</dt><dd>(.*)</dd>", head) == [
        ("Data", "&lt;x&gt;.csv; inputs 1, targets 1"),
        ("Rows", "8 for training, 4 for validation"),
        ("Model", "Sequential: Dense(1); 2 parameters"),
        ("Optimizer", "SGD(learning_rate=0.1)"),
        ("Training", "2 epochs, batches of 4, seeds 0, 1"),
        ("Ranked by", "val_acc after the last epoch, more is better"),
        ("Rolled back", "unknown for 4 runs, whose records do not say"),
        ("Versions", "keras_lr 1.2.3, keras 4.5.6"),
    ]


@pytest.mark.parametrize("name", ["ranking.png", "comparison.png"])
def test_picture_is_a_png_of_some_size(result, tmp_path, name):
    result.save(tmp_path)
    picture = plt.imread(tmp_path / name)
    assert min(picture.shape[:2]) > 300
    assert picture.std() > 0.01


def test_code_of_the_best_is_in_text_and_report(result, tmp_path):
    result = ComparisonResult([dataclasses.replace(result.records[3], code="fit(<x>)")])
    result.save(tmp_path)
    assert result.code == "fit(<x>)"
    assert str(result).endswith("To train with <b>&:\n    fit(<x>)")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<pre>fit(&lt;x&gt;)</pre>" in page


def test_loss_has_an_axis_of_its_own_if_there_are_three(result):
    runs = [dataclasses.replace(run, logs=dict(run.logs)) for run in result.records]
    runs[3].logs["loss"] = [2.0, 0.5]
    _, axes = plt.subplots(1, 3)
    ComparisonResult(runs).plot(axes)
    assert [axis.get_ylabel() for axis in axes] == ["val_acc", "learning rate", "loss"]
    lines = {line.get_label(): line for line in axes[2].get_lines()}
    np.testing.assert_array_equal(lines["<b>&"].get_ydata(), [2.0, 0.5])


def test_at_most_as_many_policies_as_colors_are_in_the_legend(result):
    more = [record(f"p{n}", 0, [0.5, n / 16], [0.1, 0.1]) for n in range(9)]
    axes = ComparisonResult([*result.records, *more]).plot()
    labels = axes[0].get_legend_handles_labels()[1]
    names = [text.partition(" (")[0] for text in labels]
    assert names == ["<b>&", "constant 0.1", "p8", "p7", "p6", "constant 10"]


def test_ranking_has_every_run_at_its_place_and_the_lost_at_the_edge(result):
    ax = result.plot_ranking()
    points = [
        (*line.get_xdata(), *line.get_ydata(), line.get_marker())
        for line in ax.get_lines()
    ]
    assert points == [
        *[(1.0, 0, "o"), (1.0, 0, "|")],
        *[(0.75, 1, "o"), (0.25, 1, "o"), (0.5, 1, "|")],
        (ax.get_xlim()[0], 2, "<"),
    ]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["<b>&", "constant 0.1 (best)", "constant 10 (worst)", "broken"]
    assert [text.get_text() for text in ax.texts][-1] == "failed"


STARTS = [(0.1, [0.5]), (0.1, [1.0]), (1.0, [0.25])]
CONSTANTS = [constant(start, 0, ends, [start]) for start, ends in STARTS]


@pytest.fixture
def varied():
    marthe = [
        record(f"marthe {start:g}", 0, ends, [start], start=start)
        for start, ends in STARTS
    ]
    return ComparisonResult([*CONSTANTS, *marthe, record("adamo", 0, [0.625], [0.5])])


def test_start_varies_if_a_method_other_than_the_grid_has_several(varied):
    assert varied.varies_start
    assert not ComparisonResult(CONSTANTS).varies_start


def test_mean_at_a_start_is_not_a_number_if_a_run_failed():
    failed = record("marthe 1", 1, [], [], start=1.0, error="ValueError: no")
    runs = [record(f"marthe {s:g}", 0, [0.5], [s], start=s) for s in (0.1, 1.0)]
    (means,) = robustness_curves([*runs, failed]).values()
    assert means == pytest.approx({0.1: 0.5, 1.0: math.nan}, nan_ok=True)


def test_curve_is_the_mean_at_each_start(varied):
    means = {0.1: 0.75, 1.0: 0.25}
    assert robustness_curves(varied.records) == {"constant": means, "marthe": means}
    lines = {line.get_label(): line for line in varied.plot_robustness().get_lines()}
    np.testing.assert_array_equal(lines["marthe"].get_xdata(), [0.1, 1.0])
    np.testing.assert_array_equal(lines["marthe"].get_ydata(), [0.75, 0.25])
    assert set(lines["adamo"].get_ydata()) == {0.625}


def test_worst_end_over_the_starts_is_among_the_advice(varied):
    worst = "The worst end over rates from 0.1 to 1: constant 0.25, marthe 0.25."
    assert varied.advice[-1] == worst


def test_robustness_is_saved_if_a_method_has_several_starts(varied, tmp_path):
    names = [path.name for path in varied.save(tmp_path)]
    assert names[2:] == [
        *("ranking.png", "comparison.png", "robustness.png", "report.html"),
    ]
    assert "rate that the training started from" in (
        (tmp_path / "report.html").read_text(encoding="utf-8")
    )


def test_robustness_needs_several_starts():
    with pytest.raises(ValueError, match="must have several"):
        ComparisonResult(CONSTANTS[:2]).plot_robustness()


def test_dataframe_has_a_row_for_each_policy(result):
    frame = result.to_dataframe()
    assert list(frame["policy"]) == ["<b>&", "constant 0.1", "constant 10", "broken"]
    assert frame["final_metric"][1] == 0.5


@pytest.mark.parametrize(
    ("method", "package", "extra"),
    [
        ("to_dataframe", "pandas", "examples"),
        ("plot", "matplotlib", "plot"),
        ("plot_ranking", "matplotlib", "plot"),
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


def test_notebook_shows_the_advice_and_the_escaped_table(result):
    html = result._repr_html_()
    assert html.count("<tr>") == 1 + len(result.table)
    assert "&lt;b&gt;&amp;" in html
    assert "<b>" not in html
    assert repr(result) == "<ComparisonResult runs=5 best='<b>&'>"
