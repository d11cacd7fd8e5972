"""A table on the device to which each training step adds a row."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor

# Rows until they have to be fetched: enough for an epoch of a small problem, and little
# to copy in each step.
CAPACITY = 1024


class StepLog:
    """Stores numbers of each step on the device until they are fetched.

    Args:
        model: The model that is trained, in whose strategy's scope the table lives.
        columns: Names of the columns.
        dtype: Dtype of the table.
        capacity: Number of rows in it; further rows overwrite the oldest.
    """

    def __init__(
        self,
        model: keras.Model,
        columns: Sequence[str],
        *,
        dtype: str = "float32",
        capacity: int = CAPACITY,
    ) -> None:
        self.columns = tuple(columns)
        self.capacity = capacity
        with model.distribute_strategy.scope():
            self._rows = keras.Variable(
                ops.zeros((capacity, len(self.columns)), dtype),
                dtype=dtype,
                trainable=False,
                autocast=False,
                aggregation="only_first_replica",
                name="keras_lr_step_log",
            )
            self._count = replicas.shared_scalar("step_log_count", "int32")

    def append(self, row: Mapping[str, Tensor]) -> None:
        """Add a row, inside the step: a scalar for each column."""
        import tensorflow as tf

        dtype = self._rows.dtype
        values = ops.stack([ops.cast(row[name], dtype) for name in self.columns])
        place = [self._count.value % self.capacity]
        # In place: the table is not copied.
        self._rows.value.scatter_update(tf.IndexedSlices(values[None], place))
        # Where a data set runs out there are no values, and no row to count.
        with tf.control_dependencies([values]):
            self._count.assign(self._count.value + 1)

    def clear(self) -> None:
        """Forget the rows, on the host."""
        self._count.assign(0)

    def fetch(self) -> dict[str, list[float]]:
        """Return the rows since the last time, by columns, and forget them."""
        count = int(_keras.to_float(self._count))
        rows = self._rows.numpy()
        # After an overflow the oldest row stands where the next one would.
        rows = rows[:count] if count < self.capacity else np.roll(rows, -count, axis=0)
        self.clear()
        return {
            name: [float(value) for value in rows[:, index]]
            for index, name in enumerate(self.columns)
        }
