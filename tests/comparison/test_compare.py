import json
import shutil

import keras
import numpy as np
import pytest

from keras_lr.comparison import Policy, compare_policies
from keras_lr.comparison.compare import expand_policies
from keras_lr.comparison.policies import NAMED, NamedPolicy, adamo, walk
from keras_lr.comparison.records import open_store
from keras_lr.comparison.run_record import RunRecord
from tests.comparison import linear_problem as problem
from tests.data.v0_1_0 import write_comparison as old

OF_0_1_0 = old.DIRECTORY / "runs" / "comparison.json"
SLOW, FAST = Policy("slow", 0.125), Policy("fast", 0.25)


def bomb(error, name="bomb"):
    return Policy(name, callbacks=lambda: [problem.Bomb(error)])


def compare(policies, build_model=problem.build_model, **kwargs):
    arguments = {"seeds": 2, "epochs": 2, "batch_size": 4, "verbose": 0, **kwargs}
    return compare_policies(build_model, problem.DATA, policies, **arguments)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    directory = tmp_path_factory.mktemp("comparison") / "finished"
    compare([FAST], directory=directory)
    return directory


@pytest.fixture
def finished(trained_once, tmp_path):
    """The directory of a comparison that was finished, for one test."""
    return shutil.copytree(trained_once, tmp_path / "finished")


def test_policies_are_ranked_by_the_final_metric():
    result = compare([SLOW, FAST])
    assert [row.policy for row in result.table] == ["fast 0.25", "slow 0.125"]
    # Four steps: the error 2 is multiplied by (1 - 2 r) in each.
    np.testing.assert_allclose(
        [row.final_metric for row in result.table], [4 / 2**8, 4 * 0.75**8]
    )
    assert [row.runs for row in result.table] == [2, 2]
    assert not result.interrupted


def test_a_failing_policy_does_not_lose_the_others():
    result = compare([bomb(RuntimeError("out of\n luck")), FAST])
    good, bad = result.table
    assert (good.policy, good.runs, good.failed) == ("fast 0.25", 2, 0)
    assert (bad.policy, bad.runs, bad.failed) == ("bomb", 0, 2)
    assert bad.error == "RuntimeError: out of luck"
    assert np.isnan(bad.final_metric)


def test_record_of_a_failed_run_has_what_is_known_of_its_policy():
    policy = Policy("constant", 0.5, callbacks=bomb(RuntimeError("no")).callbacks)
    record, *_ = compare([policy]).records
    assert (record.policy, record.kind, record.start) == (
        "constant 0.5",
        "constant",
        0.5,
    )
    assert (record.monitor, record.mode) == ("val_loss", "min")


def test_policy_that_is_registered_is_compared_by_default(monkeypatch):
    entry = NamedPolicy(lambda: Policy("new"), "callback", (), False, False)
    monkeypatch.setitem(NAMED, "new", entry)
    assert expand_policies(None, keras.optimizers.SGD())[-1].label == "new"


def test_interruption_keeps_what_is_done():
    result = compare([FAST, bomb(KeyboardInterrupt())])
    assert result.interrupted
    assert [(r.policy, r.seed) for r in result.records] == [("fast 0.25", 0)]


def test_interruption_before_the_first_result_is_raised():
    with pytest.raises(KeyboardInterrupt):
        compare([bomb(KeyboardInterrupt()), FAST])


def test_interrupted_comparison_continues_and_equals_the_uninterrupted_one(tmp_path):
    compare([SLOW, bomb(KeyboardInterrupt(), "fast"), FAST], directory=tmp_path)
    build_model = problem.Counting(problem.build_model)
    resumed = compare([SLOW, FAST], build_model, directory=tmp_path)
    assert build_model.calls == 3  # SLOW at seed 0 was done.
    whole = compare([SLOW, FAST])
    for first, second in zip(resumed.records, whole.records, strict=True):
        assert first.to_dict() | {"seconds": 0} == second.to_dict() | {"seconds": 0}


def test_finished_comparison_trains_nothing_again(finished):
    build_model = problem.Counting(problem.build_model)
    compare([FAST], build_model, directory=finished)
    assert build_model.calls == 0


@pytest.mark.slow
def test_failed_runs_are_tried_again(tmp_path):
    compare([bomb(RuntimeError("once"), "same")], directory=tmp_path)
    (row,) = compare([Policy("same")], directory=tmp_path).table
    assert (row.runs, row.failed) == (2, 0)


def test_broken_record_is_trained_again(finished):
    first, _ = (finished / "runs").glob("fast*.json")
    first.write_text('{"policy": "fast')
    build_model = problem.Counting(problem.build_model)
    compare([FAST], build_model, directory=finished)
    assert build_model.calls == 1


CHANGES = [
    {"logs": {"loss": [None]}},
    {"seed": 5},
    {"logs": "text"},
    {"logs": None},
    {"seconds": "text"},
    {"code": 7},
    {"start": -1.0},
    {"start": float("nan")},
    {"steps": 1e30},
    {"mode": "best"},
    {"diverged": []},
    {"unknown": 1},
    {"policy": "another"},
]


