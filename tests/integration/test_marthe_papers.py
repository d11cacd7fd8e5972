"""The examples beside the numbers of the MARTHE paper's experiments."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "plot_hypergradients.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location(EXAMPLE.stem, EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[EXAMPLE.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[EXAMPLE.stem]


@pytest.fixture
def problems(example):
    return {problem.name: problem for problem in (example.BEALE, example.BUKIN)}


def test_lowest_value_of_beale_is_at_its_minimizer(example):
    assert example.beale(3.0, 0.5) == 0.0
    nearby = 1e-3 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, 1]])
    assert np.all(example.beale(3.0 + nearby[:, 0], 0.5 + nearby[:, 1]) > 0.0)


@pytest.mark.parametrize("x", [-10.0, 0.0, 7.0])
def test_lowest_value_of_bukin_is_all_along_its_valley(example, x):
    floor = np.sqrt(np.sqrt(1e-3) + 1e-3)
    assert floor == pytest.approx(0.1806, abs=5e-5)
    y = 0.01 * x + np.array([-1e-3, 0.0, 1e-3])
    above, bottom, below = example.bukin(x, y)
    assert bottom == pytest.approx(floor, rel=1e-14)
    assert min(above, below) > floor


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # (1, 1, 0.25), the three terms.
        ("Beale", 1 + 1 + 0.25**2),
        # y - 0.01 x is 3.1.
        ("Bukin", ((3.1**2 + 1e-3) ** 0.5 + 1e-3) ** 0.5),
    ],
)
def test_start_of_a_path_has_its_value(problems, name, value):
    problem = problems[name]
    assert problem.function(*problem.start) == pytest.approx(value, rel=1e-14)


def test_precision_is_what_it_was_afterwards(example):
    import keras

    policy = keras.config.dtype_policy()
    with example.double_precision():
        assert keras.config.floatx() == "float64"
    assert keras.config.floatx() == "float32"
    assert keras.config.dtype_policy() == policy


# Known to three digits; those of RTHO and MARTHE on Bukin's function hang on rounding,
# but not the third digit of the lowest value.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "lowest"),
    [
        ("Beale", ("HD", 1e-7), 1.416),
        ("Beale", ("RTHO", 1e-7), 1.221),
        ("Bukin", ("HD", 1e-4), 0.908),
        ("Bukin", ("RTHO", 1e-4), 0.322),
        ("Bukin", ("MARTHE", 1e-4), 0.181),
    ],
)
def test_lowest_value_is_the_known_one(example, problems, name, arguments, lowest):
    run = example.train(problems[name], *arguments)
    assert run.best == pytest.approx(lowest, abs=5e-4)
    # The callback's own values are those of the function at the points.
    values = problems[name].function(*run.path.T)
    np.testing.assert_allclose(run.values, values, rtol=1e-12)


@pytest.mark.slow
def test_rate_of_rtho_grows_in_the_valley_and_is_0_for_good(example):
    rates = example.train(example.BUKIN, "RTHO", 1e-4).rates
    highest = np.argmax(rates)
    assert rates[highest] == pytest.approx(0.23, abs=5e-3)
    assert np.all(rates[highest + 10 :] == 0.0)


@pytest.mark.slow
def test_rtho_gets_further_than_hd_wherever_it_does_not_diverge(example):
    problem = example.BEALE
    for beta in (1e-7, 1e-6):
        far, near = (
            example.train(problem, method, beta).best for method in ("RTHO", "HD")
        )
        assert far < near
    for beta in (1e-5, 1e-4):
        assert np.isnan(example.train(problem, "RTHO", beta).best)
