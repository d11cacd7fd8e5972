"""Data in any form that Keras takes, as arrays in memory."""

from typing import Any

import keras
import numpy as np

from keras_lr.training.derivatives.batches import leaves, map_leaves

_FORMS = (
    "(x, y) or (x, y, sample_weight) of arrays with equally many rows, or a finite "
    "`tf.data.Dataset` or `PyDataset` of such batches"
)


def finite_arrays(data: Any, name: str) -> Any:
    """Return data as `as_arrays` does, or raise if a number in them is not finite.

    One row that is not makes the loss of its batch NaN, in every epoch, and what is
    decided by it says nothing.
    """
    arrays = as_arrays(data, name)
    for array in leaves(arrays):
        if not np.issubdtype(array.dtype, np.floating):
            continue
        rows = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if rows.any():
            raise ValueError(
                f"`{name}` must be finite. Received: {name} with {rows.sum()} of "
                f"{len(rows)} rows that have NaN or infinite entries, the first in row "
                f"{rows.argmax()}. Drop or fill them."
            )
    return arrays


def as_arrays(data: Any, name: str, forms: str = _FORMS) -> Any:
    """Return data of any form of `validation_data` as (x, y, sample_weight) of arrays.

    Args:
        data: (x, y) or (x, y, sample_weight), or a finite `tf.data.Dataset` or
            `PyDataset` of batches of them.
        name: Name of the argument, for the message.
        forms: Forms that the caller takes, for the message.

    Raises:
        ValueError: If they are not of such a form, endless, empty or of unequal length.
    """
    import tensorflow as tf

    if isinstance(data, tf.data.Dataset):
        is_finite = int(data.cardinality()) != tf.data.INFINITE_CARDINALITY
        _require(is_finite, data, name, forms)
        batches = list(data)
    elif isinstance(data, keras.utils.PyDataset):
        _require(data.num_batches is not None, data, name, forms)
        batches = [data[index] for index in range(data.num_batches)]
    else:
        _require(
            isinstance(data, tuple | list) and len(data) in (2, 3), data, name, forms
        )
        batches = [tuple(data)]
    arrays = [each for each in map(_as_numpy, batches) if _has_rows(each)]
    _require(len(arrays) > 0, data, name, forms)
    try:
        whole = map_leaves(lambda *each: np.concatenate(each), *arrays)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must have rows of one shape and batches of one structure: they "
            f"are kept as arrays. Received: {name} with "
            f"{' and '.join(_shapes(each) for each in _extremes(arrays))}. Pad all "
            "batches to the same length."
        ) from error
    _require(len({len(each) for each in leaves(whole)}) == 1, data, name, forms)
    return whole


def _shapes(batch: Any) -> str:
    return f"a batch of shapes {map_leaves(np.shape, batch)}"


def _extremes(batches: list[Any]) -> list[Any]:
    """Return a batch with the fewest numbers, and one with the most."""
    sizes = [sum(each.size / len(each) for each in leaves(x)) for x in batches]
    return [batches[int(np.argmin(sizes))], batches[int(np.argmax(sizes))]]


def _has_rows(arrays: Any) -> bool:
    return all(each.ndim > 0 and len(each) > 0 for each in leaves(arrays))


def _as_numpy(data: Any) -> Any:
    return map_leaves(_floatx, keras.utils.unpack_x_y_sample_weight(data))


def _floatx(values: Any) -> Any:
    array = np.asarray(values)
    # As Keras's own adapter for arrays does.
    is_float = np.issubdtype(array.dtype, np.floating)
    return array.astype(keras.config.floatx()) if is_float else array


def _require(is_right: bool, data: Any, name: str, forms: str) -> None:
    if not is_right:
        raise ValueError(f"`{name}` must be {forms}. Received: {name}={_shown(data)}.")


def _shown(data: Any) -> str:
    if isinstance(data, tuple | list):
        shapes = map_leaves(np.shape, tuple(data))
        return f"{type(data).__name__} of shapes {shapes}"
    return f"<{type(data).__name__}>"
