import sys

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest

import keras_lr
from keras_lr import plot_learning_rate
from tests.small_problem import compiled, fit


def drawn(ax):
    """Return (label, x, y) of each line."""
    return [
        (line.get_label(), line.get_xdata().tolist(), line.get_ydata().tolist())
        for line in ax.get_lines()
    ]


def labels(ax):
    return ax.get_xlabel(), ax.get_ylabel()


def recorded(optimizer, every="epoch", epochs=3, **kwargs):
    recorder = keras_lr.LearningRateRecorder(every)
    model = compiled(optimizer=optimizer, **kwargs)
    return recorder, fit(model, [recorder], epochs)


def test_dictionary_is_drawn_over_epochs_from_one_on_a_log_axis():
    ax = plot_learning_rate({"loss": [3, 2], "learning_rate": [0.5, 0.25]})
    (line,) = drawn(ax)
    assert line[1:] == ([1, 2], [0.5, 0.25])
    assert labels(ax) == ("epoch", "learning rate")
    assert ax.get_yscale() == "log"
    assert ax.get_legend() is None


def test_axes_are_taken_and_returned():
    _, ax = plt.subplots()
    assert plot_learning_rate({"learning_rate": [0.5]}, ax) is ax


def test_recorder_and_history_of_keras_are_drawn_alike():
    recorder, history = recorded(keras.optimizers.SGD(0.5))
    (line,) = drawn(plot_learning_rate(recorder))
    assert line[1:] == ([1, 2, 3], [0.5] * 3)
    assert drawn(plot_learning_rate(history)) == [line]


def test_line_without_gaps_has_no_markers():
    (line,) = plot_learning_rate({"learning_rate": [0.5, 0.25]}).get_lines()
    assert line.get_marker() == "None"


def test_history_of_a_resumed_fit_starts_at_its_epoch():
    recorder = keras_lr.LearningRateRecorder()
    history = fit(compiled(), [recorder], 5, initial_epoch=3)
    assert drawn(plot_learning_rate(history))[0][1] == [4, 5]


def test_other_callback_with_a_rate_is_drawn():
    callback = keras_lr.LipschitzLR()
    fit(compiled(), [callback])
    (line,) = drawn(plot_learning_rate(callback))
    assert line[2] == callback.history["learning_rate"]


@pytest.mark.parametrize("kind", ["recorder", "dictionary"])
def test_executions_are_drawn_over_batches(kind):
    optimizer = keras.optimizers.SGD(0.5)
    recorder, _ = recorded(optimizer, "batch", 2, steps_per_execution=4)
    ax = plot_learning_rate(recorder if kind == "recorder" else recorder.history)
    assert drawn(ax)[0][1] == [4, 6, 10, 12]
    assert labels(ax) == ("batch", "learning rate")


def test_effective_rate_is_drawn_where_there_is_one():
    recorder, history = recorded(keras_lr.AdaMo())
    ax = plot_learning_rate(history)
    (line,) = drawn(ax)
    assert line[2] == recorder.history["effective_learning_rate"]
    assert labels(ax) == ("epoch", "effective learning rate")


def test_each_of_several_optimizers_has_a_line_with_its_name():
    history = {
        "learning_rate_a": [0.5, 0.25],
        "learning_rate_b": [1.0, 1.0],
        "effective_learning_rate_b": [0.125, 0.125],
        "lipschitz_constant_b": [8.0, 8.0],
    }
    ax = plot_learning_rate(history, label="mine")
    assert drawn(ax) == [
        ("mine, a", [1, 2], [0.5, 0.25]),
        ("mine, b", [1, 2], [0.125, 0.125]),
    ]
    assert labels(ax)[1] == "learning rate"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["mine, a", "mine, b"]


def test_trainings_on_the_same_axes_differ_in_color_and_dash():
    ax = plot_learning_rate({"learning_rate": [0.5]}, label="first")
    plot_learning_rate({"effective_learning_rate": [0.25]}, ax, label="second")
    first, second = ax.get_lines()
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()
    assert labels(ax)[1] == "learning rate"


