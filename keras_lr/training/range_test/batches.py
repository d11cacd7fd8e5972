"""The first batches of data in any form that `fit` takes."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_lr.training.derivatives.arrays import as_arrays
from keras_lr.training.derivatives.batches import leaves, map_leaves

MOST_BYTES = 2**29
"""Size of all batches together above which no more are read."""
_END = object()
_FORMS = (
    "(x, y) or (x, y, sample_weight) of arrays with equally many rows, or a "
    "`tf.data.Dataset`, a `PyDataset` or a generator of such batches, endless or not; "
    "for a list of batches pass `iter(batches)`"
)


def first_batches(
    data: Any, count: int, *, batch_size: int | None, seed: int
) -> tuple[list[Any], bool]:
    """Return batches as `fit` gives them to a step, and whether an iterator is used up.

    Only a look at one more batch tells that. It is taken here, before any training, so
    that no work is lost if it fails.

    Args:
        data: (x, y) or (x, y, sample_weight) of arrays, whose rows are drawn; or a
            `tf.data.Dataset`, a `PyDataset` or any iterable of batches, whose first
            ones are read.
        count: How many. There are fewer if an epoch has fewer, or if more would need
            more than `MOST_BYTES`.
        batch_size: Rows of a batch of arrays, `None` for 32.
        seed: Seed of the draw.

    Raises:
        ValueError: If the data are not of such a form or have no batch, or if
            `batch_size` is given for batches that have one.
    """
    if isinstance(data, tuple | list | dict | np.ndarray):
        drawn = _drawn(data, batch_size or 32, seed)
    else:
        _require_no_batch_size(batch_size)
        drawn = _read(data)
    batches: list[Any] = []
    size = 0
    is_used_up = False
    while len(batches) < count and size <= MOST_BYTES:
        try:
            batch = next(drawn)
        except StopIteration:
            is_used_up = True
            break
        batches.append(_as_tensors(batch))
        size += _bytes_of(batches[-1])
    if not batches:
        raise ValueError(
            "`data` must have at least one batch. Received: "
            f"data=<{type(data).__name__}> without any. An iterator that was read to "
            "its end has none left: pass a new one."
        )
    if not isinstance(data, Iterator):
        return batches, False
    if len(batches) == count and size <= MOST_BYTES:
        is_used_up = next(drawn, _END) is _END
    return batches, is_used_up


def _require_no_batch_size(batch_size: int | None) -> None:
    if batch_size is not None:
        raise ValueError(
            "`batch_size` must be left out where `data` are batches already. "
            f"Received: batch_size={batch_size}."
        )


def _read(data: Any) -> Iterator[Any]:
    if isinstance(data, keras.utils.PyDataset):
        count = data.num_batches
        indices = itertools.count() if count is None else range(count)
        return (data[index] for index in indices)
    # Tensors and data frames can be iterated over, but not in batches.
    if not hasattr(data, "__iter__") or hasattr(data, "shape"):
        raise ValueError(
            f"`data` must be {_FORMS}. Received: data=<{type(data).__name__}>."
        )
    _require_batched(data)
    # Not `yield from`, which closes the generator of the user in the end.
    return iter(data)


def _require_batched(data: Any) -> None:
    """Raise if the targets of a dataset are scalars, so that it yields samples."""
    spec = getattr(data, "element_spec", None)
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        return
    targets = leaves(spec[1])
    if targets and all(getattr(each, "shape", None) == () for each in targets):
        raise ValueError(
            "`data` must have batches. Received: a dataset whose targets are scalars: "
            f"element_spec={spec}. Call `.batch(...)` first."
        )


def _as_tensors(batch: Any) -> Any:
    import tensorflow as tf

    def as_tensor(value: Any) -> Any:
        is_tensor = isinstance(value, tf.Tensor | tf.RaggedTensor | tf.SparseTensor)
        return value if is_tensor else keras.ops.convert_to_tensor(value)

    # Where there is more room than on another device.
    with tf.device("CPU:0"):
        # A step may unpack what it gets into two, where a list has one part.
        return map_leaves(as_tensor, tuple(batch) if isinstance(batch, list) else batch)


def _bytes_of(batch: Any) -> int:
    """Return the size of the dense tensors of a batch."""
    import tensorflow as tf

    dense = [each for each in leaves(batch) if isinstance(each, tf.Tensor)]
    return sum(each.dtype.size * math.prod(each.shape) for each in dense)


def _drawn(data: Any, batch_size: int, seed: int) -> Iterator[Any]:
    """Yield batches of rows in a random order, each row at most once."""
    # Of two or three, it would pass for (x, y).
    if isinstance(data, list) and all(isinstance(each, tuple) for each in data):
        raise ValueError(
            f"`data` must be {_FORMS}. Received: a list of {len(data)} tuples."
        )
    arrays = as_arrays(data, "data", _FORMS)
    rows = len(leaves(arrays)[0])
    order = np.random.default_rng(seed).permutation(rows)
    size = min(batch_size, rows)
    # Without the last one of an epoch, if it is smaller.
    for start in range(0, rows - size + 1, size):
        chosen = order[start : start + size]
        batch = map_leaves(lambda each: each[chosen], arrays)  # noqa: B023 - used here
        # Two parts where there are no weights, as from `fit`.
        yield keras.utils.pack_x_y_sample_weight(*batch)
