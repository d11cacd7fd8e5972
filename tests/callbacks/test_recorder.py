import copy
import csv
import math
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lr
from keras_lr import LearningRateRecorder
from tests import small_problem
from tests.comparison import linear_problem
from tests.small_problem import BATCH, STEPS, compiled, fit

# The batch's are all rates that there are, and the epoch's the last of them.
mostly_batches = pytest.mark.parametrize(
    "every", [pytest.param("epoch", marks=pytest.mark.slow), "batch"]
)
# "auto", which all other tests have, compiles.
compiled_or_not = pytest.mark.parametrize(
    "jit_compile", [pytest.param(False, marks=pytest.mark.slow), True]
)


def halving():
    """Return 1, 1/2, 1/4, ... after 0, 1, 2, ... steps; all exact in float32."""
    return keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)


def normalized():
    """Return Algorithm 1 without momentum: steps of length 0.5, K the gradient's norm.

    Its rate is 0.5 / K.
    """
    return keras_lr.AdaMo(0.5, momentum=0.0, variant="paper")


def after(*steps):
    """Return what `halving` gives for the steps with these numbers, from 1."""
    return [0.5 ** (number - 1) for number in steps]


def scheduled(**kwargs):
    return compiled(optimizer=keras.optimizers.SGD(halving()), **kwargs)


def record(model, every="epoch", epochs=3, before=(), behind=(), **kwargs):
    """Fit with a recorder among other callbacks; return it and Keras's history."""
    recorder = LearningRateRecorder(every, log_diagnostics=True)
    logs = fit(model, [*before, recorder, *behind], epochs, **kwargs).history
    return recorder, logs


class Interrupt(keras.callbacks.Callback):
    """Raises, or stops, in the middle of an epoch."""

    def __init__(self, epoch, *, stop=False):
        super().__init__()
        self.epoch, self.stop, self.now = epoch, stop, None

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, 2):
            if not self.stop:
                raise KeyboardInterrupt
            self.model.stop_training = True


def test_epoch_has_the_rate_of_its_last_step_in_history_and_logs():
    recorder, logs = record(scheduled())
    assert recorder.history == {"learning_rate": after(6, 12, 18)}
    assert logs["learning_rate"] == after(6, 12, 18)
    assert all(isinstance(rate, float) for rate in logs["learning_rate"])


def test_batch_has_the_rate_of_its_step():
    x, y = small_problem.data()
    # Two validation batches must not be taken for the number of training batches.
    validation = {"validation_data": (x[:8], y[:8]), "validation_batch_size": 4}
    recorder, logs = record(scheduled(), "batch", **validation)
    numbers = list(range(1, 3 * STEPS + 1))
    assert recorder.history == {"batch": numbers, "learning_rate": after(*numbers)}
    assert logs["learning_rate"] == after(6, 12, 18)


def test_execution_of_several_batches_has_the_rate_of_its_last():
    recorder, logs = record(scheduled(steps_per_execution=4), "batch")
    numbers = [4, 6, 10, 12, 16, 18]
    assert recorder.history == {"batch": numbers, "learning_rate": after(*numbers)}
    assert logs["learning_rate"] == after(6, 12, 18)


