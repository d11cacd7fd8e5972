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
