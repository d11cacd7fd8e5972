"""`OptimizedSchedule.plot`: the rates of the steps, on axes that one may give."""

import numpy as np
from matplotlib import pyplot

from keras_lr import OptimizedSchedule, TabulatedSchedule


def result(values, steps_per_value=1):
    return OptimizedSchedule(TabulatedSchedule(values, steps_per_value), 0.5, {}, 0.01)


def test_plot_draws_each_value_over_its_steps_on_the_axes_that_are_given():
    _, ax = pyplot.subplots()
    assert result([0.5, 0.25, 0.125], 10).plot(ax) is ax
    found, start = ax.get_lines()
    assert found.get_xdata().tolist() == [0, 10, 20, 30]
    assert found.get_ydata().tolist() == [0.5, 0.25, 0.125, 0.125]
    assert found.get_drawstyle() == "steps-post"
    assert start.get_ydata() == [0.01, 0.01]


def test_plot_has_a_logarithmic_axis_and_labels():
    ax = result([0.5, 0.25]).plot()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "learning rate")
    assert ax.get_yscale() == "log"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["found", "start"]


def test_plot_has_a_gap_where_the_rate_is_zero():
    found = result([0.5, 0.0, 0.125]).plot().get_lines()[0]
    assert np.isnan(found.get_ydata()).tolist() == [False, True, False, False]


def test_notebook_shows_the_losses_the_rates_and_the_outer_steps():
    history = {"objective": [2.0, 0.5], "seconds": [1.0, 1.0]}
    schedule = TabulatedSchedule([0.5, 0.75, 0.125], 10)
    html = OptimizedSchedule(schedule, 0.5, history, 0.01, True)._repr_html_()
    assert "A schedule of 30 steps, after 2 outer steps: objective 0.5" in html
    assert "a constant rate of 0.01 it was 2." in html
    assert "0.5 at the start, 0.75 at most and 0.125 at the end" in html
    assert "Ctrl-C ended the search early." in html
    assert html.count("<tr>") == 1 + 2
