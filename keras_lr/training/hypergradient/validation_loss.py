"""The loss of validation batches and its gradient, inside a training step."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.batches import leaves, map_leaves
from keras_lr.training.derivatives.curvature import dense

# Any would do: rows are shuffled once, because they may be sorted by class.
_SEED = 0


class ValidationLoss:
    """Evaluates E, the loss on batches of validation data, one after the other.

    The model runs in inference mode; the regularizers have no part in E. The data are
    read once and kept in memory.

    Args:
        model: A built, compiled model.
        data: (x, y) or (x, y, sample_weight) as arrays, or a finite `tf.data.Dataset`
            or `PyDataset` of batches of them.
        batch_size: Rows of a batch, over all replicas. At least as many as there are:
            the whole set, in order, each time.
    """

    def __init__(self, model: keras.Model, data: Any, batch_size: int) -> None:
        import tensorflow as tf

        self._model = model
        arrays = as_arrays(data)
        self._total = len(leaves(arrays)[0])
        self._rows = min(batch_size, self._total)
        if self._rows < self._total:
            order = np.random.default_rng(_SEED).permutation(self._total)
            arrays = map_leaves(lambda array: array[order], arrays)
        self._data = map_leaves(tf.constant, arrays)
        with model.distribute_strategy.scope():
            self.position = replicas.shared_scalar("validation_position", "int32")

    def gradient(
        self, variables: Sequence[keras.Variable], advances: Tensor | bool = True
    ) -> tuple[Tensor, list[Tensor]]:
        """Return E at the current weights, and its gradient, of the next batch.

        Args:
            variables: The weights.
            advances: Whether the batch after it is the next one from then on.
        """
        import tensorflow as tf

        batch = self._next_batch(advances)
        values = [tf.identity(each.value) for each in variables]
        # Where nothing is updated: no metric, no statistics.
        scope = _keras.leaving_no_trace(variables, values)
        with scope, tf.GradientTape() as tape:
            tape.watch(values)
            loss = _keras.data_loss(self._model, batch)
        gradients = tape.gradient(
            loss,
            values,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        seen = [loss, *dense(gradients)]
        if _keras.scales_loss(self._model.optimizer):
            scale = self._model.optimizer.scale_loss(tf.ones((), loss.dtype))
            seen = [each / ops.cast(scale, each.dtype) for each in seen]
        loss, *gradients = map(replicas.sum_over_replicas, seen)
        return loss, gradients

    def _next_batch(self, advances: Tensor | bool) -> Any:
        import tensorflow as tf

        if self._rows == self._total:
            return self._data
        # A tensor: the variable itself would be read after it has advanced.
        start = self.position.value + 0
        number = self._rows * tf.cast(advances, start.dtype)
        self.position.assign((start + number) % self._total)
        rows = (start + tf.range(self._rows)) % self._total
        rows = _rows_of_this_replica(rows)
        return map_leaves(lambda tensor: tf.gather(tensor, rows), self._data)


def _rows_of_this_replica(rows: Tensor) -> Tensor:
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None:
        return rows
    number = context.num_replicas_in_sync
    if number == 1 or rows.shape[0] % number:
        return rows
    parts = tf.reshape(rows, (number, -1))
    return parts[context.replica_id_in_sync_group]


def as_arrays(data: Any, name: str = "validation_data") -> Any:
    """Return data of any form of `validation_data` as (x, y, sample_weight) of arrays.

    Args:
        data: (x, y) or (x, y, sample_weight), or a finite `tf.data.Dataset` or
            `PyDataset` of batches of them.
        name: Of the argument, for the message.

    Raises:
        ValueError: If they are not of such a form, endless, empty or of unequal length.
    """
    import tensorflow as tf

    batches = None
    if isinstance(data, tf.data.Dataset):
        _require(int(data.cardinality()) != tf.data.INFINITE_CARDINALITY, data, name)
        batches = list(data)
    elif isinstance(data, keras.utils.PyDataset):
        _require(data.num_batches is not None, data, name)
        batches = [data[index] for index in range(data.num_batches)]
    else:
        _require(isinstance(data, tuple | list) and len(data) in (2, 3), data, name)
    parts = [_as_numpy(tuple(data))] if batches is None else map(_as_numpy, batches)
    arrays = [each for each in parts if _has_rows(each)]
    _require(len(arrays) > 0, data, name)
    whole = map_leaves(lambda *each: np.concatenate(each), *arrays)
    _require(len({len(each) for each in leaves(whole)}) == 1, data, name)
    return whole


def _has_rows(arrays: Any) -> bool:
    return all(each.ndim > 0 and len(each) > 0 for each in leaves(arrays))


def _as_numpy(data: Any) -> Any:
    return map_leaves(_floatx, keras.utils.unpack_x_y_sample_weight(data))


def _floatx(values: Any) -> Any:
    array = np.asarray(values)
    # As Keras's own adapter for arrays does.
    is_float = np.issubdtype(array.dtype, np.floating)
    return array.astype(keras.config.floatx()) if is_float else array


def _require(is_right: bool, data: Any, name: str) -> None:
    if not is_right:
        raise ValueError(
            f"`{name}` must be (x, y) or (x, y, sample_weight) of arrays with "
            "equally many rows, or a finite `tf.data.Dataset` or `PyDataset` of such "
            f"batches. Received: {name}={_shown(data)}."
        )


def _shown(data: Any) -> str:
    if isinstance(data, tuple | list):
        shapes = map_leaves(np.shape, tuple(data))
        return f"{type(data).__name__} of shapes {shapes}"
    return f"<{type(data).__name__}>"
