import csv
import math

import pytest

from keras_lr import LearningRateSuggestion
from keras_lr.rules.range_test import Trial

TRIALS = (
    Trial(0.01, 0.9, 0.1, 0.01),
    Trial(0.1, 0.5, 0.5, 0.02),
    Trial(1.0, math.nan, -math.inf, 0.0),
)


def suggested(warning="", trials=TRIALS):
    return LearningRateSuggestion(
        suggestion=0.083,
        reason="It is the lowest rate & good.",
        warning=warning,
        code="model.compile(keras.optimizers.SGD(0.083), ...)",
        trials=trials,
        untrained_loss=1.0,
        steps=100,
        seconds=2.0,
    )


def test_texts_have_the_rate_the_reason_and_the_line():
    assert str(suggested()).splitlines() == [
        "Learning rate: 0.083. It is the lowest rate & good.",
        "    model.compile(keras.optimizers.SGD(0.083), ...)",
    ]
    assert repr(suggested()) == (
        "<LearningRateSuggestion suggestion=0.083 is_sure=True>"
    )
    assert float(suggested()) == 0.083


def test_warning_is_in_the_texts():
    result = suggested("Look at the plot.")
    assert not result.is_sure
    assert "Look at the plot." in str(result)
    assert "<p>Look at the plot.</p>" in result._repr_html_()


def test_html_is_escaped_and_has_a_row_for_each_trial():
    html = suggested()._repr_html_()
    assert "lowest rate &amp; good" in html
    assert html.count("<tr>") == 1 + len(TRIALS)
    assert "<td>-inf</td>" in html
    assert html.count("<td>") == html.count("</td>")


def test_data_frame_has_a_row_for_each_trial():
    frame = suggested().to_dataframe()
    assert [*frame.columns] == ["learning_rate", "loss", "gain", "standard_error"]
    assert frame.learning_rate.tolist() == [0.01, 0.1, 1.0]


def test_csv_has_the_numbers_of_the_trials(tmp_path):
    suggested().to_csv(tmp_path / "trials.csv")
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = [[*map(float, row.values())] for row in csv.DictReader(file)]
    assert rows[:2] == [[0.01, 0.9, 0.1, 0.01], [0.1, 0.5, 0.5, 0.02]]
    assert math.isnan(rows[2][1])


def test_plot_marks_the_suggestion_and_what_is_not_finite():
    ax = suggested().plot()
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["suggestion: 0.083"].get_xdata()[0] == 0.083
    assert lines["without training"].get_ydata()[0] == 1.0
    assert lines["not finite"].get_xdata().tolist() == [1.0]
    (curve,) = ax.containers
    assert curve.lines[0].get_ydata().tolist() == [0.9, 0.5]
    assert ax.get_xscale() == "log"


def test_plot_draws_on_the_axes_that_it_gets():
    ax = suggested().plot()
    assert suggested().plot(ax) is ax


def test_plot_is_not_drawn_for_losses_that_are_far_away():
    ax = suggested(trials=(*TRIALS[:2], Trial(1.0, 1e20, -1e20, 0.0))).plot()
    assert ax.get_ylim()[1] == pytest.approx(1.5)


def test_plot_without_any_finite_loss():
    suggested(trials=TRIALS[2:]).plot()
