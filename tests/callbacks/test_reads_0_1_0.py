"""What 0.1.0 wrote to disk is read: fits and searches continue from it.

The files and the numbers are those of `tests/data/v0_1_0/write_callbacks.py`.
"""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_lr
from tests.data.v0_1_0 import write_callbacks
from tests.small_problem import compiled, fit

DATA = Path(write_callbacks.__file__).parent
# Twelve steps of float32, whose sums another processor rounds in another order.
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


@pytest.fixture
def expected(request):
    numbers = json.loads((DATA / "callbacks.json").read_text(encoding="utf-8"))
    return numbers[request.node.callspec.params["name"]]


@pytest.mark.parametrize(
    "name",
    [
        # The next test reads the other file of `MARTHE`.
        pytest.param(
            name, marks=[pytest.mark.slow] if name == "marthe_adaptive" else []
        )
        for name in write_callbacks.MAKERS
        # Its rule has changed since: see the next but one.
        if name != "walk"
    ],
)
def test_interrupted_fit_of_0_1_0_continues_exactly(name, expected, tmp_path):
    folder = shutil.copytree(DATA / name, tmp_path / name)
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    model = compiled()
    callbacks = [backup, write_callbacks.MAKERS[name](folder)]
    history = fit(model, callbacks, write_callbacks.EPOCHS).history
    for key in ("learning_rate", "loss"):
        rest = expected[key][write_callbacks.INTERRUPTED_IN :]
        np.testing.assert_allclose(history[key], rest, **CLOSE)
    for a, b in zip(model.get_weights(), expected["weights"], strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def test_state_of_0_1_0_serves_the_discount_that_came_later(tmp_path):
    """The file has no average and no weights before the last step; the rest is read."""
    folder = shutil.copytree(DATA / "marthe", tmp_path / "marthe")
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    marthe = keras_lr.MARTHE(backup_dir=folder)
    fit(compiled(), [backup, marthe], write_callbacks.EPOCHS)
    with np.load(DATA / "marthe" / "keras_lr_hypergradient.npz") as file:
        rate = float(file["learning_rate_0"])
    # Not annealed yet where the fit was interrupted.
    assert marthe.history["learning_rate"][0] == pytest.approx(rate, rel=1e-6)


def test_state_of_0_1_0_serves_the_walk_that_asks_other_batches(tmp_path):
    """The file has no averages and no weights before the last step."""
    folder = shutil.copytree(DATA / "walk", tmp_path / "walk")
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    walk = write_callbacks.MAKERS["walk"](folder)
    fit(compiled(), [backup, walk], write_callbacks.EPOCHS)
    with np.load(DATA / "walk" / "keras_lr_walk.npz") as file:
        rate = float(file["learning_rate_0"])
    assert walk.history["learning_rate"][0] == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("name", ["optimize_schedule"])
def test_search_of_0_1_0_continues_exactly(name, expected, tmp_path):
    folder = shutil.copytree(DATA / name, tmp_path / name)
    result = write_callbacks.search_schedule(5, folder)
    np.testing.assert_allclose(
        result.history["objective"], expected["objective"], **CLOSE
    )
    values = result.schedule.get_config()["values"]
    np.testing.assert_allclose(values, expected["values"], **CLOSE)
