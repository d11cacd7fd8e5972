"""A callback in the same list freezes, unfreezes or compiles in the middle of a fit.

Plain Keras trains on as before after a change of `trainable`, and fails after
`compile`. What tunes the rate begins anew with what is trained then, and says so.
"""

import contextlib
import functools
import itertools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lr
from tests.small_problem import BATCH, STEPS, compiled, data, fit
from tests.test_common_callbacks import most_callbacks

EPOCHS, EPOCH = 4, 2
NOTICE = "begins anew with the optimizer and the weights"


class Change(keras.callbacks.Callback):
    """Acts once, in a hook of an epoch."""

    def __init__(self, act, hook="on_epoch_begin", epoch=EPOCH):
        super().__init__()
        self.act, self.epoch = act, epoch
        setattr(self, hook, self.run)

    def run(self, epoch, logs=None):
        if epoch == self.epoch:
            self.act(self.model)


def freeze(model):
    model.layers[0].trainable = False


def unfreeze(model):
    model.layers[0].trainable = True


def recompile(model):
    optimizer = keras.optimizers.SGD(0.03125)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])


def freeze_and_recompile(model):
    freeze(model)
    recompile(model)


class Snapshot(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.kernels = []

    def on_epoch_end(self, epoch, logs=None):
        kernel = self.model.layers[0].kernel
        self.kernels.append(keras.ops.convert_to_numpy(kernel.value))


@contextlib.contextmanager
def noticed():
    # `pytest.warns` warns again of what TensorFlow's variables warn of, elsewhere.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert sum(NOTICE in str(each.message) for each in caught) == 1


def kernels_of(model, make, act, **where):
    """Fit, and return the first layer's kernel after each epoch, and the history."""
    snapshot = Snapshot()
    callback = make()
    with noticed():
        history = fit(model, [callback, Change(act, **where), snapshot], EPOCHS)
    return snapshot.kernels, history.history, callback


@most_callbacks
def test_frozen_layer_stays_as_it_is_and_the_others_train(make):
    model = compiled()
    kernels, logs, callback = kernels_of(model, make, freeze)
    moves = [np.abs(b - a).max() for a, b in itertools.pairwise(kernels)]
    # Of the epochs 1, 2 and 3; the change comes before the second.
    assert moves[0] > 0
    assert moves[1:] == [0, 0]
    assert np.isfinite(logs["loss"]).all()
    if callback.history_unit == "step":
        assert len(callback.history["learning_rate"]) == EPOCHS * STEPS


@most_callbacks
def test_new_optimizer_is_tuned_from_its_own_rate(make):
    model = compiled()
    first = model.optimizer
    kernels, logs, callback = kernels_of(model, make, recompile)
    second = model.optimizer
    assert second is not first
    assert int(second.iterations) == (EPOCHS - EPOCH) * STEPS
    assert int(first.iterations) == EPOCH * STEPS
    assert np.abs(kernels[3] - kernels[1]).max() > 0
    rates = callback.history["learning_rate"]
    if callback.history_unit == "step":
        assert len(rates) == EPOCHS * STEPS
        # What the logs say is what the optimizer had at the end of each epoch.
        rates = rates[STEPS - 1 :: STEPS]
        assert logs["learning_rate"] == pytest.approx(rates, rel=1e-6)


@pytest.mark.slow
def test_rate_of_a_new_optimizer_starts_from_a_hundredth_of_it():
    _, _, callback = kernels_of(compiled(), keras_lr.MARTHE, recompile)
    before, after = (callback.history["learning_rate"][k] for k in (0, EPOCH * STEPS))
    assert before == pytest.approx(0.05 / 100, rel=1e-6)
    # The first step has no hypergradient, and the annealing begins after 60 %.
    assert after == pytest.approx(0.03125 / 100, rel=1e-6)


@pytest.mark.slow
@most_callbacks
def test_unfrozen_layer_trains(make):
    model = compiled()
    freeze(model)
    kernels, _, _ = kernels_of(model, make, unfreeze)
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[2], kernels[1])


