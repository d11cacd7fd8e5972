"""What every public callback of the package must do, in every form of Keras.

A new callback enters `CALLBACKS` and passes.
"""

import contextlib
import copy
import functools
import re
import runpy
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lr
from keras_lr import _keras
from tests import small_problem
from tests.small_problem import BATCH, STEPS, compiled, fit

BOUNDS = {
    "LipschitzLR": keras_lr.LipschitzLR,
    "LipschitzLR-batch": lambda: keras_lr.LipschitzLR(bound="strict", update="batch"),
    "LipschitzLR-epoch": lambda: keras_lr.LipschitzLR(bound="strict", update="epoch"),
}
HYPERGRADIENTS = {
    "MARTHE": keras_lr.MARTHE,
    "MARTHE-adaptive": lambda: keras_lr.MARTHE(
        update="additive",
        hyper_learning_rate=1e-4,
        hyper_learning_rate_adaptation=1e-4,
        discount="adaptive",
    ),
    "HypergradientDescent": keras_lr.HypergradientDescent,
    "RTHO": keras_lr.RTHO,
}
WALKS = {
    "walk-slope": lambda: keras_lr.LearningRateWalk(every=2, smoothing=0.5),
    # Two losses in bfloat16 are often equal: decisions differ, the rates little.
    "walk-loss": lambda: keras_lr.LearningRateWalk(1.0025),
}
# What takes the optimizer's own step on tensors.
STEPPING = HYPERGRADIENTS | WALKS


@functools.cache
def class_of_example():
    """Return the callback of the gallery's example, which stands for any user's own."""
    example = Path(__file__).parents[1] / "examples" / "plot_own_rule.py"
    return runpy.run_path(str(example))["PolyakStepSize"]


def own_rule():
    # Labels that are noise have no loss of 0, which the rule goes for.
    return class_of_example()(max_learning_rate=0.2)


OWN_RULE = {"PolyakStepSize": own_rule}
CALLBACKS = BOUNDS | STEPPING | OWN_RULE


def callbacks(*by_default, of=CALLBACKS):
    """Parametrize by all callbacks; those that are not named are tested slowly."""
    return pytest.mark.parametrize(
        "make",
        [
            pytest.param(
                make, id=name, marks=() if name in by_default else pytest.mark.slow
            )
            for name, make in of.items()
        ],
    )


# The update of an epoch has the same step as that of a batch, and the hypergradients
# are `MARTHE` except for the discount. What the walk shares with it is tested there.
every_callback = callbacks("LipschitzLR-batch", "MARTHE", "PolyakStepSize")
# `MARTHE` takes seconds to trace, and an own rule has no code that could fail: where
# the class that all share is tested, the fastest callback stands for them by default.
most_callbacks = callbacks("LipschitzLR-batch")
only_marthe = callbacks("MARTHE")

# A rounding of the weights' last bits, over 18 steps in another order of summation.
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


def weights_of(model):
    """Return the weights in an order that no form of the model changes."""
    by_path = sorted(model.weights, key=lambda weight: weight.path.split("/")[-2:])
    return [keras.ops.convert_to_numpy(weight.value) for weight in by_path]


def assert_same_history(history, other):
    assert history.keys() == other.keys()
    for key in history:
        assert history[key] == pytest.approx(other[key], nan_ok=True)


def assert_same_training(run, other, **tolerance):
    """Compare weights, losses and learning rates of two (model, history) pairs."""
    tolerance = tolerance or CLOSE
    for a, b in zip(weights_of(run[0]), weights_of(other[0]), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)
    for key in ("loss", "learning_rate"):
        a, b = run[1].history[key], other[1].history[key]
        np.testing.assert_allclose(a, b, **tolerance)


def train(make, form=small_problem.sequential, epochs=3, fit_kwargs=None, **kwargs):
    model = compiled(form, **kwargs)
    return model, fit(model, [make()], epochs, **(fit_kwargs or {}))


@functools.cache
def usual(make):
    """The run that others are compared with, in float32 and without XLA."""
    return train(make, jit_compile=False)


class Interrupt(keras.callbacks.Callback):
    """Raises in the middle of an epoch, as Ctrl-C does."""

    def __init__(self, epoch, batch=2):
        super().__init__()
        self.epoch, self.batch, self.now = epoch, batch, None

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, self.batch):
            raise KeyboardInterrupt


def assert_left_alone(model):
    assert not {"train_step", "make_train_function"} & set(model.__dict__)
    assert not any("call" in layer.__dict__ for layer in model.layers)
    # The trace stays for the next fit, and does nothing until then.
    left = {name for name in model.__dict__ if "keras_lr" in name}
    assert left <= {"_keras_lr_trace"}