ONE, OTHER = {"learning_rate": [0.5, 0.25]}, {"learning_rate_a": [1.0, 1.0, 1.0]}


@pytest.mark.parametrize(
    ("trainings", "label", "names"),
    [
        ({"one": ONE, "other": OTHER}, None, ["one", "other, a"]),
        ([ONE, OTHER], None, ["1", "2, a"]),
        ((ONE, OTHER), "run", ["run, 1", "run, 2, a"]),
    ],
)
def test_several_trainings_have_a_line_each_with_their_names(trainings, label, names):
    ax = plot_learning_rate(trainings, label=label)
    assert drawn(ax) == [
        (names[0], [1, 2], [0.5, 0.25]),
        (names[1], [1, 2, 3], [1.0, 1.0, 1.0]),
    ]
    assert len({line.get_color() for line in ax.get_lines()}) == 2


def test_callbacks_histories_and_dictionaries_are_drawn_beside_each_other():
    recorder, history = recorded(keras.optimizers.SGD(0.5))
    ax = plot_learning_rate({"recorder": recorder, "history": history, "other": ONE})
    expected = [[0.5] * 3, [0.5] * 3, ONE["learning_rate"]]
    assert [y for _, _, y in drawn(ax)] == expected


def test_epochs_and_batches_are_not_drawn_over_one_axis():
    batches = {"batch": [1, 2], "learning_rate": [0.5, 0.25]}
    with pytest.raises(ValueError, match=r"recorded alike.* Received: batch, epoch\."):
        plot_learning_rate([ONE, batches])


def test_what_a_log_axis_cannot_show_is_a_gap():
    rates = [0.0, 0.5, 0.0, 0.25, 0.125, float("nan"), float("inf"), 0.0]
    ax = plot_learning_rate({"learning_rate": rates})
    (line,) = ax.get_lines()
    shown = [np.nan, 0.5, np.nan, 0.25, 0.125, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(line.get_ydata(), shown)
    assert line.get_markevery() == [1]  # No line would show a point between gaps.
    ax.figure.canvas.draw()
    low, high = ax.get_ylim()
    assert 0.1 < low < 0.125
    assert 0.5 < high < 0.6


@pytest.mark.parametrize("rates", [[0.0, 0.0], [0.25]], ids=str)
def test_training_of_zeros_or_of_one_epoch_can_be_drawn(rates):
    ax = plot_learning_rate({"learning_rate": rates})
    ax.figure.canvas.draw()
    assert ax.get_yscale() == "log"
    assert (ax.get_lines()[0].get_markevery() == [0]) == (rates == [0.25])


def test_epochs_have_whole_numbers_on_the_axis():
    ax = plot_learning_rate({"learning_rate": [0.5, 0.25]})
    ticks = ax.get_xticks()
    np.testing.assert_array_equal(ticks, np.round(ticks))


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({"loss": [1.0]}, r"Received: keys \['loss'\]\. .*LearningRateRecorder"),
        ({"loss": [1.0], "learning_rate": []}, r"empty list of learning_rate\. Call"),
        ({}, r"Received: keys \[\]\. .*LearningRateRecorder"),
    ],
    ids=["other", "empty", "nothing"],
)
def test_history_without_a_rate_is_refused(history, message):
    with pytest.raises(ValueError, match=message):
        plot_learning_rate(history)


def test_what_is_no_history_is_refused():
    with pytest.raises(ValueError, match=r"dictionary of lists. Received: history=\[0"):
        plot_learning_rate([0.5])


def test_missing_matplotlib_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "keras_lr\[plot\]"'):
        plot_learning_rate({"learning_rate": [0.5]})


def test_callback_with_an_entry_a_step_is_drawn_over_steps():
    callback = keras_lr.MARTHE()
    callback.history["learning_rate"] = [0.1, 0.2, 0.4]
    ax = keras_lr.plot_learning_rate(callback)
    assert ax.get_xlabel() == "step"
    np.testing.assert_array_equal(ax.get_lines()[0].get_xdata(), [1, 2, 3])