@mostly_batches
@compiled_or_not
@pytest.mark.parametrize("steps_per_execution", [1, 4])
def test_effective_rate_is_logged_from_the_first_epoch(
    every, jit_compile, steps_per_execution
):
    model = linear_problem.build_model()
    model.compile(
        normalized(),
        "mse",
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    data = {"x": linear_problem.X, "y": 2 * linear_problem.X, "batch_size": 4}
    recorder, logs = record(model, every, epochs=2, **data)
    # Every step goes up by 0.5, from 0 to 2; the gradient of (w - 2)^2 is 2 (w - 2).
    constants = [4.0, 3.0, 2.0, 1.0]
    assert logs["learning_rate"] == [0.5, 0.5]
    assert logs["lipschitz_constant"] == constants[1::2]
    # A sixth is not exact in float32.
    effective = pytest.approx([0.5 / each for each in constants[1::2]], rel=1e-7)
    assert logs["effective_learning_rate"] == effective
    has_each = every == "batch" and steps_per_execution == 1
    expected = constants if has_each else constants[1::2]
    assert recorder.history["lipschitz_constant"] == expected


def test_run_eagerly_records_alike():
    assert record(scheduled(run_eagerly=True))[0].history == {
        "learning_rate": after(6, 12, 18)
    }


class Moves(keras.callbacks.Callback):
    """Measures by how much each step lowers a model's only weight."""

    def __init__(self):
        super().__init__()
        self.weights = [0.0]

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(self.model.get_weights()[0].item())

    def measured(self):
        return (-np.diff(self.weights)).tolist()


@mostly_batches
@compiled_or_not
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras, at the end
def test_dataset_of_unknown_length_has_the_rates_that_moved_the_weight(
    every, jit_compile
):
    model, moves = linear_problem.build_model(), Moves()
    # The gradient of the mean output at inputs of 1 is 1. Keras counts an iteration
    # too many when the data end, unless the step is compiled: a rate is left out.
    model.compile(
        keras.optimizers.SGD(halving()),
        lambda y_true, y_pred: keras.ops.mean(y_pred),
        jit_compile=jit_compile,
    )
    batches = tf.data.Dataset.from_tensor_slices((linear_problem.X,) * 2).batch(2)
    data = {"x": batches.filter(lambda *_: True)}
    recorder, logs = record(model, every, behind=[moves], **data)
    rates = moves.measured()
    assert len(set(rates)) == 12
    assert logs["learning_rate"] == rates[3::4]
    expected = rates if every == "batch" else rates[3::4]
    assert recorder.history["learning_rate"] == expected
    assert recorder.history.get("batch", [12])[-1] == 12


@mostly_batches
def test_training_is_not_changed(every):
    expected, model = compiled(), compiled()
    fit(expected)
    recorder, _ = record(model, every)
    assert set(recorder.history["learning_rate"]) == {float(np.float32(0.05))}
    for a, b in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(model.optimizer.variables) == len(expected.optimizer.variables)


@mostly_batches
def test_fit_that_stops_in_mid_epoch_has_its_last_step(every):
    recorder, logs = record(scheduled(), every, before=[Interrupt(1, stop=True)])
    assert logs["learning_rate"] == after(6, 9)
    assert recorder.history["learning_rate"][-1] == after(9)[0]


@mostly_batches
def test_step_that_loss_scaling_skips_does_not_count(every):
    sgd = keras.optimizers.SGD(halving())
    model = compiled(optimizer=keras.optimizers.LossScaleOptimizer(sgd))
    x, y = small_problem.data()
    x[-1] = np.inf  # In the last of the six batches.
    data = {"x": x, "y": y, "batch_size": BATCH, "shuffle": False}
    recorder, logs = record(model, every, epochs=1, **data)
    assert logs["learning_rate"] == after(5)
    expected = after(1, 2, 3, 4, 5, 5) if every == "batch" else after(5)
    assert recorder.history["learning_rate"] == expected


def test_mixed_precision_has_the_effective_rate():
    keras.config.set_dtype_policy("mixed_float16")
    model = compiled(optimizer=normalized())
    assert hasattr(model.optimizer, "inner_optimizer")
    recorder, logs = record(model, "batch")
    for rate, constant in zip(
        logs["effective_learning_rate"], logs["lipschitz_constant"], strict=True
    ):
        assert rate * constant == pytest.approx(0.5, rel=1e-6)
    assert len(recorder.history["effective_learning_rate"]) == 3 * STEPS


@pytest.mark.slow
def test_two_replicas_equal_one_device_at_the_same_global_batch(two_replicas):
    x, y = small_problem.data()
    even = {"x": x[:20], "y": y[:20], "batch_size": 4, "shuffle": False}
    with two_replicas.scope():
        model = compiled(optimizer=keras_lr.AdaMo(halving()), jit_compile=False)
    several, _ = record(model, "batch", **even)
    single = compiled(optimizer=keras_lr.AdaMo(halving()), jit_compile=False)
    expected, _ = record(single, "batch", **even)
    assert several.history.keys() == expected.history.keys()
    assert several.history["learning_rate"] == after(*range(1, 16))
    for key, values in expected.history.items():
        # Sums in another order, over 15 steps.
        assert several.history[key] == pytest.approx(values, rel=2e-5)


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"),
    reason="MultiOptimizer is public since Keras 3.15",
)
def test_several_optimizers_have_a_list_each():
    logits = {".*logits.*": keras.optimizers.SGD(halving(), name="for_logits")}
    default = keras_lr.AdaMo(0.25, name="for_others")
    optimizer = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(default, logits)
    )
    recorder, logs = record(compiled(optimizer=optimizer))
    assert recorder.history["learning_rate_for_logits"] == after(6, 12, 18)
    assert recorder.history["learning_rate_for_others"] == [0.25] * 3
    assert set(recorder.history) == {
        "learning_rate_for_logits",
        "learning_rate_for_others",
        "effective_learning_rate_for_others",
        "lipschitz_constant_for_others",
    }
    assert recorder.history.items() <= logs.items()


