"""Runs of the long suite, on a problem that is trained in a moment."""

import csv
import math

import keras
import numpy as np
import pytest
from keras import layers

from keras_lr.comparison.policies import constant
from keras_lr.comparison.runner import RunSettings, train

ROWS, BATCH, EPOCHS = 50, 8, 3


@pytest.fixture(scope="module")
def run_long(long_script):
    return long_script("run_long")


def make_model():
    # With masks, and with statistics that are no weights of the optimizer.
    return keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(8, "relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(1),
        ]
    )


@pytest.fixture
def tiny(run_long, long_script, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 3)).astype("float32")
    data = (x, x[:, :1] + 2), (x, x[:, :1] + 2)
    problem = long_script("long_problems").LongProblem(
        *("tiny", "a regression", lambda: data, make_model),
        *(EPOCHS, BATCH, ("adam", "sgd")),
        loss="mean_squared_error",
        metric="r2",
    )
    monkeypatch.setitem(run_long.problems(None), "tiny", problem)
    return problem


def record_of(run_long, problem, *run):
    return run_long.train_once(run_long.Run("tiny", *run), problem, None)


def plain(problem, optimizer, learning_rate, seed):
    """Train as a method is trained: a new model, one step in each call."""

    def build_model():
        model = problem.build_model(problem.make_optimizer(optimizer), seed)
        # Without it, on TensorFlow, Schedule-Free would start from weights of 0.
        model.optimizer.build(model.trainable_variables)
        return model

    return train(
        build_model,
        problem.load(),
        constant(learning_rate),
        RunSettings(EPOCHS, BATCH, 1000, monitor="r2", mode="max"),
        seed=seed,
    )


@pytest.mark.parametrize(
    ("policy", "optimizer"),
    [
        pytest.param("constant", "adam", marks=pytest.mark.slow),
        pytest.param("schedule_free", "schedule_free", marks=pytest.mark.slow),
    ],
)
def test_model_that_is_used_again_trains_as_a_new_one(
    run_long, tiny, policy, optimizer
):
    """To the last digit, with other seeds and rates before it."""
    record_of(run_long, tiny, "adam", policy, "0.1", 0)
    record = record_of(run_long, tiny, "adam", policy, "0.01", 1)
    expected = plain(tiny, optimizer, 0.01, seed=1)
    assert record.logs == expected.logs
    assert record.initial_loss == expected.initial_loss
    assert record.steps == EPOCHS * math.ceil(ROWS / BATCH) == tiny.steps
    assert record.learning_rates == pytest.approx([0.01] * EPOCHS, rel=1e-6)


def test_rate_of_each_step_is_the_planned_one(run_long, tiny):
    record = record_of(run_long, tiny, "sgd", "linear_decay", "0.1", 0)
    # After 7, 14 and 21 steps of 21.
    expected = [0.1 * (1 - step / 21) for step in (6, 13, 20)]
    assert record.learning_rates == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("run", "rate"),
    [
        (("sgd", "default", ""), 0.01),
        pytest.param(("adam", "schedule_free", ""), 0.0025, marks=pytest.mark.slow),
    ],
)
def test_baseline_without_a_rate_has_the_default_of_its_optimizer(
    run_long, run, rate, tiny
):
    record = record_of(run_long, tiny, *run, 0)
    assert record.learning_rates == pytest.approx([rate] * EPOCHS, rel=1e-6)


@pytest.mark.slow
def test_rows_of_baselines_methods_and_failures_have_the_same_columns(
    run_long, tiny, long_script, tmp_path
):
    path = tmp_path / "long.csv"
    append = long_script("run_suite").append
    for policy in ("cosine_decay", "walk", "no_such_policy"):
        rate = "0.1" if policy == "cosine_decay" else ""
        append(
            path, run_long.execute(run_long.Run("tiny", "sgd", policy, rate, 0), None)
        )
    with path.open(newline="") as file:
        cosine, walk, failed = csv.DictReader(file)
    assert [*cosine][-2:] == ["error", "area"]
    assert cosine["gradient_evaluations"] == "21"
    assert float(walk["gradient_evaluations"]) > 21
    assert float(walk["area"]) >= -100
    assert failed["error"].startswith("ValueError: A policy must be one of")
    assert long_script("run_suite").finished_runs(path) == {
        run_long.Run("tiny", "sgd", "cosine_decay", "0.1", 0),
        run_long.Run("tiny", "sgd", "walk", "", 0),
        run_long.Run("tiny", "sgd", "no_such_policy", "", 0),
    }


def test_area_is_the_mean_over_all_epochs_and_a_stopped_training_stays(run_long):
    assert run_long.area([50, 70, 90], 3) == 70
    # Each at least -100, and the last of two epochs counts for the other two.
    assert run_long.area([-1e9, 20], 4) == (-100 + 3 * 20) / 4
    assert run_long.area([50, math.nan], 4) == (50 - 3 * 100) / 4
