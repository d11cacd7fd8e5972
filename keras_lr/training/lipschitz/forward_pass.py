"""Measure a model on given data by a pass in inference mode."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_lr.training.lipschitz.meter import LipschitzMeter


class ForwardPass:
    """Runs a model over a data set, batch by batch, while a meter measures L.

    Args:
        model: A built model.
        meter: Meter of L.
        data: x or (x, y) as arrays, or batches of them: a `tf.data.Dataset` or a
            `keras.utils.PyDataset`.
        batch_size: Rows of a batch, where `data` are arrays.
    """

    def __init__(
        self, model: keras.Model, meter: LipschitzMeter, data: Any, batch_size: int
    ) -> None:
        import tensorflow as tf

        self._data = data
        self._batch_size = batch_size

        def measure(batch: Any) -> None:
            x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
            with meter.watching(batch):
                model(x, training=False)

        eager = model.run_eagerly
        self._measure = (
            measure if eager else tf.function(measure, reduce_retracing=True)
        )

    def run(self) -> None:
        """Run the whole data set once."""
        for batch in self._batches():
            self._measure(batch)

    def _batches(self) -> Iterator[Any]:
        import tensorflow as tf

        if isinstance(self._data, tf.data.Dataset):
            yield from self._data
        elif isinstance(self._data, keras.utils.PyDataset):
            for index in range(self._data.num_batches):
                yield _tensors(self._data[index])
        else:
            arrays = self._data if isinstance(self._data, tuple) else (self._data,)
            for start in range(0, len(arrays[0]), self._batch_size):
                stop = start + self._batch_size
                yield _tensors(tuple(np.asarray(a)[start:stop] for a in arrays))


def _tensors(batch: Any) -> Any:
    # A NumPy array would be a new constant, and a new trace, for each batch.
    return keras.tree.map_structure(keras.ops.convert_to_tensor, batch)
