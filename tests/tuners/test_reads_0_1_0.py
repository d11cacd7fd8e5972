"""Searches that version 0.1.0 wrote are read and continued."""

import json
import shutil

import pytest

from tests.data.v0_1_0 import write_searches

# `Zooming` is searched with in test_tuner.py.
pytestmark = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "zooming" else [])
        for name in write_searches.TUNERS
    ],
)


@pytest.fixture
def tuner(tmp_path, name):
    shutil.copytree(write_searches.FOLDER / name, tmp_path / name)
    return write_searches.open_search(name, tmp_path)


def expected(name, moment):
    return json.loads((write_searches.FOLDER / f"{name}.json").read_text())[moment]


def test_trials_and_the_recommended_rate_are_those_that_0_1_0_read(tuner, name):
    assert write_searches.content(tuner) == expected(name, "stopped")


def test_search_continues_as_0_1_0_would(tuner, name):
    write_searches.run(tuner)
    content, whole = write_searches.content(tuner), expected(name, "continued")
    for key in ("trial_ids", "signals"):
        assert content[key] == whole[key]
    for key in ("learning_rates", "scores", "recommended"):
        # Another processor may round in another way.
        assert content[key] == pytest.approx(whole[key], rel=1e-3)
    assert tuner.oracle.end_order == whole["trial_ids"]
