"""Batches of images in random orders, each one moved a little, the same at each run.

Order and augmentation of an epoch follow from the seed and the number of the epoch
alone. So a training that `BackupAndRestore` resumes sees the same batches as if it had
not been killed.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from images.data import Arrays, Images

Augmentation = Callable[[Any, Any], Any]


def unchanged(images: Any, seed: Any) -> Any:
    """Return the images as they are."""
    return images


def crop_and_flip(images: Any, seed: Any) -> Any:
    """Pad by four pixels of 0, cut each image at a random place, and flip every other.

    He et al., arXiv 1512.03385, section 4.2. In normalized images 0 is the mean.

    Args:
        images: `(batch, height, width, channels)`, float32.
        seed: Two whole numbers.
    """
    padding = 4.0
    drawn = tf.random.stateless_uniform((tf.shape(images)[0], 3), seed)
    shift = tf.floor((2 * padding + 1) * drawn[:, :2]) - padding
    is_flipped = drawn[:, 2] < 0.5
    width = float(images.shape[2])
    sign = tf.where(is_flipped, -1.0, 1.0)
    start = tf.where(is_flipped, width - 1.0, 0.0) + shift[:, 0]
    zero, one = tf.zeros_like(sign), tf.ones_like(sign)
    # Pixel (x, y) of what comes out is (a x + b y + c, d x + e y + f) of what goes in.
    rows = (sign, zero, start, zero, one, shift[:, 1], zero, zero)
    return keras.ops.image.affine_transform(
        images, tf.stack(rows, axis=1), "nearest", "constant"
    )


def shift_zoom_rotate(images: Any, seed: Any) -> Any:
    """Shift by up to 10 %, zoom by up to 10 % and rotate by up to 15 degrees.

    Yedida et al., arXiv 1902.07399, section 7.3.1. Outside is the nearest pixel.

    Args:
        images: `(batch, height, width, channels)`, float32.
        seed: Two whole numbers.
    """
    drawn = tf.random.stateless_uniform((tf.shape(images)[0], 5), seed, -1.0, 1.0)
    angle = drawn[:, 0] * (np.pi / 12)
    zoom_x, zoom_y = 1 + 0.1 * drawn[:, 1], 1 + 0.1 * drawn[:, 2]
    height, width = (float(side) for side in images.shape[1:3])
    a, b = zoom_x * tf.cos(angle), -zoom_y * tf.sin(angle)
    d, e = zoom_x * tf.sin(angle), zoom_y * tf.cos(angle)
    # About the center, which then moves.
    x, y = (width - 1) / 2, (height - 1) / 2
    c = x - a * x - b * y + 0.1 * width * drawn[:, 3]
    f = y - d * x - e * y + 0.1 * height * drawn[:, 4]
    zero = tf.zeros_like(a)
    transform = tf.stack((a, b, c, d, e, f, zero, zero), axis=1)
    return keras.ops.image.affine_transform(images, transform, "bilinear", "nearest")


class EpochBatches:
    """The batches of one epoch after the other.

    Args:
        images: Images whose statistics normalize the batches.
        data: Part of them to train on.
        batch_size: Rows of each batch except the last of an epoch.
        seed: Seed of orders and augmentation.
        augment: Function of normalized images and a seed.

    Attributes:
        epoch: Number of the next epoch.
        steps: Batches of an epoch.
    """

    def __init__(
        self,
        images: Images,
        data: Arrays,
        batch_size: int,
        *,
        seed: int = 0,
        augment: Augmentation = unchanged,
    ) -> None:
        self._images, self._data, self._augment = images, data, augment
        self._batch_size, self._seed = batch_size, seed
        self.epoch = 0
        self.steps = -(-len(data[0]) // batch_size)

    def dataset(self) -> tf.data.Dataset:
        """Return a `tf.data.Dataset` that is read anew for each epoch."""
        shape = self._data[0].shape[1:]
        signature = (
            tf.TensorSpec((None, *shape), tf.uint8),
            tf.TensorSpec((None,), tf.int32),
            tf.TensorSpec((2,), tf.int32),
        )
        raw = tf.data.Dataset.from_generator(self._raw, output_signature=signature)
        batches = raw.map(self._finished, num_parallel_calls=tf.data.AUTOTUNE)
        counted = batches.apply(tf.data.experimental.assert_cardinality(self.steps))
        return counted.prefetch(tf.data.AUTOTUNE)

    def _raw(self) -> Iterator[tuple[np.ndarray, ...]]:
        x, y = self._data
        rng = np.random.default_rng((self._seed, self.epoch))
        order = rng.permutation(len(x))
        seeds = rng.integers(2**31, size=(self.steps, 2), dtype="int32")
        for step, seed in enumerate(seeds):
            rows = order[step * self._batch_size : (step + 1) * self._batch_size]
            yield x[rows], y[rows], seed

    def _finished(self, x: Any, y: Any, seed: Any) -> tuple[Any, Any]:
        normalized = self._images.normalized(tf.cast(x, tf.float32))
        return self._augment(normalized, seed), y

    def clock(self) -> keras.callbacks.Callback:
        """Return the callback that tells which epoch it is."""

        def tell(epoch: int, logs: dict | None = None) -> None:
            self.epoch = epoch

        return keras.callbacks.LambdaCallback(on_epoch_begin=tell)
