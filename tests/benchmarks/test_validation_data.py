"""The script that holds rows out for `MARTHE`: its rows, and its table."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def script(long_script):
    return long_script("validation_data")


def test_each_tenth_row_is_held_out(script):
    x, y, test = np.arange(25.0)[:, np.newaxis], np.arange(25), object()
    (rows, kept_test), (x_held, y_held) = script.held_out(((x, y), test))
    assert kept_test is test
    np.testing.assert_array_equal(y_held, [0, 10, 20])
    np.testing.assert_array_equal(x_held[:, 0], y_held)
    assert not set(rows[1]) & set(y_held)
    assert len(rows[0]) == len(rows[1]) == 22


def test_differences_are_those_of_the_same_seeds(script):
    """Gains of 1, 2 and 6: their mean is 3, and its error sqrt(7 / 3)."""
    metrics = {"without": (80.0, 82.0, 84.0), "with": (81.0, 84.0, 90.0)}
    found = {
        script.Run("label_noise_mnist", "sgd", kind, seed): value
        for kind, values in metrics.items()
        for seed, value in enumerate(values)
    }
    found[script.Run("mlp_digits", "adam", "with", 0)] = 97.0
    _, line = script.table(found)
    assert line[:5] == ["label_noise_mnist", "sgd", "82.0", "85.0", "+3.0 ± 1.5"]
    assert float(line[5]) > 85


def test_page_holds_the_table_of_the_committed_runs(script, long_script):
    page = long_script("page")
    text = script.PAGE.read_text(encoding="utf-8")
    made = page.markdown(script.table(script.metrics(script.CSV)))
    assert page.replace_tables(text, made, script.SCRIPT, script.FOLDER) == text
