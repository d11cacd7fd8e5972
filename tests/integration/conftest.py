"""What several tests of the examples share."""

import pytest

from tests.example_scripts import scripts_of


@pytest.fixture(scope="module")
def scripts():
    """Give a function that imports a script of `examples/papers` by its name."""
    with scripts_of("papers") as scripts:
        yield scripts