@pytest.mark.parametrize(
    "change",
    [*CHANGES[:2], *(pytest.param(x, marks=pytest.mark.slow) for x in CHANGES[2:])],
    ids=str,
)
def test_record_that_cannot_be_is_trained_again(finished, change):
    """A whole file, in which a value is another one or of another kind."""
    first, _ = (finished / "runs").glob("fast*.json")
    first.write_text(json.dumps(json.loads(first.read_text()) | change))
    build_model = problem.Counting(problem.build_model)
    compare([FAST], build_model, directory=finished)
    assert build_model.calls == 1


def test_record_that_is_nested_without_end_is_trained_again(finished):
    first, _ = (finished / "runs").glob("fast*.json")
    first.write_text("[" * 100_000)
    build_model = problem.Counting(problem.build_model)
    compare([FAST], build_model, directory=finished)
    assert build_model.calls == 1


@pytest.mark.parametrize("change", [{"epochs": 3}, {"batch_size": 8}])
def test_records_of_another_comparison_are_refused(finished, change):
    with pytest.raises(ValueError, match=f"records differ in: {next(iter(change))}"):
        compare([FAST], directory=finished, **change)


def test_records_of_other_data_are_refused(finished):
    other = ((problem.X, problem.X), (problem.X, problem.X))
    with pytest.raises(ValueError, match="records differ in: data"):
        compare_policies(
            problem.build_model, other, epochs=2, batch_size=4, directory=finished
        )


def test_records_of_another_model_are_refused(finished):
    def build_model():
        model = problem.build_model()
        model.layers[0].activation = keras.activations.tanh
        return model

    with pytest.raises(ValueError, match=r"records differ in: layers\."):
        compare([FAST], build_model, directory=finished)


@pytest.mark.slow
def test_name_of_sixty_four_byte_letters_is_a_file(tmp_path):
    policy = Policy(60 * "\U0001d4ea", 0.125)
    compare([policy], directory=tmp_path, seeds=1)
    build_model = problem.Counting(problem.build_model)
    compare([policy], build_model, directory=tmp_path, seeds=1)
    assert build_model.calls == 0


@pytest.mark.slow
def test_seeds_may_be_numbers_of_numpy():
    result = compare([FAST], seeds=np.int64(2), epochs=1)
    assert [record.seed for record in result.records] == [0, 1]


@pytest.mark.slow
def test_policy_with_other_arguments_is_trained_anew(tmp_path):
    compare(["walk"], directory=tmp_path, seeds=1)
    build_model = problem.Counting(problem.build_model)
    compare([walk(factor=2.0)], build_model, directory=tmp_path, seeds=1)
    assert build_model.calls == 1


@pytest.mark.slow
def test_progress_is_a_line_a_run_and_silence_is_silent(capsys):
    compare([FAST], seeds=1)
    assert capsys.readouterr().out == ""
    compare([FAST, bomb(RuntimeError("bad"))], seeds=1, verbose=1)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Run 1/2, ")
    assert first.endswith("fast 0.25, seed 0: val_loss 0.01562")
    assert second.endswith("bomb, seed 0 failed: RuntimeError: bad")


def test_defaults_are_the_usual_policies_and_a_grid_of_nine_rates():
    labels = [p.label for p in expand_policies(None, keras.optimizers.SGD())]
    assert len([label for label in labels if label.startswith("constant ")]) == 9
    others = [label for label in labels if not label.startswith("constant ")]
    assert others == [
        *("default", "reduce_on_plateau", "exponential_decay", "staircase"),
        *("cosine_decay", "cosine_restarts", "lipschitz", "marthe"),
        *("hypergradient_descent", "rtho", "walk"),
        *("adamo", "adamo_cosine", "adaptive_rmsprop", "adaptive_rmsprop_cosine"),
        *("auto_adam", "auto_adam_cosine"),
    ]


@pytest.mark.slow
def test_policy_may_bring_its_own_optimizer():
    # Without momentum, the paper's AdaMo takes steps of length 1: from 0 to 1 to 2.
    policy = adamo(variant="paper", momentum=0.0)
    result = compare([policy, FAST], seeds=1)
    assert result.records[0].logs["val_loss"][0] == 0.0
    assert result.records[1].logs["val_loss"][0] > 0.0


def uncompiled():
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


def scheduled():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    return problem.build_model(keras.optimizers.SGD(schedule))


MODEL, OPTIMIZER = problem.build_model(), keras.optimizers.SGD(0.1)


def scaled(optimizer):
    return keras.optimizers.LossScaleOptimizer(optimizer)


def around_the_same_layer():
    model = keras.Sequential([keras.Input((1,)), *MODEL.layers])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


