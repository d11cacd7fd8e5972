import io
import shutil
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_lr import __main__ as command
from keras_lr.comparison import ComparisonResult, RunRecord, compare_policies
from keras_lr.comparison.policies import NAMED, default_names


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    x = np.random.default_rng(0).normal(size=(40, 3))
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, x=x, y=(x[:, 0] > 0).astype(int))
    return str(path)


def compare_few(build_model, data, policies, **kwargs):
    return compare_policies(build_model, data, policies[:2], **kwargs)


@pytest.fixture
def few(monkeypatch):
    """Leave only two of the policies, so that a test takes seconds."""
    monkeypatch.setattr(command, "compare_policies", compare_few)


@pytest.fixture(scope="module")
def finished_once(file, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "compare_policies", compare_few)
        assert run(file, output) == 0
    return output


@pytest.fixture
def finished(finished_once, tmp_path):
    """Give the folder of a finished comparison, which a test may change."""
    return Path(shutil.copytree(finished_once, tmp_path / "out"))


def run(file, output, *more):
    arguments = ["--data", file, "--epochs", "1", "--seeds", "1"]
    return command.main([*arguments, "--output", str(output), *more])


def error_line(capsys, *arguments):
    with pytest.raises(SystemExit) as raised:
        command.main(arguments)
    assert raised.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_comparison_prints_a_ranked_table_and_writes_files(file, few, tmp_path, capsys):
    assert run(file, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "2 classes, 32 training and 8 validation examples" in printed
    assert "A run cost" in printed
    for name in ("table.csv", "runs.csv", "ranking.png", "report.html"):
        assert (tmp_path / "out" / name).stat().st_size > 100
        assert name in printed


def call_of(monkeypatch, file, *arguments):
    """Return the arguments of the comparison that a command line would make."""
    calls = []

    def note(build_model, data, policies, **kwargs):
        calls.append({"build_model": build_model, "policies": policies, **kwargs})
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "compare_policies", note)
    with pytest.raises(SystemExit):
        command.main(["--data", file, *arguments])
    (call,) = calls
    return call


def compared(monkeypatch, file, *arguments):
    """Return the labels of the policies that a command line would compare."""
    policies = call_of(monkeypatch, file, *arguments)["policies"]
    return [policy.label for policy in policies]


def test_demo_has_every_method_but_the_searches(file, monkeypatch, tmp_path):
    rates = ("0.0001", "0.001", "0.01", "0.1", "1")
    first, *names = default_names()
    assert (first, names.pop(0)) == ("default", "constant")
    assert {*NAMED} - {*names} == {
        *("default", "constant", "zooming", "blie", "optimize_schedule")
    }
    assert compared(monkeypatch, file, "--output", str(tmp_path)) == [
        *("default", *(f"constant {rate}" for rate in rates), *names)
    ]


def test_policies_can_be_chosen(file, monkeypatch, tmp_path):
    chosen = ["zooming", "walk"]
    arguments = ["--output", str(tmp_path), "--policies", *chosen]
    assert compared(monkeypatch, file, *arguments) == chosen


def test_unknown_policy_gets_one_line_and_exit_code_2(file, capsys, tmp_path):
    arguments = ["--data", file, "--output", str(tmp_path), "--policies", "magic"]
    line = error_line(capsys, *arguments)
    assert "one of adamo, adamo_cosine, adaptive_rmsprop" in line
    assert "'magic'" in line


def test_robustness_has_five_starts_of_each_method(file, monkeypatch, tmp_path):
    starts = ("0.0001", "0.001", "0.01", "0.1", "1")
    varied = ("constant", "cosine_decay", "lipschitz", "marthe", "walk")
    assert compared(monkeypatch, file, "--output", str(tmp_path), "--robustness") == [
        *(f"{name} {start}" for name in varied for start in starts),
        *("adamo", "adamo_cosine", "adaptive_rmsprop", "adaptive_rmsprop_cosine"),
        *("auto_adam", "auto_adam_cosine"),
    ]


@pytest.mark.slow  # The library is tested by default.
def test_same_command_continues_where_it_was_interrupted(file, few, finished):
    (record,) = (finished / "runs").glob("constant*.json")
    record.unlink()
    done = next((finished / "runs").glob("default*.json"))
    before = done.stat().st_mtime_ns
    assert run(file, finished) == 0
    assert record.exists()
    assert done.stat().st_mtime_ns == before


def test_interrupted_command_says_how_to_continue(
    file, few, tmp_path, capsys, monkeypatch
):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_lr.comparison.progress._Lines.finish", interrupt)
    monkeypatch.setattr(command, "compare_policies", interrupted_after_one)
    assert run(file, tmp_path / "out") == 130
    assert "the same command continues" in capsys.readouterr().err


def interrupted_after_one(build_model, data, policies, **kwargs):
    result = compare_policies(
        build_model, data, policies[:1], **kwargs | {"verbose": 0}
    )
    result.interrupted = True
    return result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "cifar"], "must be one of breast_cancer, digits, iris, mnist5k"),
        (["--data", "none.npz"], "There is no file none.npz"),
        (["--epochs", "0"], "argument --epochs: invalid positive integer value: '0'"),
        (["--seeds", "many"], "argument --seeds: invalid positive integer value"),
        (["--policies", "walk", "--robustness"], "not allowed with argument"),
        (["--optimizer", "lion"], "argument --optimizer: invalid choice: 'lion'"),
        (["--optimizer", "momentum", "--model", "m:f"], "not allowed with argument"),
        (["--data", "iris", "--model", "none_such:f"], "There is no module none_such"),
        (["--target", "sort", "--data", "iris"], "must be a .csv file"),
        (["--mode", "best"], "argument --mode: invalid choice: 'best'"),
        (["--magic"], "unrecognized arguments: --magic"),
    ],
)
def test_bad_arguments_get_one_line_and_exit_code_2(capsys, arguments, message):
    line = error_line(capsys, *arguments)
    assert line.startswith("python -m keras_lr: error: ")
    assert message in line


