"""The example reproduces the published numbers on the data that ship with packages."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

# The gallery runs the example too.
pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "plot_lipschitz_classical.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location(EXAMPLE.stem, EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[EXAMPLE.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[EXAMPLE.stem]


@pytest.fixture(scope="module")
def results(example):
    return {result.problem.name: result for result in example.main([])}


def test_rates_are_the_published_ones(results):
    assert results["Boston housing"].rate == pytest.approx(8.3141, abs=5e-5)
    assert results["Breast cancer"].rate == pytest.approx(4280.2277, abs=5e-5)
    assert 1.886 < results["Iris"].rate < 1.949
    assert 0.6337 < results["Digits"].rate < 0.6365


@pytest.mark.parametrize(
    ("name", "fewest", "most"),
    [
        ("Boston housing", 556, 556),
        ("Breast cancer", 2, 2),
        ("Iris", 13, 126),
        ("Digits", 103, 174),
    ],
)
def test_epochs_at_the_rate_are_the_published_ones(results, name, fewest, most):
    assert fewest <= len(results[name].losses_at_rate) <= most


@pytest.mark.parametrize(
    ("name", "fewest", "most"),
    [
        ("Boston housing", 46_087, 46_140),
        ("Breast cancer", 15_000, 39_000),
        ("Iris", 336, 615),
        ("Digits", 243, 421),
    ],
)
def test_epochs_at_the_guess_are_the_published_ones(results, name, fewest, most):
    assert fewest <= len(results[name].losses_at_guess) <= most


def test_last_loss_is_the_first_below_the_threshold(results):
    for result in results.values():
        for losses in (result.losses_at_rate, result.losses_at_guess):
            assert losses[-1] < result.problem.threshold
            assert np.all(losses[:-1] >= result.problem.threshold)


def test_cifar10_rate_is_the_published_one(example):
    assert example.cifar10_rate() == pytest.approx(0.668190, abs=5e-7)


def test_table_prints_the_numbers(example, results, capsys):
    example.print_table(list(results.values()))
    boston = capsys.readouterr().out.splitlines()[1]
    assert boston.split() == [
        *("Boston", "housing", "8.3141", "(9.316)"),
        *("46,140", "(46,041)", "556", "(555)"),
    ]


def test_energy_data_come_from_a_file(example, tmp_path, rng):
    """Two columns of targets: the first is the heating load."""
    x, y = rng.uniform(1.0, 2.0, size=(20, 3)), rng.uniform(20.0, 30.0, size=(20, 2))
    np.savez(tmp_path / "energy.npz", x=x, y=y)
    problem = example.problems(str(tmp_path / "energy.npz"))[-1]
    np.testing.assert_array_equal(problem.y, y[:, 0])
    np.testing.assert_allclose(problem.x.sum(axis=0), 1.0)
    assert problem.threshold == 100.0
