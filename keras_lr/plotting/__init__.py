"""Plots with matplotlib; each function takes and returns the axes it draws on."""

from keras_lr.plotting.arms import plot_arms
from keras_lr.plotting.axes import COLORS, LINES
from keras_lr.plotting.learning_rates import plot_learning_rate

__all__ = ["COLORS", "LINES", "plot_arms", "plot_learning_rate"]
