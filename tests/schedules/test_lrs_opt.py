"""`optimize_schedule`: what it finds is what Keras then trains by."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers

import keras_lr
from keras_lr.schedules import lrs_opt
from tests.small_problem import CLASSES, FEATURES, OrderedData, Subclassed, data

STEPS, BATCH = 8, 4
ROOT = Path(__file__).parents[2]


def build_model(make_optimizer=lambda: optimizers.SGD(0.05), **kwargs):
    hidden = layers.Dense(7, "relu")
    head = layers.Dense(CLASSES, "softmax")
    model = keras.Sequential([keras.Input((FEATURES,)), hidden, head])
    loss = "sparse_categorical_crossentropy"
    model.compile(make_optimizer(), loss=loss, **kwargs)
    return model


def split():
    x, y = data()
    return (x[:14], y[:14]), (x[14:], y[14:])


def optimize(make=build_model, **kwargs):
    arguments = {"steps": STEPS, "batch_size": BATCH, "outer_steps": 3, "verbose": 0}
    train, validation = split()
    train = kwargs.pop("train", train)
    return keras_lr.optimize_schedule(make, train, validation, **arguments | kwargs)


FIXED = {"minibatches": "fixed", "batch_size": 14}


def plain_loss(schedule, seed=0):
    """Return E after Keras's own training on all rows, which needs no order."""
    keras.utils.set_random_seed(seed)
    model = build_model(lambda: optimizers.SGD(schedule))
    (x, y), validation = split()
    for _ in range(STEPS):
        model.train_on_batch(x, y)
    return model.evaluate(*validation, verbose=0)


# Eight steps in float32, of graphs that round in another order.
CLOSE = {"rel": 1e-5}


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_objective_is_the_loss_of_a_plain_training_by_the_schedule(every):
    result = optimize(**FIXED, every=every)
    assert result.schedule.steps_per_value == every
    assert len(result.schedule.values) == -(-STEPS // every)
    assert result.objective == min(result.history["objective"])
    assert result.objective == pytest.approx(plain_loss(result.schedule), **CLOSE)
    assert result.history["objective"][0] == pytest.approx(plain_loss(0.05), **CLOSE)
    assert result.initial_learning_rate == np.float32(0.05)


def test_first_outer_step_descends_along_the_differences_of_plain_trainings():
    """In float32, so that differences are coarse: 1e-7 of the loss over the spacing."""
    result = optimize(
        **FIXED, every=4, outer_steps=2, optimizer=optimizers.SGD(2.0**-5)
    )
    spacing = 2.0**-8
    slopes = []
    for half in ([1, 0], [0, 1]):
        ends = [
            plain_loss(keras_lr.TabulatedSchedule(0.05 + np.array(half) * h, 4))
            for h in (-spacing, spacing)
        ]
        slopes.append((ends[1] - ends[0]) / (2 * spacing))
    moved = np.array(result.schedule.values) - 0.05
    np.testing.assert_allclose(moved, -(2.0**-5) * np.array(slopes), rtol=2e-3)


@pytest.mark.slow
def test_forward_mode_finds_the_same_as_reverse_mode():
    reverse, forward = (optimize(mode=mode, every=4) for mode in ("reverse", "forward"))
    np.testing.assert_allclose(
        forward.schedule.values, reverse.schedule.values, rtol=1e-4
    )


@pytest.mark.slow
def test_memory_limit_changes_nothing_but_the_memory():
    plain = optimize()
    # Weights of 5 x 7 + 7 + 7 x 3 + 3, a count; five states for eight steps.
    limited = optimize(memory_limit=5 * (4 * 66 + 8))
    assert limited.schedule.values == plain.schedule.values


def test_memory_limit_that_is_too_low_is_refused_with_what_is_needed():
    with pytest.raises(ValueError, match=r"must hold 5 states.* memory_limit=1000"):
        optimize(memory_limit=1000)


@pytest.mark.slow
def test_same_seed_is_the_same_search_and_another_seed_another():
    first, same, other = (optimize(seed=seed) for seed in (1, 1, 2))
    assert first.schedule.values == same.schedule.values
    assert first.objective == same.objective
    assert first.objective != other.objective


@pytest.mark.slow
def test_redrawn_weights_are_others_in_each_training():
    still = {"optimizer": optimizers.SGD(1e-30), "minibatches": "fixed"}
    kept = optimize(initial_weights="kept", **still).history["objective"]
    redrawn = optimize(initial_weights="redrawn", **still).history["objective"]
    assert len(set(kept)) == 1
    assert len(set(redrawn)) == 3


def test_redrawn_batches_are_others_in_each_training():
    still = {"optimizer": optimizers.SGD(1e-30)}
    assert len(set(optimize(**still).history["objective"])) == 3


@pytest.mark.parametrize(
    "form", ["dataset", pytest.param("PyDataset", marks=pytest.mark.slow)]
)
def test_batches_that_are_given_are_taken_in_their_order(form):
    x, y = data()
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    train = rows if form == "dataset" else OrderedData(x, y)
    result = optimize(train=train, batch_size=None, outer_steps=1, minibatches="fixed")
    keras.utils.set_random_seed(0)
    model = build_model()
    for _, batch in zip(range(STEPS), [*rows, *rows], strict=False):
        model.train_on_batch(*batch)
    expected = model.evaluate(*split()[1], verbose=0)
    assert result.objective == pytest.approx(expected, **CLOSE)


def test_model_that_is_built_by_its_first_batch_can_be_optimized():
    def subclassed():
        model = Subclassed(layers.Dense(7, "relu"), layers.Dense(CLASSES))
        model.compile("sgd", loss="sparse_categorical_crossentropy")
        return model

    assert optimize(subclassed, outer_steps=2).objective > 0


@pytest.mark.slow
def test_search_that_goes_on_with_more_steps_is_the_one_without_a_stop(tmp_path):
    whole = optimize(outer_steps=4)
    optimize(outer_steps=2, backup_dir=tmp_path)
    parts = optimize(outer_steps=4, backup_dir=tmp_path)
    assert parts.schedule.values == whole.schedule.values
    assert parts.history["objective"] == whole.history["objective"]


def test_search_of_another_training_is_refused(tmp_path):
    optimize(outer_steps=1, backup_dir=tmp_path)
    other = with_optimizer(lambda: optimizers.SGD(0.05, clipnorm=1.0))
    with pytest.raises(
        ValueError, match=r"inner optimizer\.clipnorm='None', not '1.0'"
    ):
        optimize(other, backup_dir=tmp_path)


def test_search_of_another_activation_is_refused(tmp_path):
    def other():
        model = build_model()
        model.layers[0].activation = keras.activations.tanh
        return model

    optimize(outer_steps=1, backup_dir=tmp_path)
    with pytest.raises(ValueError, match=r"`backup_dir` .*layers="):
        optimize(other, backup_dir=tmp_path)


def test_interrupted_search_returns_what_it_has(monkeypatch):
    step = lrs_opt.ScheduleSearch.step

    def stop_at_the_third(search):
        if search.steps == 2:
            raise KeyboardInterrupt
        step(search)

    monkeypatch.setattr(lrs_opt.ScheduleSearch, "step", stop_at_the_third)
    result = optimize()
    assert result.interrupted
    assert result.objective == min(result.history["objective"])
    assert len(result.history["objective"]) == 2


def test_progress_names_the_objective(capsys):
    optimize(outer_steps=1, verbose=1)
    assert "objective: " in capsys.readouterr().out


SEARCH = """
    import sys
    sys.path.insert(0, {root!r})
    from tests.schedules.test_lrs_opt import optimize
    optimize(outer_steps=10**6, backup_dir={directory!r})
"""


@pytest.mark.slow
def test_killed_search_goes_on_and_has_lost_at_most_a_step(tmp_path):
    code = textwrap.dedent(SEARCH).format(root=str(ROOT), directory=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code])
    file = tmp_path / "keras_lr_schedule.npz"
    while not file.exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with np.load(file) as arrays:
        done = len(arrays["history_objective"])
    result = optimize(outer_steps=done + 2, backup_dir=tmp_path)
    whole = optimize(outer_steps=done + 2)
    assert result.history["objective"] == whole.history["objective"]


