"""The scripts about the guard: tiny runs, and the tables of made-up rows."""

import argparse

import numpy as np
import pytest

from tests.example_scripts import scripts_of


@pytest.fixture(scope="module")
def guard_script():
    """Give a function that imports a script about the guard by its name."""
    with scripts_of("benchmarks/guard") as scripts:
        yield scripts


def table_rows(printed):
    """Return the cells of a Markdown table below its header, row by row."""
    _, _, *body = printed.strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body]


@pytest.mark.parametrize(("name", "size"), [("constant 1", 1), ("digits, 5 epochs", 1)])
@pytest.mark.slow
def test_guard_raises_no_alarm_at_weights_that_do_not_move(guard_script, name, size):
    alarms = guard_script("false_alarms")
    row = alarms.cell(name, size, 2, alarms.tiny_guard())
    assert (row["losses"], row["batch_size"], row["fits"]) == (name, size, 2)
    assert (row["held"], row["shaken"]) == (0, 0)
    assert 0 < float(row["pairs"]) < 1


def test_guard_raises_an_alarm_when_the_good_weights_are_much_better(guard_script):
    """Losses ten times as high as those of the same batches at the good weights."""
    alarms = guard_script("false_alarms")
    good = alarms.CELLS["squared gaussian"][0](alarms.np.random.default_rng(0), 9600)
    good = good.reshape(300, 32).mean(1)
    risen = good.copy()
    risen[150:] *= 10
    assert alarms.one_fit(alarms.tiny_guard(), risen, good)[0]
    assert not alarms.one_fit(alarms.tiny_guard(), good, good)[0]


def test_cells_with_as_many_fits_are_not_run_again(guard_script, tmp_path):
    alarms = guard_script("false_alarms")
    path = tmp_path / "cells.csv"
    everything = alarms.missing(path, 2)
    assert len(everything) == sum(len(sizes) for _, sizes in alarms.CELLS.values())
    row = {"losses": "constant 0", "batch_size": 1, "fits": 2}
    guard_script("runs").append(path, row)
    assert set(everything) - set(alarms.missing(path, 2)) == {("constant 0", 1)}
    assert alarms.missing(path, 3) == everything


def test_training_from_the_rate_of_keras_learns(guard_script, tmp_path, capsys):
    deaths = guard_script("deaths")
    path = tmp_path / "deaths.csv"
    arguments = ["--output", str(path), "--seeds", "1", "--starts", "1"]
    arguments += ["--policies", "walk", "--problems", "wine", "--optimizers", "sgd"]
    deaths.main(arguments)
    (row,) = guard_script("runs").read(path)
    key = ("wine", "walk", "sgd", "1.0", "0")
    assert tuple(row[name] for name in deaths.Run._fields) == key
    # Two of five wines are of the commonest kind.
    assert float(row["accuracy"]) > 0.9
    assert row["has_died"] == "0"
    capsys.readouterr()
    deaths.main(arguments)
    assert len(guard_script("runs").read(path)) == 1
    ((*_, trainings, died, _, median),) = table_rows(capsys.readouterr().out)
    assert (trainings, died, median) == ("1", "0", f"{float(row['accuracy']):.3f}")


def test_optimizer_without_a_rate_starts_once(guard_script):
    deaths = guard_script("deaths")
    options = argparse.Namespace(
        policies=["adamo", "walk"],
        problems=["wine"],
        optimizers=["sgd", "momentum"],
        starts=[1.0, 10.0],
        seeds=2,
    )
    runs = list(deaths.plan(options))
    assert [run[1:4] for run in runs[:2]] == [("adamo", "momentum", 1.0)] * 2
    assert len(runs) == 2 + 2 * 2 * 2


def test_each_fifth_row_is_validation_data_of_these_policies(guard_script):
    deaths = guard_script("deaths")
    x, y = deaths.wine()
    rows, held = deaths.training_and_validation("wine", "marthe_validation_unguarded")
    assert len(rows[0]) == 142
    np.testing.assert_array_equal(held[0], x[::5])
    np.testing.assert_array_equal(held[1], y[::5])
    assert deaths.training_and_validation("wine", "marthe_unguarded")[1] is None
    names = ["marthe", "marthe_validation_unguarded", "walk_unguarded"]
    assert [deaths.is_guarded(name) for name in names] == [True, False, False]


def test_deaths_are_counted_for_each_start(guard_script):
    deaths = guard_script("deaths")
    columns = ("policy", "optimizer", "start", "accuracy", "has_died", "restarts")
    values = [
        *(
            ("walk", "sgd", "1.0", "0.9", "0", "0"),
            ("walk", "sgd", "1.0", "0.4", "1", "2"),
        ),
        ("walk", "sgd", "1.0", "1.0", "0", "1"),
        ("walk", "sgd", "10.0", "0.8", "0", "0"),
    ]
    rows = [dict(zip(columns, each, strict=True)) for each in values]
    assert deaths.table(rows)[1:] == [
        ["`walk`", "sgd", "1.0 x", "3", "1", "2", "0.900"],
        ["`walk`", "sgd", "10.0 x", "1", "0", "0", "0.800"],
    ]


def test_fine_tunings_are_counted_for_each_batch_size(guard_script):
    fine_tunings = guard_script("fine_tunings")
    columns = ("callback", "batch_size", "restarts", "loss_before", "loss_after")
    values = [
        ("MARTHE", "1", "0", "0.5", "0.4"),
        ("MARTHE", "1", "3", "0.5", "0.6"),
        ("MARTHE", "64", "0", "1", "0.2"),
    ]
    rows = [dict(zip(columns, each, strict=True)) for each in values]
    assert fine_tunings.table(rows)[1:] == [
        ["`MARTHE`", "1", "2", "1", "1"],
        ["`MARTHE`", "64", "1", "0", "1"],
    ]


def test_fine_tunings_are_a_hundred_for_each_callback(guard_script):
    runs = list(guard_script("fine_tunings").plan(["MARTHE"]))
    assert len(set(runs)) == len(runs) == 100
    assert {run.seed for run in runs} == {0, 1, 2}


def test_false_alarms_are_shown_with_the_share_of_pairs(guard_script):
    row = {"losses": "constant 0", "batch_size": "1", "fits": "10", "pairs": "0.187"}
    row |= {"held": "0", "shaken": "1", "no_pairs": "2"}
    lines = guard_script("false_alarms").table([row])
    assert lines[1] == ["constant 0", "1", "10", "18.7 %", "0", "1", "2"]


@pytest.mark.parametrize("is_asked_for", [True, False])
def test_table_is_on_the_page_if_asked_for(
    guard_script, tmp_path, monkeypatch, capsys, is_asked_for
):
    runs = guard_script("runs")
    marker = guard_script("page").marker("deaths.py", "guard")
    end = guard_script("page").END
    path = tmp_path / "page.md"
    before = f"first\n{marker}\nold\n{end}\nlast\n"
    path.write_text(before)
    monkeypatch.setattr(runs, "PAGE", path)
    runs.publish(argparse.Namespace(write=is_asked_for), [["a"], ["1"]], "deaths.py")
    table = "| a |\n|---|\n| 1 |"
    assert capsys.readouterr().out.strip() == table
    after = f"first\n{marker}\n\n{table}\n\n{end}\nlast\n"
    assert path.read_text() == (after if is_asked_for else before)


@pytest.mark.parametrize("name", ["false_alarms", "fine_tunings", "deaths"])
def test_page_has_a_place_for_each_table(guard_script, name):
    text = guard_script("runs").PAGE.read_text(encoding="utf-8")
    assert guard_script("page").marker(f"{name}.py", "guard") in text
