"""Refits: what was traced is used again where it can be, and only there."""

import copy
import gc
import pickle
import sys
import weakref

import keras
import numpy as np
import pytest
from tensorflow.python.framework.func_graph import FuncGraph

import keras_lr
from tests import small_problem
from tests.example_scripts import scripts_of
from tests.small_problem import compiled, fit

VALIDATION = small_problem.data(seed=1)

CALLBACKS = {
    "MARTHE": keras_lr.MARTHE,
    "MARTHE-validation": lambda: keras_lr.MARTHE(
        (VALIDATION[0], VALIDATION[1]), validation_batch_size=5, every=4
    ),
    "MARTHE-adaptive": lambda: keras_lr.MARTHE(
        update="additive",
        hyper_learning_rate=1e-3,
        hyper_learning_rate_adaptation=1e-3,
        discount="adaptive",
    ),
    "walk-slope": lambda: keras_lr.LearningRateWalk(every=4, smoothing=0.5),
    "walk-loss": lambda: keras_lr.LearningRateWalk(1.1),
    "LipschitzLR": keras_lr.LipschitzLR,
    "LipschitzLR-epoch": lambda: keras_lr.LipschitzLR(update="epoch"),
    "LipschitzLR-forward_pass": lambda: keras_lr.LipschitzLR(
        bound="strict", update="epoch", source="forward_pass", data=VALIDATION
    ),
}
# The trace is kept by the class that all share, and this one is traced fastest.
FAST = ("LipschitzLR",)
every_callback = pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=() if name in FAST else pytest.mark.slow)
        for name, make in CALLBACKS.items()
    ],
)


def counted_model(**kwargs):
    """Return a model, and a list that grows whenever something of it is traced."""
    model, calls = compiled(**kwargs), []

    def counted_relu(inputs):
        calls.append(None)
        return keras.activations.relu(inputs)

    model.layers[0].activation = counted_relu
    return model, calls


def traces(model, calls, callback):
    before = len(calls)
    fit(model, [callback], epochs=2)
    return len(calls) - before


def number_of_graphs():
    gc.collect()
    return sum(isinstance(each, FuncGraph) for each in gc.get_objects())


def assert_same(result, expected):
    """Compare histories and weights, to the last bit."""
    (history, weights), (expected_history, expected_weights) = result, expected
    assert history.keys() == expected_history.keys()
    for name, values in expected_history.items():
        np.testing.assert_array_equal(history[name], values, err_msg=name)
    for array, expected_array in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(array, expected_array)


@every_callback
def test_refits_with_equal_callbacks_trace_nothing_and_leave_no_graph(make):
    model, calls = counted_model()
    fit(model, [make()], epochs=2)
    traced, graphs = len(calls), number_of_graphs()
    same = make()
    for callback in (make(), same, same):
        fit(model, [callback], epochs=2)
    assert len(calls) == traced > 0
    assert number_of_graphs() <= graphs


@every_callback
def test_refit_equals_one_that_is_traced_anew(make):
    results = []
    for is_traced_anew in (False, True):
        keras.utils.set_random_seed(0)
        model, calls = counted_model()
        fit(model, [make()], epochs=2)
        if is_traced_anew:
            model.make_train_function(force=True)
        traced, callback = len(calls), make()
        fit(model, [callback], epochs=2)
        assert (len(calls) > traced) == is_traced_anew
        results.append([callback.history, model.get_weights()])
    assert_same(*results)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MARTHE-validation", "walk-slope", "LipschitzLR"])
def test_refit_on_two_replicas_equals_one_that_is_traced_anew(name, two_replicas):
    results = []
    for is_traced_anew in (False, True):
        keras.utils.set_random_seed(0)
        with two_replicas.scope():
            model, calls = counted_model()
        x, y = small_problem.data()
        for _ in range(2):
            traced, callback = len(calls), CALLBACKS[name]()
            fit(model, [callback], x=x[:20], y=y[:20], batch_size=4, epochs=2)
            if is_traced_anew:
                model.make_train_function(force=True)
        assert (len(calls) > traced) == is_traced_anew
        results.append([callback.history, model.get_weights()])
    assert_same(*results)