@most_callbacks
@small_problem.every_form
def test_every_model_form_trains_alike(make, form):
    assert_same_training(train(make, form), usual(make))


def as_dataset(x, y):
    return {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)}


def as_dataset_of_unknown_length(x, y):
    batches = as_dataset(x, y)["x"]
    return {"x": batches.filter(lambda *_: True)}


def as_py_dataset(x, y):
    return {"x": small_problem.OrderedData(x, y), "shuffle": False}


@most_callbacks
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras, at the end
@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(as_dataset, marks=pytest.mark.slow),
        as_dataset_of_unknown_length,
        as_py_dataset,
    ],
)
def test_every_data_form_trains_alike(make, convert):
    if convert is as_dataset_of_unknown_length and make is keras_lr.MARTHE:
        # Its discount follows the length, which nobody knows in the first epoch.
        make = functools.partial(keras_lr.MARTHE, discount=0.75)
    fit_kwargs = convert(*small_problem.data())
    assert_same_training(train(make, fit_kwargs=fit_kwargs), usual(make))


@most_callbacks
@pytest.mark.parametrize(
    "compile_kwargs",
    [
        # "auto", which all other tests have, comes to the same.
        pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
        pytest.param({"jit_compile": "auto"}, marks=pytest.mark.slow),
        {"run_eagerly": True},
        {"steps_per_execution": 4},
        pytest.param(
            {"steps_per_execution": 4, "jit_compile": True}, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_every_way_to_compile_trains_alike(make, compile_kwargs):
    run = train(make, **compile_kwargs)
    assert_same_training(run, usual(make))


@most_callbacks
@pytest.mark.parametrize(
    "policy",
    [
        "mixed_float16",
        pytest.param("mixed_bfloat16", marks=pytest.mark.slow),
        # Nothing in it is float32, and nothing scales the loss.
        pytest.param("bfloat16", marks=pytest.mark.slow),
    ],
)
def test_low_precision_follows_float32(make, policy):
    start = compiled().get_weights()
    reference = usual(make)[1].history["learning_rate"]
    keras.config.set_dtype_policy(policy)
    sgd = keras.optimizers.SGD(0.05, momentum=0.5)
    if policy == "mixed_float16":
        # Keras's initial scale overflows, and skips the first steps.
        sgd = keras.optimizers.LossScaleOptimizer(sgd, initial_scale=8.0)
    model = compiled(optimizer=sgd)
    model.set_weights(start)
    history = fit(model, [make()])
    assert all(np.isfinite(w.astype("float32")).all() for w in model.get_weights())
    # bfloat16 has 8 bits of precision, and 18 steps accumulate.
    np.testing.assert_allclose(history.history["learning_rate"], reference, rtol=0.1)


@most_callbacks
def test_two_replicas_equal_one_device_at_the_same_global_batch(make, two_replicas):
    x, y = small_problem.data()
    even = {"x": x[:20], "y": y[:20], "batch_size": 4, "shuffle": False}
    with two_replicas.scope():
        model = compiled(jit_compile=False)
    run = model, fit(model, [make()], **even)
    assert_same_training(run, train(make, jit_compile=False, fit_kwargs=even))


@most_callbacks
def test_learning_rate_is_in_the_logs_from_the_first_epoch(make):
    rates = usual(make)[1].history["learning_rate"]
    assert len(rates) == 3
    assert all(isinstance(rate, float) and rate > 0 for rate in rates)


@callbacks("LipschitzLR-batch", of=BOUNDS | STEPPING)
def test_history_has_its_lists_before_the_first_fit(make):
    callback = make()
    before = dict(callback.history)
    assert not any(before.values())
    fit(compiled(), [callback], epochs=1)
    assert before.keys() == callback.history.keys()


@most_callbacks
def test_csv_logger_behind_us_has_the_column(make, tmp_path):
    path = tmp_path / "log.csv"
    fit(compiled(), [make(), keras.callbacks.CSVLogger(path)])
    header, *rows = path.read_text().splitlines()
    assert "learning_rate" in header.split(",")
    assert len(rows) == 3


@most_callbacks
def test_refit_starts_anew(make):
    callback, model = make(), compiled()
    start = model.get_weights()
    first = fit(model, [callback])
    end, rates = model.get_weights(), copy.deepcopy(callback.history)
    model.set_weights(start)
    for variable in model.optimizer.variables:
        if variable is not model.optimizer.learning_rate:
            variable.assign(keras.ops.zeros_like(variable))
    _keras.set_learning_rate(model.optimizer, 0.05)
    second = fit(model, [callback])
    np.testing.assert_allclose(second.history["loss"], first.history["loss"], **CLOSE)
    for a, b in zip(model.get_weights(), end, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)
    assert_same_history(callback.history, rates)


@most_callbacks
def test_model_is_as_before_after_fit(make):
    model = train(make)[0]
    assert_left_alone(model)


@most_callbacks
def test_fit_after_an_interrupted_one_equals_a_fresh_one(make):
    model, callback = compiled(), make()
    fit(model, epochs=1)  # The plain step is traced before.
    weights = model.get_weights()
    values = [keras.ops.convert_to_numpy(v.value) for v in model.optimizer.variables]
    expected = fit(model, [make()])
    for variable, value in zip(model.optimizer.variables, values, strict=True):
        variable.assign(value)
    model.set_weights(weights)
    with pytest.raises(KeyboardInterrupt):
        fit(model, [callback, Interrupt(1)])
    for variable, value in zip(model.optimizer.variables, values, strict=True):
        variable.assign(value)
    model.set_weights(weights)
    again = fit(model, [callback])
    assert again.history["loss"] == pytest.approx(expected.history["loss"], rel=1e-5)
    assert_left_alone(model)


@most_callbacks
def test_interrupted_fit_leaves_nothing_that_acts_in_a_plain_one(make):
    model = compiled()
    with pytest.raises(KeyboardInterrupt):
        fit(model, [make(), Interrupt(1)])
    _keras.set_learning_rate(model.optimizer, 0.03125)
    fit(model, epochs=2)
    assert _keras.get_learning_rates(model.optimizer) == {"learning_rate": 0.03125}
    assert_left_alone(model)


@only_marthe
def test_resume_from_a_backup_equals_the_uninterrupted_run(make, tmp_path):
    expected = train(make, epochs=4)

    def callbacks():
        callback = make()
        if hasattr(callback, "backup_dir"):
            callback.backup_dir = tmp_path / "state"
        return [keras.callbacks.BackupAndRestore(tmp_path / "backup"), callback]

    with pytest.raises(KeyboardInterrupt):
        fit(compiled(), [*callbacks(), Interrupt(2)], epochs=4)
    model = compiled()
    history = fit(model, callbacks(), epochs=4)
    for a, b in zip(model.get_weights(), expected[0].get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    rates = expected[1].history["learning_rate"]
    np.testing.assert_allclose(history.history["learning_rate"], rates[2:], rtol=1e-6)


@most_callbacks
def test_models_saved_in_mid_fit_load_and_go_on(make, tmp_path):
    path = str(tmp_path / "{epoch}.keras")
    model, checkpoint = compiled(), keras.callbacks.ModelCheckpoint(path)
    fit(model, [make(), checkpoint], epochs=2)
    loaded = keras.models.load_model(path.format(epoch=2))
    for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert_left_alone(loaded)
    assert np.isfinite(fit(loaded, [make()], epochs=2).history["loss"]).all()


class CopyInMidFit(keras.callbacks.Callback):
    """Copies another callback, the model and a pickle of it while it works."""

    def __init__(self, callback):
        super().__init__()
        self.callback, self.copies = callback, []

    def on_epoch_end(self, epoch, logs=None):
        self.copies.append(copy.deepcopy(self.callback))
        clone = copy.deepcopy(self.model)
        assert_left_alone(clone)
        assert not any("keras_lr" in name for name in clone.__dict__)


@most_callbacks
def test_copies_are_independent_also_in_mid_fit(make):
    callback = make()
    copier = CopyInMidFit(callback)
    fit(compiled(), [callback, copier])
    lengths = [len(each.history["learning_rate"]) for each in copier.copies]
    assert lengths in ([1, 2, 3], [STEPS, 2 * STEPS, 3 * STEPS])
    assert copier.copies[0].model is None
    expected = usual(make)[1]
    again = fit(compiled(), [copier.copies[1]])
    assert again.history["loss"] == pytest.approx(expected.history["loss"], rel=1e-6)


@most_callbacks
def test_step_is_traced_once_for_all_fits_with_equal_callbacks(make):
    model, traces = compiled(jit_compile=False), []
    # TensorFlow traces a step twice that makes variables, as Keras's first one does.
    fit(model, epochs=1)
    plain = model.train_step

    def counted(data):
        traces.append(data)
        return plain(data)

    model.train_step = counted
    x, y = small_problem.data()
    for _ in range(3):
        # An even number of batches: a partial one has a shape of its own.
        fit(model, [make()], x=x[:20], y=y[:20], batch_size=BATCH)
    assert len(traces) == 1


@most_callbacks
def test_validation_batches_do_not_leak_in(make):
    x, y = small_problem.data()
    with_validation = {"validation_data": (1e3 * x, y)}
    run = train(make, jit_compile=False, fit_kwargs=with_validation)
    assert_same_training(run, usual(make))


@most_callbacks
def test_config_round_trip_trains_alike(make):
    callback = make()
    twin = type(callback).from_config(callback.get_config())
    assert twin.get_config() == callback.get_config()
    assert_same_training(train(lambda: twin), usual(make))


@pytest.mark.filterwarnings("ignore:.* so no other callback should")
@most_callbacks
def test_two_of_our_callbacks_in_one_fit_are_removed_both(make):
    model = compiled()
    history = fit(model, [make(), keras_lr.LipschitzLR()])
    assert len(history.history["learning_rate"]) == 3
    assert_left_alone(model)


@most_callbacks
def test_train_on_batch_in_mid_fit_does_not_end_the_callback(make):
    class Disturb(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.model.train_on_batch(*small_problem.data())

    model, callback = compiled(), make()
    fit(model, [callback, Disturb()])
    norms = callback.history.get("activation_norm", [1.0])
    assert np.all(np.asarray(norms) > 0)
    assert_left_alone(model)


needs_multi_optimizer = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"),
    reason="MultiOptimizer is public since Keras 3.15",
)


def multi_optimizer():
    inner = {
        ".*logits.*": keras.optimizers.SGD(0.1, name="for_logits"),
    }
    default = keras.optimizers.SGD(0.2, name="for_others")
    return keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(default, inner)
    )


@needs_multi_optimizer
@callbacks("LipschitzLR-batch", of=BOUNDS)
def test_multi_optimizer_logs_a_rate_for_each(make):
    logs = train(make, optimizer=multi_optimizer())[1].history
    assert {"learning_rate_for_logits", "learning_rate_for_others"} <= set(logs)


@needs_multi_optimizer
@callbacks("MARTHE", of=STEPPING | OWN_RULE)
def test_multi_optimizer_has_no_one_rate_to_tune(make):
    with pytest.raises(ValueError, match=r"one optimizer.*<MultiOptimizer> of 2"):
        train(make, optimizer=multi_optimizer())


@most_callbacks
def test_schedule_in_the_optimizer_is_refused(make):
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    with pytest.raises(ValueError, match=r"float `learning_rate`.*<CosineDecay>"):
        train(make, optimizer=keras.optimizers.SGD(schedule))


@most_callbacks
def test_callable_learning_rate_is_refused(make):
    def half():
        return 0.5

    with pytest.raises(ValueError, match=r"float `learning_rate`.*<half>"):
        train(make, optimizer=keras.optimizers.SGD(half))


@most_callbacks
@pytest.mark.parametrize("rate", [0.0, -0.1, float("nan"), float("inf")])
def test_rate_that_cannot_train_is_refused(make, rate):
    model = compiled(optimizer=keras.optimizers.SGD(0.1))
    model.optimizer.learning_rate = rate
    with pytest.raises(ValueError, match=rf"positive and finite.*learning_rate={rate}"):
        fit(model, [make()])


@every_callback
def test_automatic_steps_per_execution_is_refused_in_our_words(make):
    """Keras's documentation has `"auto"`, its `fit` has not: it ends in a TypeError."""
    with pytest.raises(ValueError, match=r"is an integer.*_per_execution='auto'"):
        train(make, steps_per_execution="auto")


@every_callback
def test_refused_fit_leaves_the_model_alone(make):
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model = compiled(optimizer=keras.optimizers.SGD(schedule))
    weights = model.get_weights()
    with pytest.raises(ValueError, match="learning_rate"):
        fit(model, [make()])
    assert_left_alone(model)
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)


@only_marthe
@pytest.mark.parametrize(
    "keeps_count",
    [pytest.param(True, marks=pytest.mark.slow), False],
    ids=["initial_epoch", "epochs=1"],
)
def test_fits_of_a_training_are_one_training(make, keeps_count):
    """Neither annealed to zero in each, nor begun anew."""
    model, callback = compiled(jit_compile=False), make()
    callback.total_epochs = 3
    losses = []
    for epoch in range(3):
        first = epoch if keeps_count else 0
        logs = fit(model, [callback], first + 1, initial_epoch=first)
        losses += logs.history["loss"]
    expected_model, expected = usual(make)
    assert losses == pytest.approx(expected.history["loss"], rel=1e-6)
    for a, b in zip(weights_of(model), weights_of(expected_model), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)
    rates = callback.history["learning_rate"]
    assert len(rates) in (3, 3 * STEPS)
    # The training is over: the next fit begins another one.
    fit(model, [callback], 2)
    assert len(callback.history["learning_rate"]) == 2 * len(rates) // 3


ASKS = r"`LearningRateWalk` cannot tell how long .* Pass `total_epochs`"


def test_piece_of_a_training_is_not_annealed_and_asks_for_the_length_once():
    """A fit of one epoch, of a model that has been trained."""
    model, callback = compiled(jit_compile=False), keras_lr.LearningRateWalk()
    fit(model, [callback], 1)
    first = callback.history["learning_rate"]
    assert first[-1] < 0.6 * max(first)
    with pytest.warns(UserWarning, match=ASKS):
        fit(model, [callback], 1)
    # A second warning would be an error.
    fit(model, [callback], 5, initial_epoch=4)
    rates = callback.history["learning_rate"]
    assert min(rates[-STEPS:]) > 0.9 * rates[-STEPS]
    # Two epochs are a training.
    fit(model, [callback], 2)
    rates = callback.history["learning_rate"]
    assert rates[-1] < 0.6 * max(rates)


PIECES = r"`LipschitzLR` has lowered .* to zero .* pass `total_epochs`, .*`anneal=0.0`"


@contextlib.contextmanager
def asked(expected):
    """Require so many warnings that ask for the length of the training."""
    # `pytest.warns` warns again of what TensorFlow's variables warn of, elsewhere.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    number = sum(bool(re.match(PIECES, str(each.message))) for each in caught)
    assert number == expected


@pytest.mark.parametrize(
    "counts",
    [pytest.param(True, marks=pytest.mark.slow), False],
    ids=["initial_epoch", "epochs=2"],
)
def test_pieces_that_are_annealed_one_by_one_are_noticed_once(counts):
    """At the second one where epochs go on counting, at the third one where not."""
    model, callback = compiled(jit_compile=False), keras_lr.LipschitzLR()
    starts = [2 * number if counts else 0 for number in range(4)]
    quiet = 1 if counts else 2
    with asked(0):
        for start in starts[:quiet]:
            fit(model, [callback], start + 2, initial_epoch=start)
    with asked(1):
        for start in starts[quiet:]:
            fit(model, [callback], start + 2, initial_epoch=start)


def set_weights_back(model, initial):
    """Set the weights back, as between the parts of a cross-validation."""
    model.set_weights(initial)


def compile_again(model, initial):
    optimizer = keras.optimizers.SGD(0.05)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)


def freeze_a_layer(model, initial):
    model.layers[0].trainable = not model.layers[0].trainable


def train_with_something_else(model, initial):
    fit(model, epochs=1)


@pytest.mark.parametrize(
    ("between", "counts"),
    [
        (set_weights_back, False),
        pytest.param(compile_again, True, marks=pytest.mark.slow),
        pytest.param(compile_again, False, marks=pytest.mark.slow),
        pytest.param(freeze_a_layer, True, marks=pytest.mark.slow),
        pytest.param(train_with_something_else, False, marks=pytest.mark.slow),
    ],
)
def test_trainings_of_their_own_are_no_pieces(between, counts):
    model, callback = compiled(jit_compile=False), keras_lr.LipschitzLR()
    initial = model.get_weights()
    with asked(0):
        for number in range(3):
            start = 2 * number if counts else 0
            fit(model, [callback], start + 2, initial_epoch=start)
            between(model, initial)


@pytest.mark.slow
def test_models_and_callbacks_that_are_new_are_no_pieces():
    shared, one = keras_lr.LipschitzLR(), compiled(jit_compile=False)
    with asked(0):
        for _ in range(3):
            fit(compiled(jit_compile=False), [shared], 2)
        for number in range(3):
            callback = keras_lr.LipschitzLR()
            fit(one, [callback], 2 * number + 2, initial_epoch=2 * number)


@pytest.mark.slow
def test_fits_that_do_not_end_at_zero_are_no_pieces():
    """Because they end early, because of `anneal`, or because the length is known."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    with asked(0):
        for arguments in ({}, {"anneal": 0.0}, {"total_epochs": 30}):
            model = compiled(jit_compile=False)
            callbacks = [keras_lr.LipschitzLR(**arguments)]
            for _ in range(3):
                fit(model, callbacks if arguments else [*callbacks, Stop()], 3)


@pytest.mark.slow
def test_restored_training_is_no_piece(tmp_path):
    model, callback = compiled(jit_compile=False), keras_lr.LipschitzLR()
    with asked(0):
        for epochs in (2, 4, 6):
            backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
            fit(model, [backup, callback], epochs)
