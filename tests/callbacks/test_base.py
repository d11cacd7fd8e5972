"""What all callbacks share, with a method that does nothing."""

import math
import re

import keras
import pytest

from keras_lr.callbacks import base
from keras_lr.callbacks.base import LearningRateCallback
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.fit.fit import Fit
from tests.small_problem import compiled, data, fit

ROWS = 1000
"""Numbers that each epoch records."""


class Recorded(Fit):
    """Records given numbers."""

    def __init__(self, model, rows):
        super().__init__(AnnealedRate(model))
        self.rows = iter(rows)

    def wrapped(self, step):
        return step

    def fetch(self, batches):
        return {"signal": next(self.rows, [])}


class Recording(LearningRateCallback):
    def __init__(self, rows, late=(), **kwargs):
        super().__init__(**kwargs)
        self.rows, self.late = rows, late

    def _columns(self):
        return ["signal"]

    def _columns_to_log(self):
        return ["signal"]

    def _late_columns(self):
        return self.late

    def _make_fit(self):
        return Recorded(self.model, self.rows)


def logged(rows, callback=None, **kwargs):
    """Return what the logs of each epoch say, where each is one step."""
    callback = callback or Recording(rows, **kwargs)
    callback.rows = rows
    return short_fit(compiled(run_eagerly=True), [callback], len(rows) // 2)["signal"]


def short_fit(model, callbacks, epochs):
    """Fit with one step in each epoch; return the logs."""
    x, y = data()
    return fit(model, callbacks, epochs, x=x[:2], y=y[:2]).history


# The host fetches at the last batch, and again at the end of the epoch.
EPOCH = [[math.nan] * ROWS, []]


def test_work_of_each_epoch_does_not_grow_with_those_before(monkeypatch):
    looked_at = []

    class CountingMath:
        nan, inf = math.nan, math.inf

        def isnan(self, number):
            looked_at.append(number)
            return math.isnan(number)

    monkeypatch.setattr(base, "math", CountingMath())
    epochs = 6
    logs = logged([[1.5], [], *EPOCH * (epochs - 1)])
    assert logs == [1.5] * epochs
    # Each number once, and one more in each epoch. All of them in each was 15,005.
    assert len(looked_at) <= ROWS * epochs + epochs


def test_number_that_comes_late_is_logged_in_the_epoch_that_brings_it():
    rows = [[0.0], [], [2.0, math.nan], [], [math.nan], [], [3.0], []]
    assert logged(rows, late=["signal"]) == pytest.approx(
        [math.nan, 2.0, 2.0, 3.0], nan_ok=True
    )


def test_number_of_an_earlier_fit_is_not_logged():
    callback = Recording([])
    assert logged([[1.5], []], callback) == [1.5]
    assert logged([[math.nan] * 3, []], callback) == pytest.approx(
        [math.nan], nan_ok=True
    )


class Diagnosing(Recording):
    """Records what Keras logs too, and the rate, beside what it is asked for."""

    def _columns(self):
        return ["learning_rate", "loss", "signal"]

    def _columns_to_log(self):
        return []


@pytest.mark.parametrize("log_diagnostics", [False, True])
def test_diagnostics_are_logged_only_on_request(log_diagnostics):
    callback = Diagnosing([[1.5], []], log_diagnostics=log_diagnostics)
    logs = short_fit(compiled(run_eagerly=True), [callback], 1)
    added = {"learning_rate"} | ({"signal"} if log_diagnostics else set())
    assert logs.keys() == {"accuracy", "loss", *added}
    assert math.isfinite(logs["loss"][0])
    assert logs.get("signal", [1.5]) == callback.history["signal"] == [1.5]


def test_config_without_what_came_later_is_read():
    config = LearningRateCallback(log_diagnostics=True).get_config()
    assert config.pop("log_diagnostics") is True
    assert LearningRateCallback.from_config(config).log_diagnostics is False


def epochs_printed(capsys):
    text = capsys.readouterr().out
    return [int(x) for x in re.findall(r"Epoch (\d+): Recording setting", text)]


def test_rate_is_printed_after_each_epoch_but_the_last(capsys):
    short_fit(compiled(run_eagerly=True), [Recording([], verbose=1)], 2)
    assert epochs_printed(capsys) == [1]


def test_rate_is_printed_between_the_fits_of_one_training(capsys):
    model, callback = compiled(run_eagerly=True), Recording([], verbose=1)
    callback.total_epochs = 2
    for _ in range(2):
        short_fit(model, [callback], 1)
    assert epochs_printed(capsys) == [1]


def test_rate_is_not_printed_after_a_fit_is_stopped(capsys):
    class Stops(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    short_fit(compiled(run_eagerly=True), [Stops(), Recording([], verbose=1)], 5)
    assert epochs_printed(capsys) == [1]