def test_callable_rate_is_recorded():
    model = compiled(optimizer=keras.optimizers.SGD(lambda: 0.125))
    assert record(model)[0].history == {"learning_rate": [0.125] * 3}


@mostly_batches
@pytest.mark.parametrize("place", ["before", "behind"])
def test_plateau_changes_the_next_epoch_and_not_this_one(every, place):
    model = compiled(optimizer=keras.optimizers.SGD(0.5))
    # Nothing improves by 100: halved after every epoch but the first.
    plateau = keras.callbacks.ReduceLROnPlateau("loss", 0.5, 1, min_delta=100)
    recorder, logs = record(model, every, **{place: [plateau]})
    assert logs["learning_rate"] == [0.5, 0.5, 0.25]
    step = 1 if every == "epoch" else STEPS
    assert recorder.history["learning_rate"][step - 1 :: step] == [0.5, 0.5, 0.25]


@mostly_batches
@pytest.mark.parametrize("place", ["before", "behind"])
def test_lipschitz_rate_is_the_one_trained_with(every, place):
    lipschitz = keras_lr.LipschitzLR()
    recorder, logs = record(compiled(), every, **{place: [lipschitz]})
    step = 1 if every == "epoch" else STEPS
    rates = recorder.history["learning_rate"][step - 1 :: step]
    assert rates == lipschitz.history["learning_rate"] == logs["learning_rate"]
    assert len(set(rates)) == 3


@mostly_batches
def test_rate_that_another_callback_sets_at_the_end_is_of_the_next_epoch(every):
    def set_next(epoch, logs):
        model.optimizer.learning_rate = 0.25

    model = compiled(optimizer=keras.optimizers.SGD(0.5))
    setter = keras.callbacks.LambdaCallback(on_epoch_end=set_next)
    _, logs = record(model, every, before=[setter])
    assert logs["learning_rate"] == [0.5, 0.25, 0.25]


def test_logged_rate_is_kept_and_recorded():
    def log(epoch, logs):
        logs["learning_rate"] = 10.0 + epoch

    before = [keras.callbacks.LambdaCallback(on_epoch_end=log)]
    recorder, logs = record(compiled(), before=before)
    assert recorder.history["learning_rate"] == logs["learning_rate"] == [10, 11, 12]


def test_csv_logger_behind_it_has_the_columns(tmp_path):
    path = tmp_path / "log.csv"
    model = compiled(optimizer=keras_lr.AdaMo())
    recorder, _ = record(model, behind=[keras.callbacks.CSVLogger(path)])
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    for key, values in recorder.history.items():
        assert [float(row[header.index(key)]) for row in rows] == values


