"""The first batches of data in any form that `fit` takes."""

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_lr.training.derivatives.arrays import as_arrays
from keras_lr.training.derivatives.batches import leaves, map_leaves


def first_batches(
    data: Any, count: int, *, batch_size: int | None, seed: int
) -> list[Any]:
    """Return batches as `fit` would give them to the training step.

    Args:
        data: (x, y) or (x, y, sample_weight) of arrays, whose rows are drawn; or a
            `tf.data.Dataset`, a `PyDataset` or any iterable of batches, whose first
            ones are read.
        count: How many. Batches that can be read again, or arrays, give as many as
            there are in an epoch, if these are fewer.
        batch_size: Rows of a batch of arrays, `None` for 32.
        seed: Seed of the draw.

    Raises:
        ValueError: If the data are not of such a form or have no batch, or if
            `batch_size` is given for batches that have one.
    """
    if not isinstance(data, tuple | list | dict | np.ndarray):
        _require_no_batch_size(batch_size)
        batches = [_as_tensors(each) for each in itertools.islice(_read(data), count)]
    else:
        batches = list(_drawn(data, batch_size or 32, count, seed))
    if not batches:
        raise ValueError(
            "`data` must have at least one batch. Received: "
            f"data=<{type(data).__name__}> without any. An iterator that was read to "
            "its end has none left: pass a new one."
        )
    return batches


def _require_no_batch_size(batch_size: int | None) -> None:
    if batch_size is not None:
        raise ValueError(
            "`batch_size` must be left out where `data` are batches already. "
            f"Received: batch_size={batch_size}."
        )


def _read(data: Any) -> Iterator[Any]:
    if isinstance(data, keras.utils.PyDataset):
        indices = itertools.count() if data.num_batches is None else None
        for index in indices or range(data.num_batches):
            yield data[index]
        return
    if not hasattr(data, "__iter__"):
        raise ValueError(
            "`data` must be (x, y) or (x, y, sample_weight) of arrays, or a "
            "`tf.data.Dataset`, a `PyDataset` or a generator of such batches. "
            f"Received: data=<{type(data).__name__}>."
        )
    yield from data


def _as_tensors(batch: Any) -> Any:
    import tensorflow as tf

    kinds = tf.Tensor | tf.RaggedTensor | tf.SparseTensor
    return map_leaves(
        lambda each: (
            each if isinstance(each, kinds) else keras.ops.convert_to_tensor(each)
        ),
        # A step may unpack what it gets into two, where a list has one part.
        tuple(batch) if isinstance(batch, list) else batch,
    )


def _drawn(data: Any, batch_size: int, count: int, seed: int) -> Iterator[Any]:
    """Yield batches of rows in a random order, each row at most once."""
    arrays = as_arrays(data, "data")
    rows = len(leaves(arrays)[0])
    order = np.random.default_rng(seed).permutation(rows)
    size = min(batch_size, rows)
    # Without the last one of an epoch, if it is smaller.
    for start in range(0, rows - size + 1, size)[:count]:
        chosen = order[start : start + size]
        batch = map_leaves(lambda each: each[chosen], arrays)  # noqa: B023 - used here
        # Two parts where there are no weights, as from `fit`.
        yield _as_tensors(keras.utils.pack_x_y_sample_weight(*batch))
