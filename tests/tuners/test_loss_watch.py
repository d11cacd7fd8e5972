import keras
import numpy as np
import pytest

from keras_lr.tuners import trial_keys
from keras_lr.tuners.loss_watch import LossWatch
from tests.small_problem import BATCH, compiled, data, fit


def watched(rate, epochs=8, stop_hopeless=True):
    """Fit with one batch for each epoch: the first loss is no matter of luck."""
    watch = LossWatch(stop_hopeless=stop_hopeless)
    model = compiled(optimizer=keras.optimizers.SGD(rate))
    x, y = data()
    return watch, fit(model, [watch], epochs, x=x, y=y, batch_size=len(x))


def first_loss():
    x, y = data()
    return compiled().evaluate(x[:BATCH], y[:BATCH], verbose=0)[0]


@pytest.mark.parametrize(
    "steps",
    [
        1,
        pytest.param(2, marks=pytest.mark.slow),
        4,
        pytest.param(6, marks=pytest.mark.slow),
    ],
)
def test_initial_loss_is_that_of_the_first_batch_before_any_update(steps):
    watch = LossWatch()
    model = compiled(optimizer=keras.optimizers.SGD(1.0), steps_per_execution=steps)
    fit(model, [watch], 1)
    # One rounding of float32 in the average over the batch.
    assert watch.initial == pytest.approx(first_loss(), rel=1e-6)


@pytest.mark.slow
def test_initial_loss_is_right_with_replicas(two_replicas):
    with two_replicas.scope():
        model = compiled(optimizer=keras.optimizers.SGD(1.0))
    watch = LossWatch()
    fit(model, [watch], 1)
    assert watch.initial == pytest.approx(first_loss(), rel=1e-5)


def test_model_is_as_before_after_the_fit():
    watch = LossWatch()
    model = compiled(steps_per_execution=2)
    plain = model.train_step
    fit(model, [watch], 2)
    assert model.train_step == plain


@pytest.mark.parametrize(
    ("rate", "signal", "epochs"), [(1.0, 0.0, 8), (1e-6, -1.0, 2), (1e4, 1.0, None)]
)
def test_signal_and_stop_follow_from_the_loss(rate, signal, epochs):
    watch, history = watched(rate)
    measured = watch.measurements()
    assert measured[trial_keys.SIGNAL] == signal
    assert measured[trial_keys.EPOCHS] == len(history.epoch)
    assert epochs in (None, len(history.epoch))
    assert measured[trial_keys.FINAL_LOSS] == pytest.approx(
        history.history["loss"][-1], nan_ok=True
    )
    assert all(type(value) is float for value in measured.values())


def test_hopeless_training_goes_on_if_told_so():
    _, history = watched(1e-6, stop_hopeless=False)
    assert len(history.epoch) == 8


def test_loss_that_is_not_finite_stops_at_once():
    x, y = np.full((8, 2), 1e30, "float32"), np.ones((8, 1), "float32")
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), loss="mse")
    watch = LossWatch(stop_hopeless=False)
    history = model.fit(x, y, batch_size=1, epochs=5, verbose=0, callbacks=[watch])
    assert len(history.epoch) == 1
    assert watch.measurements()[trial_keys.SIGNAL] == 1.0


def test_second_fit_is_measured_anew():
    watch = LossWatch()
    model = compiled(optimizer=keras.optimizers.SGD(0.3))
    fit(model, [watch], 4)
    first = watch.measurements()
    fit(model, [watch], 1)
    second = watch.measurements()
    assert second[trial_keys.INITIAL_LOSS] < first[trial_keys.INITIAL_LOSS]
    assert second[trial_keys.EPOCHS] == 1


def test_nothing_is_measured_without_a_loss():
    watch = LossWatch()
    watch.set_model(compiled())
    watch.on_train_begin()
    watch.on_train_batch_end(0, {})
    watch.on_epoch_end(0, {})
    assert watch.measurements() == {}