EMPTY = np.ones((0, 1), "float32")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policies": ["magic"]}, "one of adamo, adamo_cosine.*'magic'"),
        ({"policies": []}, "at least one policy"),
        ({"policies": [FAST, FAST]}, "each name and rate once"),
        ({"seeds": 0}, "`seeds` must be a positive integer. Received: seeds=0"),
        ({"seeds": [1, 1]}, "different non-negative integers"),
        ({"seeds": []}, "different non-negative integers"),
        ({"epochs": 0}, "`epochs` must be a positive integer. Received: epochs=0"),
        ({"batch_size": 2.5}, "`batch_size` must be a positive integer"),
        ({"mode": "up"}, "`mode` must be 'min', 'max' or None. Received: mode='up'"),
        ({"monitor": "acc"}, "must be one of the model's metrics"),
        ({"data": (problem.X, 2 * problem.X, 3)}, "`data` must be "),
        ({"data": (problem.DATA[0], problem.X)}, "`data` must be "),
        ({"data": ((EMPTY, EMPTY), problem.DATA[1])}, r"training.*at least one.*0, 0"),
        ({"data": (problem.DATA[0], (problem.X, EMPTY))}, r"validation.*8, 0"),
        ({"data": (([1], [2]), problem.DATA[1])}, "must be arrays with one row"),
        ({"build_model": uncompiled}, "must return a compiled model"),
        ({"build_model": scheduled}, "float `learning_rate`. Received: a schedule"),
        ({"build_model": lambda: MODEL}, "new model.* Received: the same model twice"),
        ({"build_model": around_the_same_layer}, "models with the same trainable"),
        (
            {"build_model": lambda: problem.build_model(OPTIMIZER)},
            "models with the same optimizer",
        ),
        (
            {"build_model": lambda: problem.build_model(scaled(OPTIMIZER))},
            "models with the same optimizer",
        ),
    ],
)
def test_arguments_that_cannot_work_are_refused_before_training(change, message):
    arguments = {"build_model": problem.build_model, "data": problem.DATA, **change}
    with pytest.raises(ValueError, match=message):
        compare_policies(**arguments)


def test_models_may_share_what_is_not_trained():
    frozen = keras.layers.Dense(1, trainable=False)

    def build_model():
        layers = [keras.Input((1,)), frozen, keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    result = compare_policies(
        build_model, problem.DATA, [FAST], seeds=1, epochs=1, verbose=0
    )
    assert not result.records[0].error


@pytest.mark.parametrize("build_model", [uncompiled(), None, lambda: "a model"])
def test_build_model_must_be_a_function_that_returns_a_model(build_model):
    with pytest.raises(TypeError, match="`build_model` must"):
        compare_policies(build_model, problem.DATA)


@pytest.mark.slow
def test_second_comparison_in_a_directory_is_noticed_once(tmp_path):
    """Both train the same two runs; the second one is done with both before."""

    def meanwhile():
        def compare_too(logs=None):
            if not (tmp_path / "second").exists():
                (tmp_path / "second").mkdir()
                compare([policy], directory=tmp_path)

        return [keras.callbacks.LambdaCallback(on_train_begin=compare_too)]

    policy = Policy("fast", 0.25, callbacks=meanwhile)
    with pytest.warns(UserWarning, match="Something else writes fast") as caught:
        result = compare([policy], directory=tmp_path)
    assert sum("Something else" in str(each.message) for each in caught) == 1
    assert result.table[0].runs == 2


def test_record_that_comes_while_its_run_is_trained_is_noticed(tmp_path):
    first, second = (open_store(tmp_path, lambda: {"epochs": 2}) for _ in range(2))
    record = RunRecord(FAST.label, 0, monitor="val_loss", mode="min")
    for store in (first, second):
        assert store.load(FAST, 0) is None
    first.save(record)
    with pytest.warns(UserWarning, match=r"Something else writes fast.*done twice"):
        second.save(record)
    # Killed or not, a later comparison does not know who wrote the records.
    later = open_store(tmp_path, lambda: {"epochs": 2})
    later.load(FAST, 0)
    later.save(record)


@pytest.mark.parametrize("content", ["{}", '{"epochs": 2}', "[]", "{", "null"])
def test_file_that_does_not_say_what_was_compared_is_refused(content, tmp_path):
    """Not even 0.1.0 wrote less than eight entries; its records are used."""
    expected = json.loads(OF_0_1_0.read_text()) | {"layers": "new"}
    open_store(tmp_path, lambda: expected)
    (tmp_path / "runs" / "comparison.json").write_text(content)
    with pytest.raises(ValueError, match=r"records differ in: .*data, weights"):
        open_store(tmp_path, lambda: expected)


def test_file_of_0_1_0_is_enough(tmp_path):
    written = json.loads(OF_0_1_0.read_text())
    open_store(tmp_path, lambda: written)
    with pytest.warns(UserWarning, match="did not note: layers"):
        open_store(tmp_path, lambda: written | {"layers": "new"})
