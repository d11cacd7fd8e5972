"""E, the loss on all validation data, at a state of a training."""

from typing import Any

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.arrays import finite_arrays
from keras_lr.training.derivatives.batches import leaves, map_leaves
from keras_lr.training.derivatives.tensors import dense
from keras_lr.training.schedule.training_step import Floats, TrainingStep


class FinalLoss:
    """Evaluates E in inference mode, in parts that follow one another.

    The regularizers have no part in E. The data are read once and held in memory.

    Args:
        step: Training step of the model that is trained.
        data: (x, y) or (x, y, sample_weight) as arrays, or a finite `tf.data.Dataset`
            or `PyDataset` of batches of them.
        batch_size: Rows of a part.
    """

    def __init__(self, step: TrainingStep, data: Any, batch_size: int) -> None:
        import tensorflow as tf

        self._step = step
        self._data = map_leaves(tf.constant, finite_arrays(data, "validation_data"))
        self._total = len(leaves(self._data)[0])
        self._batch_size = batch_size
        traced = {"autograph": False, "reduce_retracing": True}
        self._value = tf.function(self._value_of_part, **traced)
        self._gradient = tf.function(self._gradient_of_part, **traced)

    def value(self, floats: Floats) -> Tensor:
        """Return E, a scalar."""
        import tensorflow as tf

        return tf.add_n([self._value(floats, *part) for part in self._parts()])

    def gradient(self, floats: Floats) -> tuple[Tensor, Floats]:
        """Return E, and its gradient with respect to the state."""
        import tensorflow as tf

        sums: list[Tensor] = []
        for part in self._parts():
            terms = self._gradient(floats, *part)
            pairs = zip(sums, terms, strict=True)
            sums = [a + b for a, b in pairs] if sums else terms
        loss, *gradients = sums
        number = len(floats.weights)
        slots = [tf.zeros_like(each) for each in floats.slots]
        return loss, Floats(gradients[:number], slots, gradients[number:])

    def _parts(self) -> Any:
        """Yield batches, and their part of the rows."""
        import tensorflow as tf

        for start in range(0, self._total, self._batch_size):
            rows = slice(start, start + self._batch_size)
            batch = map_leaves(lambda tensor, rows=rows: tensor[rows], self._data)
            share = len(leaves(batch)[0]) / self._total
            yield batch, tf.constant(share, keras.config.floatx())

    def _value_of_part(self, floats: Floats, batch: Any, share: Tensor) -> Tensor:
        model, variables = self._step.model, self._step.variables.floats
        scope = _keras.leaving_no_trace(
            [*variables.weights, *variables.statistics],
            [*floats.weights, *floats.statistics],
        )
        with scope:
            loss = _keras.data_loss(model, batch)
            # The optimizer's factor has no part in E.
            scale = model.optimizer.scale_loss(ops.ones((), loss.dtype))
        return loss / scale * ops.cast(share, loss.dtype)

    def _gradient_of_part(
        self, floats: Floats, batch: Any, share: Tensor
    ) -> list[Tensor]:
        import tensorflow as tf

        sources = [*floats.weights, *floats.statistics]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            loss = self._value_of_part(floats, batch, share)
        gradients = tape.gradient(
            loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return [loss, *dense(gradients)]