@pytest.mark.slow
@most_callbacks
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end"])
def test_both_at_once_and_at_the_end_of_an_epoch(make, hook):
    model = compiled()
    kernels, logs, _ = kernels_of(model, make, freeze_and_recompile, hook=hook)
    assert np.array_equal(kernels[3], kernels[2])
    assert np.isfinite(logs["loss"]).all()


@most_callbacks
def test_compile_in_mid_epoch_is_noticed_at_the_next_step(make):
    model, steps = compiled(), []

    class Compile(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(batch)
            if len(steps) == STEPS + 2:
                recompile(self.model)

    callback = make()
    with noticed():
        fit(model, [callback, Compile()], 3)
    assert int(model.optimizer.iterations) == 2 * STEPS - 2


@most_callbacks
def test_next_fit_is_a_training_of_its_own(make):
    model = compiled()
    _, _, callback = kernels_of(model, make, recompile)
    fit(model, [callback], 2)
    assert int(model.optimizer.iterations) == (EPOCHS - EPOCH + 2) * STEPS


def test_layer_that_is_frozen_in_mid_epoch_stays_as_it_is_where_steps_run_eagerly():
    model, kernels = compiled(run_eagerly=True), []

    class Freeze(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kernel = self.model.layers[0].kernel
            kernels.append(keras.ops.convert_to_numpy(kernel.value))
            if len(kernels) == 2:
                freeze(self.model)

    with noticed():
        fit(model, [keras_lr.HypergradientDescent(), Freeze()], 1)
    assert not np.array_equal(kernels[0], kernels[1])
    assert np.array_equal(kernels[1], kernels[-1])


class FreezeAtBatch(keras.callbacks.Callback):
    """Freezes at the start of a batch, of those that are counted from 1."""

    def __init__(self, number):
        super().__init__()
        self.number, self.batches = number, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.batches += 1
        if self.batches == self.number:
            freeze(self.model)


# The step is traced in the first batch. Later ones use the trace, with all weights.
WHERE_A_STEP_IS_MADE = pytest.mark.parametrize(
    ("is_eager", "number"),
    [(True, 3), (False, 1)],
    ids=["eager", "traced"],
)


@WHERE_A_STEP_IS_MADE
def test_layer_that_is_frozen_right_before_a_step_is_refused(is_eager, number):
    model = compiled(run_eagerly=is_eager)
    callbacks = [keras_lr.HypergradientDescent(), FreezeAtBatch(number)]
    with pytest.raises(ValueError, match="list the callback before `Hypergradient"):
        fit(model, callbacks, 2)


@pytest.mark.slow
@WHERE_A_STEP_IS_MADE
def test_layer_may_be_frozen_there_by_a_callback_before(is_eager, number):
    model = compiled(run_eagerly=is_eager)
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel.value)
    with noticed():
        fit(model, [FreezeAtBatch(number), keras_lr.HypergradientDescent()], 1)
    moved = model.layers[0].kernel.numpy() - kernel
    # It is noticed before that very step.
    assert np.abs(moved).max() > 0 if number > 1 else not moved.any()


@pytest.mark.slow
def test_last_batch_after_a_freeze_in_mid_epoch_is_like_the_others():
    """It has two rows of four, and is not traced for itself."""
    model, batches = compiled(), tf.data.Dataset.from_tensor_slices(data())

    class Freeze(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == STEPS - 2:
                freeze(self.model)

    callback = keras_lr.HypergradientDescent()
    with noticed():
        fit(model, [callback, Freeze()], 2, x=batches.batch(BATCH))
    assert len(callback.history["loss"]) == 2 * STEPS
    assert np.isfinite(callback.history["loss"]).all()


def test_annealed_rate_is_not_taken_for_the_rate():
    """The last epoch of four is trained at five eighths of it and less."""
    model = compiled()
    held = functools.partial(
        keras_lr.HypergradientDescent, hyper_learning_rate=0.0, anneal=0.4
    )
    _, _, callback = kernels_of(model, held, freeze, epoch=EPOCHS - 1)
    first = callback.history["learning_rate"][0]
    assert callback.history["learning_rate"][-1] < 0.2 * first
    assert float(model.optimizer.learning_rate) == pytest.approx(first, rel=1e-6)