class Fail(keras.callbacks.Callback):
    """Raises in mid-epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 3:
            raise ArithmeticError


@pytest.mark.parametrize(
    "name",
    [
        "LipschitzLR",
        *(
            pytest.param(x, marks=pytest.mark.slow)
            for x in ("walk-slope", "MARTHE-validation")
        ),
    ],
)
def test_refit_after_an_interrupted_one_begins_anew(name):
    make, results = CALLBACKS[name], []
    for is_traced_anew in (False, True):
        keras.utils.set_random_seed(0)
        model, calls = counted_model()
        with pytest.raises(ArithmeticError):
            fit(model, [make(), Fail()])
        if is_traced_anew:
            model.make_train_function(force=True)
        traced, callback = len(calls), make()
        fit(model, [callback], epochs=2)
        results.append([callback.history, model.get_weights(), len(calls) - traced])
    # The last batch, which has two rows, is traced in any case.
    assert results[0].pop() < results[1].pop()
    assert_same(*results)


# Keras's own conversion of a table to NumPy warns too.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.slow
def test_refit_after_a_rollback_begins_anew():
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    results = []
    for is_traced_anew in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.01), "mse")
        callback = keras_lr.MARTHE(initial_learning_rate=8.0)
        with pytest.warns(UserWarning, match="diverges"):
            fit(model, [callback], x=x, y=x[:, :1], batch_size=4)
        if is_traced_anew:
            model.make_train_function(force=True)
        with pytest.warns(UserWarning, match="diverges"):
            fit(model, [callback], x=x, y=x[:, :1], batch_size=4)
        results.append([callback.history, model.get_weights()])
    assert_same(*results)


def freeze(model):
    model.layers[0].trainable = False


CHANGES = {
    "compile": lambda model: model.compile(
        model.optimizer, "sparse_categorical_crossentropy"
    ),
    "optimizer": lambda model: model.compile(
        keras.optimizers.Adam(), "sparse_categorical_crossentropy"
    ),
    "freezing": freeze,
    "momentum": lambda model: setattr(model.optimizer, "momentum", 0.25),
    "clipnorm": lambda model: setattr(model.optimizer, "clipnorm", 1.0),
    "run_eagerly": lambda model: setattr(model, "run_eagerly", True),
    "jit_compile": lambda model: setattr(model, "jit_compile", True),
    "steps_per_execution": lambda model: setattr(model, "steps_per_execution", 2),
    "train_step": lambda model: setattr(model, "train_step", own_step(model)),
}


def own_step(model):
    plain = model.train_step

    def step(data):
        return plain(data)

    return step


# The weights and the step; the optimizer is the slowest of the three kinds.
FAST_CHANGES = ("freezing", "train_step")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            change, id=name, marks=() if name in FAST_CHANGES else pytest.mark.slow
        )
        for name, change in CHANGES.items()
    ],
)
def test_changed_model_is_traced_anew(change):
    model, calls = counted_model(jit_compile=False)
    # The callback that is traced fastest and can do with each change.
    assert traces(model, calls, keras_lr.HypergradientDescent()) > 0
    change(model)
    assert traces(model, calls, keras_lr.HypergradientDescent()) > 0


def with_data(labels=VALIDATION[1]):
    return keras_lr.MARTHE((VALIDATION[0], labels))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "is_traced"),
    [
        (keras_lr.MARTHE, lambda: keras_lr.MARTHE(discount=0.9), True),
        pytest.param(
            with_data,
            lambda: with_data(VALIDATION[1].copy()),
            True,
            marks=pytest.mark.slow,
        ),
        pytest.param(with_data, with_data, False, marks=pytest.mark.slow),
        pytest.param(
            lambda: keras_lr.MARTHE(discount=1.0),
            keras_lr.RTHO,
            True,
            marks=pytest.mark.slow,
        ),
        pytest.param(with_data, keras_lr.MARTHE, True, marks=pytest.mark.slow),
        pytest.param(
            keras_lr.MARTHE, keras_lr.LearningRateWalk, True, marks=pytest.mark.slow
        ),
    ],
    ids=["argument", "other data", "same data", "class", "no data", "method"],
)
def test_changed_callback_is_traced_anew(first, second, is_traced):
    model, calls = counted_model()
    assert traces(model, calls, first()) > 0
    assert (traces(model, calls, second()) > 0) == is_traced


@pytest.mark.slow
def test_frozen_weights_stay_and_the_others_move():
    model, _ = counted_model()
    fit(model, [keras_lr.MARTHE()], epochs=2)
    freeze(model)
    hidden, logits = (layer.kernel.numpy() for layer in model.layers[:2])
    fit(model, [keras_lr.MARTHE()], epochs=2)
    np.testing.assert_array_equal(model.layers[0].kernel.numpy(), hidden)
    assert np.all(model.layers[1].kernel.numpy() != logits)


@pytest.mark.filterwarnings("ignore:.* so no other callback should")
@pytest.mark.slow
def test_two_equal_callbacks_in_one_fit_have_a_fit_each():
    model, fits = compiled(), []
    first, second = keras_lr.LipschitzLR(), keras_lr.LipschitzLR()
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: fits.append((first._fit, second._fit))
    )
    for _ in range(2):
        fit(model, [first, second, note], epochs=2)
    for one, other in fits:
        assert one is not other


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        keras.models.clone_model,
        lambda model: pickle.loads(pickle.dumps(model)),
    ],
    ids=["deepcopy", "clone", "pickle"],
)
def test_copies_of_a_model_have_no_trace(copied):
    model = compiled()
    fit(model, [keras_lr.LipschitzLR()], epochs=2)
    assert "_keras_lr_trace" in vars(model)
    assert "_keras_lr_trace" not in vars(copied(model))


@pytest.mark.slow
def test_saved_model_has_the_size_of_one_that_was_trained_plainly(tmp_path):
    sizes = []
    for callbacks in ([], [keras_lr.MARTHE()]):
        model = compiled()
        fit(model, callbacks, epochs=2)
        model.save(tmp_path / "model.keras")
        sizes.append((tmp_path / "model.keras").stat().st_size)
    # The names of layers are longer by a digit, if anything.
    assert sizes[1] == pytest.approx(sizes[0], abs=200)


def test_trace_goes_with_its_model():
    model = compiled()
    fit(model, [keras_lr.LipschitzLR()], epochs=2)
    reference = weakref.ref(vars(model)["_keras_lr_trace"].wrappers[0])
    assert reference() is not None
    del model
    gc.collect()
    assert reference() is None


@pytest.mark.slow
@pytest.mark.parametrize("objects", ["same", "new"])
@pytest.mark.parametrize(
    "callback",
    ["MARTHE", "LearningRateWalk, slope", "LearningRateWalk, loss", "LipschitzLR"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_refit_leaves_less_than_a_fifth_of_a_megabyte(callback, objects, tmp_path):
    with scripts_of("benchmarks/overhead") as scripts:
        script = scripts("refits")
        task = [(callback, objects, 60)]
        # In a process of its own.
        rows = script.measure(script.refits, task, script.COLUMNS, tmp_path / "rows")
    assert rows[0]["traced"] == "0"
    assert float(rows[0]["mb_per_refit"]) < 0.2
