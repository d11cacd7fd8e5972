"""The table, the file and the plot of what a callback has recorded."""

import csv
import math

import numpy as np
import pytest

import keras_lr
from keras_lr.callbacks.base import LearningRateCallback
from tests.small_problem import STEPS, compiled, fit


@pytest.fixture(scope="module")
def walked():
    """Give a walk that tried in every second step."""
    walk = keras_lr.LearningRateWalk(1.5, every=2)
    fit(compiled(run_eagerly=True), [walk], 1)
    return walk


def test_frame_has_a_row_for_each_step(walked):
    frame = walked.to_dataframe()
    assert frame["raised_loss"].isna().tolist() == [True, False] * (STEPS // 2)
    for name, column in walked.history.items():
        np.testing.assert_array_equal(frame[name], column)


def test_file_has_a_row_for_each_step(walked, tmp_path):
    walked.to_csv(tmp_path / "walk.csv")
    with (tmp_path / "walk.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == STEPS
    for name, column in walked.history.items():
        found = [float(row[name]) for row in rows]
        np.testing.assert_array_equal(found, column)


def test_plot_counts_the_steps(walked):
    ax = walked.plot(label="a walk")
    (line,) = ax.get_lines()
    assert ax.get_xlabel() == "step"
    assert line.get_label() == "a walk"
    np.testing.assert_array_equal(line.get_xdata(), np.arange(STEPS) + 1)
    np.testing.assert_array_equal(line.get_ydata(), walked.history["learning_rate"])


def test_plot_counts_the_epochs_where_there_is_an_entry_for_each():
    lipschitz = keras_lr.LipschitzLR()
    lipschitz.history["learning_rate"] = [0.5, 0.25]
    ax = lipschitz.plot()
    assert ax.get_xlabel() == "epoch"
    assert ax.get_lines()[0].get_xdata().tolist() == [1, 2]


def test_plot_before_the_fit_is_refused():
    with pytest.raises(ValueError, match=r"empty list of learning_rate\. Call `fit`"):
        keras_lr.MARTHE().plot()


def test_file_before_the_fit_has_the_names_alone(tmp_path):
    keras_lr.LipschitzLR().to_csv(tmp_path / "empty.csv")
    assert (tmp_path / "empty.csv").read_text(encoding="utf-8") == (
        "learning_rate,lipschitz_constant\n"
    )


@pytest.mark.parametrize("method", ["to_csv", "to_dataframe"])
def test_lists_that_make_no_table_are_refused(method, tmp_path):
    """Nothing pads them: which entries belong together is not known."""
    callback = LearningRateCallback()
    callback.history = {"learning_rate": [0.5, 0.5], "signal": [math.pi]}
    arguments = [tmp_path / "rates.csv"] if method == "to_csv" else []
    message = rf"`{method}` .* equally long. Received: 2 of 'learning_rate', 1 of 'sig"
    with pytest.raises(ValueError, match=message):
        getattr(callback, method)(*arguments)
    assert not any(tmp_path.iterdir())
