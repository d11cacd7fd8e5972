"""The replays of learning-rate searches: their tables, their budget, their numbers."""

import csv
import math

import keras
import numpy as np
import pytest

from keras_lr.rules.bandit import Pull
from keras_lr.rules.zooming import Zooming
from tests.example_scripts import EXAMPLES, scripts_of

MODULES = ("rate_tables", "replay", "regret")


@pytest.fixture(scope="module")
def scripts():
    with scripts_of("benchmarks/zooming") as scripts:
        yield [scripts(name) for name in MODULES]


@pytest.fixture(scope="module")
def tables(scripts):
    return scripts[0]


@pytest.fixture(scope="module")
def replays(scripts):
    return scripts[1]


@pytest.fixture(scope="module")
def regret(scripts):
    return scripts[2]


def table_of(tables, scores, direction="max", signals=None, chance=0.1):
    """Return a table of `(rates, seeds, epochs)`."""
    scores = np.asarray(scores, np.float64)
    rates = np.logspace(-4, 0, len(scores))
    if signals is None:
        signals = np.zeros(scores.shape[:2], np.int8)
    return tables.Table("task", rates, scores, signals, direction, chance)


def hill(tables, rates=101, seeds=4):
    """Return accuracies with their best at 0.7, other in each seed and epoch."""
    places = np.linspace(0, 1, rates)[:, None, None]
    noise = 0.02 * np.sin(np.arange(seeds))[None, :, None]
    epochs = np.array([0.5, 1.0])[None, None]
    return table_of(tables, epochs * (0.9 - abs(places - 0.7)) + noise)


MODELS = [
    ("sgd", "relu", (), 3, keras.optimizers.SGD),
    ("momentum", "tanh", (5, 4), 3, keras.optimizers.SGD),
    ("adam", "relu", (6,), 1, keras.optimizers.Adam),
]


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case[0])
def test_network_of_a_table_trains_as_that_of_keras(tables, rng, case):
    """Four steps at one rate of the grid: the losses before each of them."""
    optimizer, activation, hidden, outputs, keras_optimizer = case
    task = tables.Task("any", hidden, optimizer, activation, seeds=2)
    networks = tables.Networks(task, 4, outputs, is_classifier=outputs > 1)
    place = 101
    model = keras.Sequential(
        [
            keras.Input((4,)),
            *(keras.layers.Dense(width, activation) for width in hidden),
            keras.layers.Dense(outputs),
        ]
    )
    weights = [weight[2 * place + 1] for weight in networks._weights]
    model.set_weights([w[0] if w.shape[0] == 1 else w for w in weights])
    options = {"momentum": 0.9} if optimizer == "momentum" else {}
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(
        keras_optimizer(float(tables.RATES[place]), **options),
        loss=loss if outputs > 1 else "mse",
        run_eagerly=True,
    )
    for _ in range(4):
        x = rng.normal(size=(2, 8, 4)).astype(np.float32)
        y = rng.normal(size=(2, 8, outputs)).astype(np.float32)
        if outputs > 1:
            y = np.eye(outputs, dtype=np.float32)[y.argmax(axis=2)]
        losses = networks.train_on_batch(x, y).reshape(-1, 2)
        # Keras 3.12 returns the mean since the last reset.
        model.reset_metrics()
        expected = model.train_on_batch(x[1], y[1])
        assert losses[place, 1] == pytest.approx(float(expected), rel=1e-4)


def test_table_of_a_task_has_its_shape_and_learns(tables):
    task = tables.Task("iris", (), "sgd", epochs=3, batch_size=16, seeds=2)
    with np.errstate(all="ignore"):
        table = tables.make_table("iris", task)
    assert table.scores.shape == (141, 2, 3)
    # 1e-6 does not move, 1 learns.
    assert (table.signals[0] == -1).all()
    assert (table.signals[120] == 0).all()
    assert table.scores[120, :, -1].min() > 0.8 > 2 * table.chance


def test_tables_survive_a_file(tables, tmp_path):
    """Scores in three digits."""
    table = hill(tables)
    tables.save(tmp_path / "tables.npz", [table])
    (loaded,) = tables.load(tmp_path / "tables.npz")
    assert (loaded.name, loaded.direction, loaded.chance) == ("task", "max", 0.1)
    np.testing.assert_allclose(loaded.scores, table.scores, rtol=1e-3)
    np.testing.assert_array_equal(loaded.signals, table.signals)


def test_signal_is_of_the_last_loss_by_the_first(tables):
    ratios = np.array([[0.5, 0.95, 1.05, 1.2, math.nan, math.inf]])
    assert tables.signals(ratios).tolist() == [[0, -1, -1, 1, 1, 1]]


def test_regret_is_in_percent_of_best_minus_chance(tables):
    """Means 0.1, 0.5, 0.9: (0.9 - 0.5) / (0.9 - 0.1) = 50 %."""
    scores = [[[0.1], [0.1]], [[0.4], [0.6]], [[0.9], [0.9]]]
    regrets = table_of(tables, scores).truth()
    assert regrets == pytest.approx([100.0, 50.0, 0.0])


