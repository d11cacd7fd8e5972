"""The benchmark of the cost runs; what it measures is not for a loaded machine."""

import csv
import sys

import pytest

from tests.example_scripts import scripts_of


@pytest.fixture(scope="module")
def benchmark_script():
    with scripts_of("benchmarks/overhead") as scripts:
        yield scripts("lipschitz")


@pytest.fixture(scope="module")
def paired_epochs(benchmark_script):
    return sys.modules["paired_epochs"]


@pytest.mark.slow  # A fit of each variant.
@pytest.mark.usefixtures("few_digits")
def test_quick_run_writes_a_row_for_each_variant(benchmark_script, tmp_path, capsys):
    output = tmp_path / "overhead.csv"
    benchmark_script.main(
        ["--quick", "--models", "mlp", "--jit", "off", "--output", str(output)]
    )
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("model", "jit_compile", "variant", "batches", "batch_size", "round", "seed"),
        *("epochs_counted", "epoch_seconds", "cpu_seconds", "setup_seconds"),
        *("ratio", "cpu_ratio"),
    ]
    assert [row["variant"] for row in rows] == list(benchmark_script.VARIANTS)
    assert {(row["model"], row["jit_compile"]) for row in rows} == {("mlp", "False")}
    assert rows[0]["ratio"] == rows[0]["cpu_ratio"] == "1.0000"
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)


def test_table_gives_medians_and_quartiles_over_the_rounds(paired_epochs):
    fixed = {"model": "mlp", "jit_compile": True, "variant": "batch"}
    times = {"epoch_seconds": "0.25", "setup_seconds": "1.0"}
    # Peers of 1, 1, 1, 1 and 6 seconds.
    processor = [("1.5", "1.5")] * 4 + [("6.0", "1.0")]
    rows = [
        {**fixed, **times, "ratio": ratio, "cpu_seconds": seconds, "cpu_ratio": cpu}
        for ratio, (seconds, cpu) in zip(
            ("1.0", "1.1", "1.2", "1.5", "3.0"), processor, strict=True
        )
    ]
    _, line = paired_epochs.table(rows)
    assert line == (
        *("mlp", "True", "batch", "0.250", "1.200", "1.100 to 1.500"),
        *("1.500", "1.500 to 1.500", "1.200", "1.00"),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds and --epochs must be at least 1"),
        (["--epochs", "0"], "--rounds and --epochs must be at least 1"),
        (["--quick"], "--quick needs --output"),
    ],
)
def test_arguments_that_measure_nothing_are_refused(
    benchmark_script, arguments, message, capsys
):
    with pytest.raises(SystemExit, match="2"):
        benchmark_script.main(arguments)
    assert message in capsys.readouterr().err
