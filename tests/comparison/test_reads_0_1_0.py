"""What 0.1.0 wrote is read and continued; `write_comparison.py` says what is in it."""

import json
import shutil

import pytest

from keras_lr.comparison import compare_policies
from tests.comparison.linear_problem import Counting
from tests.data.v0_1_0 import write_comparison as old


@pytest.fixture
def directory(tmp_path):
    """Give a copy of what 0.1.0 wrote, which a comparison may write to."""
    return shutil.copytree(old.DIRECTORY, tmp_path / "comparison")


def continued(directory, policies):
    """Return the result, and how many runs were trained for it."""
    build_model = Counting(old.build_model)
    with pytest.warns(UserWarning, match="did not note: layers, losses and metrics"):
        result = compare_policies(
            build_model, old.DATA, policies, directory=directory, **old.SETTINGS
        )
    return result, build_model.calls


def test_finished_runs_are_read_and_not_trained_again(directory):
    result, trained = continued(directory, old.FINISHED)
    assert trained == 0
    for record, name in zip(result.records, ("0.125", "0.25"), strict=True):
        (path,) = old.DIRECTORY.glob(f"runs/constant_{name}-*.json")
        written = json.loads(path.read_text(encoding="utf-8"))
        assert record.to_dict() == written | {
            "kind": "constant",
            "validation_rows": 0,
            "restarts": None,
        }


def test_constant_rates_are_known_as_such(directory):
    result, _ = continued(directory, old.FINISHED)
    notes = {row.policy: row.note for row in result.table}
    assert notes == {"constant 0.25": "best", "constant 0.125": "worst"}
    assert any(text.startswith("Among constant rates, 0.25") for text in result.advice)


def test_only_what_failed_or_is_missing_is_trained(directory):
    result, trained = continued(directory, [*old.FINISHED, "cosine_decay", "default"])
    assert trained == 2
    assert [row.failed for row in result.table] == [0] * 4
    assert len(list(directory.glob("runs/*-seed0.json"))) == 4