class OwnStep(keras.Model):
    def train_step(self, data):
        return super().train_step(data)


def own_step():
    inputs = keras.Input((FEATURES,))
    model = OwnStep(inputs, layers.Dense(CLASSES, "softmax")(inputs))
    model.compile(optimizers.SGD(0.05), loss="sparse_categorical_crossentropy")
    return model


def test_rate_of_0_and_data_with_a_nan_are_refused():
    with pytest.raises(ValueError, match=r"positive and finite.*learning_rate=0\.0"):
        optimize(lambda: build_model(lambda: optimizers.SGD(0.0)))
    (x, y), _ = split()
    x[2, 0] = np.nan
    with pytest.raises(ValueError, match=r"`validation_data` must be finite"):
        keras_lr.optimize_schedule(build_model, split()[0], (x, y), steps=STEPS)


def with_optimizer(make):
    return lambda: build_model(make)


COSINE = optimizers.schedules.CosineDecay(0.1, 9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (own_step, "a `train_step` of its own"),
        (
            with_optimizer(lambda: optimizers.SGD(0.1, use_ema=True)),
            "an optimizer with `use_ema=True`",
        ),
        (
            with_optimizer(lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1))),
            "a `LossScaleOptimizer`",
        ),
        (with_optimizer(lambda: optimizers.SGD(COSINE)), "float `learning_rate`"),
        (
            with_optimizer(lambda: optimizers.SGD(0.1, gradient_accumulation_steps=2)),
            "the same step at each batch",
        ),
        (lambda: keras.Sequential([layers.Dense(1)]), "must return a compiled"),
        (lambda: None, r"must return a compiled `keras\.Model`.*<NoneType>"),
        (with_optimizer(lambda: optimizers.SGD(1e30)), r"learning_rate=1e\+30"),
    ],
)
def test_training_that_is_not_keras_s_own_or_not_finite_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        optimize(make)


def test_redrawn_weights_need_a_new_model():
    model = build_model()
    with pytest.raises(ValueError, match=r"`build_model` must .* the same model twice"):
        optimize(lambda: model, initial_weights="redrawn", every=4)


def test_several_devices_are_refused(two_replicas):
    def make():
        with two_replicas.scope():
            return build_model()

    with pytest.raises(ValueError, match="a strategy of several devices"):
        optimize(make)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "`steps` must be a positive integer"),
        ({"every": 0}, "`every` must be a positive integer"),
        ({"outer_steps": 0}, "`outer_steps` must be a positive integer"),
        ({"minibatches": "new"}, "`minibatches` must be .*redrawn"),
        ({"initial_weights": "new"}, "`initial_weights` must be .*kept"),
        ({"mode": "both"}, "`mode` must be .*forward"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        optimize(**arguments)