def test_regret_of_a_loss_that_is_no_number_is_that_of_no_training(tables):
    """Chance is 2: means 2 of NaN and of 1e4, (2 + 1) / 2, and 1."""
    scores = [[[math.nan], [1e4]], [[2.0], [1.0]], [[1.0], [1.0]]]
    regrets = table_of(tables, scores, "min", chance=2.0).truth()
    assert regrets == pytest.approx([100.0, 50.0, 0.0])


def test_trainings_at_a_rate_have_all_seeds_before_one_comes_again(tables, replays):
    replay = replays.Replay(hill(tables), seed=0)
    scores = [replay.pull(0.5).score for _ in range(8)]
    assert len(set(scores[:4])) == 4
    assert set(scores[4:]) == set(scores[:4])


def test_training_that_goes_on_keeps_its_seed_and_costs_the_rest(tables, replays):
    replay = replays.Replay(hill(tables), seed=0)
    first = replay.evaluate(0.7, 0, 1)
    second = replay.evaluate(0.7, 1, 2)
    # The noise is the same: 0.45 more between the epochs.
    assert second - first == pytest.approx(0.45)
    assert [trial.spent for trial in replay.trials] == [0.5, 1.0]


def test_what_a_searcher_is_told_is_finite(tables, replays):
    losses = [[[math.nan]], [[1e9]], [[0.5]]]
    table = table_of(tables, losses, "min", chance=2.0)
    replay = replays.Replay(table, seed=0)
    assert [replay.evaluate(position) for position in (0, 0.5, 1)] == [4.0, 4.0, 0.5]
    assert replay.best(3) == 1


def test_best_and_divergences_are_those_within_the_budget(tables, replays):
    signals = np.ones((101, 4), np.int8)
    table = table_of(tables, hill(tables).scores, signals=signals)
    replay = replays.Replay(table, seed=0)
    for position in (0.1, 0.5, 0.7):
        replay.evaluate(position)
    assert (replay.best(2), replay.best(3)) == (0.5, 0.7)
    assert (replay.diverged(2), replay.diverged(3)) == (2, 3)


def test_replayed_search_is_the_pure_rule(tables, replays):
    """Each position follows from the trainings before it, and the advice from all."""
    table = hill(tables)
    replay = replays.Replay(table, seed=3)
    replays.OF_BUDGET["Zooming"](replay, 12, 3)
    rule, pulls = Zooming(12), []
    for trial in replay.trials:
        assert rule.propose(pulls) == trial.position
        pulls.append(Pull(trial.position, trial.score))
    assert len(pulls) == 12
    assert replay.best(12) == rule.best(pulls).position == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("budget", [1, 4])
def test_grid_is_the_middles_of_equal_parts(tables, replays, budget):
    replay = replays.Replay(hill(tables), seed=0)
    replays.OF_BUDGET["log grid"](replay, budget, 0)
    positions = [trial.position for trial in replay.trials]
    assert positions == {1: [0.5], 4: [0.125, 0.375, 0.625, 0.875]}[budget]


def test_run_adds_what_is_missing(tables, regret, tmp_path):
    path = tmp_path / "regret.csv"
    searchers = ["random", "Zooming"]
    regret.run([hill(tables)], searchers, range(1), path)
    first = path.read_text()
    regret.run([hill(tables)], searchers, range(2), path)
    assert path.read_text().startswith(first)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    keys = [(row["searcher"], row["seed"]) for row in rows]
    expected = [(name, seed) for seed in "01" for name in searchers]
    assert sorted(keys) == sorted(expected)


def test_table_averages_replays_and_then_tasks(regret):
    """Task a has 1 and 3, task b has 5 and 5: 3.5, and an error of sqrt(1) / 2."""
    results = [("a", 1.0), ("a", 3.0), ("b", 5.0), ("b", 5.0)]
    rows = [
        {"task": task, "searcher": "random"} | dict.fromkeys(regret.COLUMNS[3:], value)
        for task, value in results
    ]
    line = regret.markdown(rows, "regret").splitlines()[-1]
    assert line == "| random | " + "3.50 ± 0.50 | " * len(regret.BUDGETS) + "2 |"
    assert regret.by_task(rows, 5).splitlines()[2:] == ["| a | 2.0 |", "| b | 5.0 |"]


def test_mean_is_over_tasks_and_the_error_that_of_replays(regret):
    """Means 2 and 5; variances of the means 2 / 2 and 0; sqrt(1) / 2."""
    assert regret.mean_and_error([[1.0, 3.0], [5.0, 5.0]]) == (3.5, 0.5)


def test_stored_tables_are_those_of_the_tasks(tables):
    stored = tables.load(EXAMPLES / "benchmarks" / "results" / "zooming_tables.npz")
    assert {table.name for table in stored} == set(tables.TASKS)
    for table in stored:
        assert table.scores.shape[:2] == (141, tables.TASKS[table.name].seeds)
        assert table.truth().min() == 0.0