def test_metric_and_its_direction_can_be_chosen(file, monkeypatch, tmp_path):
    arguments = ["--output", str(tmp_path), "--monitor", "loss", "--mode", "min"]
    call = call_of(monkeypatch, file, *arguments)
    assert (call["monitor"], call["mode"]) == ("loss", "min")
    call = call_of(monkeypatch, file, "--output", str(tmp_path))
    assert (call["monitor"], call["mode"]) == (None, None)


def build_mine():
    """Return a model for the three inputs of `file`, compiled with Adam."""
    output = keras.layers.Dense(2, "softmax")
    model = keras.Sequential([keras.Input((3,)), output])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_model_can_be_a_function_of_the_user(file, monkeypatch, tmp_path):
    module = types.ModuleType("my_models")
    module.small = build_mine
    monkeypatch.setitem(sys.modules, "my_models", module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    arguments = ["--model", "my_models:small", "--policies", "constant"]
    call = call_of(monkeypatch, file, *arguments)
    assert call["build_model"] is build_mine
    # The grid is that of the optimizer it is compiled with.
    rates = [policy.learning_rate for policy in call["policies"]]
    assert rates == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    assert call["directory"].name == "data_my_models_small"


def finish_at_once(build_model, data, policies, **kwargs):
    logs = {"val_loss": [0.5]}
    return ComparisonResult([RunRecord("default", 0, "val_loss", "min", logs)])


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "my.csv"
    lines = [f"{row},{'ab'[row % 2]},{row % 2}" for row in range(20)]
    path.write_text("\n".join(["size,my kind,is_new", *lines]))
    return str(path)


def test_first_line_says_which_column_is_predicted(csv, monkeypatch, tmp_path, capsys):
    compared(monkeypatch, csv, "--output", str(tmp_path / "out"))
    assert capsys.readouterr().out.startswith(
        f"{csv}: 2 classes, target column 'is_new' (the last one; `--target` names "
        "another), 16 training and 4 validation examples"
    )


def test_report_names_the_file_and_the_column(csv, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "compare_policies", finish_at_once)
    assert command.main(["--data", csv, "--target", "my kind"]) == 0
    assert "2 classes, target column 'my kind', 16" in capsys.readouterr().out
    directory = tmp_path / "keras_lr_comparison" / "my_my_kind_momentum"
    page = (directory / "report.html").read_text(encoding="utf-8")
    # The name of the file, and not where it was.
    assert "<dd>my.csv: 2 classes, target column &#x27;my kind&#x27;</dd>" in page


def test_broken_file_gets_one_line_and_exit_code_2(capsys, tmp_path):
    path = tmp_path / "broken.npz"
    path.write_bytes(b"PK\x03\x04 cut short")
    assert "cannot be read as .npz" in error_line(capsys, "--data", str(path))


def test_output_that_is_a_file_gets_one_line_and_exit_code_2(capsys, file):
    line = error_line(capsys, "--data", file, "--output", file)
    assert file in line


def test_other_data_are_written_beside_the_first(monkeypatch, tmp_path, file):
    monkeypatch.chdir(tmp_path)
    compared(monkeypatch, "iris")
    compared(monkeypatch, file, "--optimizer", "adam")
    (results,) = tmp_path.glob("keras_lr_comparison")
    names = {path.name for path in results.iterdir()}
    assert names == {"iris_momentum", f"{Path(file).stem}_adam"}


def test_task_is_said_in_doubt_and_in_the_name_of_the_directory(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / "months.npz")
    np.savez(path, x=np.arange(240.0).reshape(120, 2), y=1.0 + np.arange(120) % 12)
    compared(monkeypatch, path)
    assert "12 classes (`--task regression` if" in capsys.readouterr().out
    compared(monkeypatch, path, "--task", "regression")
    assert "a regression, 96 training" in capsys.readouterr().out
    assert sorted(
        each.name for each in (tmp_path / "keras_lr_comparison").iterdir()
    ) == [
        "months_momentum",
        "months_regression_momentum",
    ]


@pytest.mark.slow  # The library is tested by default.
def test_output_of_another_comparison_gets_one_line_and_exit_code_2(
    capsys, file, few, finished
):
    capsys.readouterr()
    arguments = ["--data", file, "--epochs", "2", "--output", str(finished)]
    assert "records differ in: epochs" in error_line(capsys, *arguments)


def test_file_of_somebody_else_is_refused_before_training(capsys, file, tmp_path):
    (tmp_path / "table.csv").write_text("mine")
    line = error_line(capsys, "--data", file, "--output", str(tmp_path))
    assert "which holds table.csv" in line


@pytest.mark.slow
def test_terminal_without_the_letters_gets_question_marks(
    file, few, tmp_path, monkeypatch
):
    printed = io.BytesIO()
    ascii_only = io.TextIOWrapper(printed, encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", ascii_only)
    assert run(file, tmp_path / "out", "--seeds", "2") == 0
    assert b" ? " in printed.getvalue()
    assert b"Written: " in printed.getvalue()


def test_module_runs_from_the_command_line():
    run = subprocess.run(
        [sys.executable, "-m", "keras_lr", "--data", "none.npz"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert run.stderr.splitlines()[-1].endswith("There is no file none.npz.")
