"""The minibatches of a training, each of which can be read again until it is over."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_lr.training.derivatives.arrays import as_arrays
from keras_lr.training.derivatives.batches import leaves, map_leaves


class DrawnRows:
    """Batches of rows of arrays, gathered when they are asked for.

    Args:
        data: A structure of tensors.
        rows: Numbers of the rows in the batch of each step, `(steps, batch_size)`.
    """

    def __init__(self, data: Any, rows: np.ndarray) -> None:
        self._data = data
        self._rows = rows

    def __getitem__(self, step: int) -> Any:
        """Return the batch of a step."""
        import tensorflow as tf

        rows = self._rows[step]
        return map_leaves(lambda tensor: tf.gather(tensor, rows), self._data)


class ArrayBatches:
    """Draws batches from arrays: each epoch in an order of its own.

    All batches have the same size: where the rows of an epoch run out, a batch
    continues with the next epoch.

    Args:
        data: (x, y) or (x, y, sample_weight).
        batch_size: Rows of a batch.
        steps: Number of batches of a training.
    """

    def __init__(self, data: Any, batch_size: int, steps: int) -> None:
        import tensorflow as tf

        self._data = map_leaves(tf.constant, as_arrays(data, "train_data"))
        self._total = len(leaves(self._data)[0])
        self.batch_size = min(batch_size, self._total)
        self.example = map_leaves(lambda each: each[: self.batch_size], self._data)
        self._steps = steps

    def draw(self, generator: np.random.Generator) -> DrawnRows:
        """Return the batches of a training."""
        needed = self._steps * self.batch_size
        epochs = [
            generator.permutation(self._total) for _ in range(-(-needed // self._total))
        ]
        rows = np.concatenate(epochs)[:needed].reshape(self._steps, self.batch_size)
        return DrawnRows(self._data, rows)


class DatasetBatches:
    """Takes the batches of a data set in order, and starts again at its end.

    Args:
        data: A `tf.data.Dataset` or `PyDataset`.
        steps: Number of batches of a training.
    """

    def __init__(self, data: Any, steps: int) -> None:
        self._batches = _endless(data)
        self._steps = steps
        self.example = next(self._batches)
        self.batch_size = len(leaves(self.example)[0])
        # The example is also the first batch: some data can be read only once.
        self._batches = itertools.chain([self.example], self._batches)

    def draw(self, generator: np.random.Generator) -> Sequence[Any]:
        """Return the next batches, in the order of the data set."""
        return list(itertools.islice(self._batches, self._steps))


def minibatches(data: Any, batch_size: int | None, steps: int) -> Any:
    """Return what draws batches from data in any form that `fit` takes.

    Raises:
        ValueError: If they are not of such a form, or if `batch_size` is given for
            batches that have one.
    """
    import tensorflow as tf

    if not isinstance(data, tf.data.Dataset | keras.utils.PyDataset):
        return ArrayBatches(data, batch_size or 32, steps)
    if batch_size is not None:
        raise ValueError(
            "`batch_size` must be left out where `train_data` are batches already. "
            f"Received: batch_size={batch_size}."
        )
    return DatasetBatches(data, steps)


def _endless(data: Any) -> Iterator[Any]:
    while True:
        is_empty = True
        for batch in _epoch(data):
            is_empty = False
            yield map_leaves(
                keras.ops.convert_to_tensor,
                keras.utils.unpack_x_y_sample_weight(batch),
            )
        if is_empty:
            raise ValueError(
                "`train_data` must have at least one batch. "
                f"Received: train_data=<{type(data).__name__}> without any."
            )


def _epoch(data: Any) -> Iterator[Any]:
    if not isinstance(data, keras.utils.PyDataset):
        yield from data
        return
    index = 0
    while data.num_batches is None or index < data.num_batches:
        yield data[index]
        index += 1
    data.on_epoch_end()