def scalars(folder):
    """Return (step, value) of each scalar that `TensorBoard` wrote, by its name."""
    found = {}
    for path in sorted(folder.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                number = float(tf.make_ndarray(value.tensor))
                found.setdefault(value.tag, []).append((event.step, number))
    return found


def test_tensorboard_behind_it_has_the_effective_rate(tmp_path):
    board = keras.callbacks.TensorBoard(tmp_path, write_graph=False)
    model = compiled(optimizer=keras_lr.AdaMo(0.5))
    recorder, _ = record(model, behind=[board])
    found = scalars(tmp_path / "train")
    effective = recorder.history["effective_learning_rate"]
    assert found["epoch_effective_learning_rate"] == list(enumerate(effective))
    # Its own key for the optimizer's rate, which it reads itself.
    assert found["epoch_learning_rate"] == [(0, 0.5), (1, 0.5), (2, 0.5)]


@mostly_batches
def test_csv_file_and_data_frame_have_a_row_for_each_entry(every, tmp_path):
    recorder, _ = record(scheduled(), every)
    recorder.to_csv(tmp_path / "rates.csv")
    with (tmp_path / "rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for key, values in recorder.history.items():
        assert [float(row[key]) for row in rows] == values
    frame = recorder.to_dataframe()
    assert frame.to_dict("list") == recorder.history


def test_missing_pandas_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'pip install "keras_lr\[examples\]"'):
        LearningRateRecorder().to_dataframe()


def test_plot_draws_the_entries_with_a_name():
    recorder, _ = record(scheduled(), "batch", epochs=1)
    (line,) = recorder.plot(label="halving").get_lines()
    assert line.get_label() == "halving"
    np.testing.assert_array_equal(line.get_xdata(), recorder.history["batch"])
    np.testing.assert_array_equal(line.get_ydata(), after(*range(1, STEPS + 1)))


def test_progress_bar_shows_the_rate(capsys):
    record(compiled(optimizer=keras.optimizers.SGD(0.125)), epochs=1, verbose=2)
    assert "learning_rate: 0.1250" in capsys.readouterr().out


@mostly_batches
def test_refit_starts_anew(every):
    model = scheduled()
    recorder, _ = record(model, every)
    first, length = recorder.history, len(recorder.history["learning_rate"])
    fit(model, [recorder])
    assert len(recorder.history["learning_rate"]) == length
    assert recorder.history["learning_rate"][-1] == after(36)[0]
    assert first["learning_rate"][-1] == after(18)[0]
    assert recorder.history.get("batch", [18])[-1] == 18


@mostly_batches
def test_fit_from_a_later_epoch_continues(every):
    model = scheduled()
    recorder, _ = record(model, every, epochs=2)
    fit(model, [recorder], 4, initial_epoch=2)
    expected, _ = record(scheduled(), every, epochs=4)
    assert recorder.history == expected.history


@mostly_batches
def test_resume_from_a_backup_equals_the_rest_of_the_run(every, tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    expected, _ = record(scheduled(), every, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        record(scheduled(), every, 4, before=[backup(), Interrupt(2)])
    recorder, _ = record(scheduled(), every, 4, before=[backup()])
    half = len(expected.history["learning_rate"]) // 2
    rest = {key: values[half:] for key, values in expected.history.items()}
    assert recorder.history == rest


def test_interrupted_fit_keeps_what_was_recorded():
    recorder, model = LearningRateRecorder("batch"), scheduled()
    with pytest.raises(KeyboardInterrupt):
        fit(model, [recorder, Interrupt(1)])
    assert recorder.history["learning_rate"] == after(*range(1, 10))


class CopyInMidFit(keras.callbacks.Callback):
    """Copies another callback after each epoch."""

    def __init__(self, callback):
        super().__init__()
        self.callback, self.copies = callback, []

    def on_epoch_end(self, epoch, logs=None):
        self.copies.append(copy.deepcopy(self.callback))


@pytest.mark.slow
def test_copies_are_independent_also_in_mid_fit():
    recorder = LearningRateRecorder()
    copier = CopyInMidFit(recorder)
    fit(scheduled(), [recorder, copier])
    lists = [each.history["learning_rate"] for each in copier.copies]
    assert lists == [after(6), after(6, 12), after(6, 12, 18)]
    assert copier.copies[0].model is None
    fit(scheduled(), [copier.copies[0]], epochs=1)
    assert copier.copies[0].history == {"learning_rate": after(6)}
    assert recorder.history == {"learning_rate": after(6, 12, 18)}


def test_config_round_trip_through_keras():
    recorder = LearningRateRecorder(every="batch")
    config = keras.saving.serialize_keras_object(recorder)
    assert config["registered_name"] == "keras_lr>LearningRateRecorder"
    twin = keras.saving.deserialize_keras_object(config)
    assert twin.get_config() == recorder.get_config() == config["config"]
    # As that of 0.1.0.
    assert LearningRateRecorder.from_config({"every": "batch"}).every == "batch"


def test_constant_is_logged_only_on_request():
    recorder = LearningRateRecorder()
    model = compiled(optimizer=normalized(), run_eagerly=True)
    logs = fit(model, [recorder], 1).history
    rates = {"learning_rate", "effective_learning_rate"}
    assert logs.keys() == {"accuracy", "loss", *rates}
    assert recorder.history.keys() == {*rates, "lipschitz_constant"}
    assert recorder.history["lipschitz_constant"][0] > 0


def test_number_that_there_is_only_at_times_has_gaps_that_are_nan(tmp_path):
    model, recorder = scheduled(run_eagerly=True), LearningRateRecorder()
    fit(model, [recorder], 1)
    loss = "sparse_categorical_crossentropy"
    model.compile(normalized(), loss, run_eagerly=True)
    fit(model, [recorder], 2, initial_epoch=1)
    first, second = recorder.history["effective_learning_rate"]
    assert math.isnan(first)
    assert second > 0
    assert len(recorder.to_dataframe()) == 2


def test_it_must_be_known_what_to_record():
    with pytest.raises(ValueError, match=r"`every` must be one of.*every='step'"):
        LearningRateRecorder("step")


def test_model_without_an_optimizer_is_refused():
    model = small_problem.sequential()
    model.compile(optimizer=None, loss="sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=r"compiled with one. Received: optimizer=Non"):
        record(model)
