"""The loss of validation batches and its gradient, inside a training step."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.arrays import finite_arrays
from keras_lr.training.derivatives.batches import leaves, map_leaves
from keras_lr.training.derivatives.tensors import dense
from keras_lr.training.fit.around_step import OptimizerStep
from keras_lr.training.hypergradient.objective import Observe

# Any seed would do: rows are shuffled once, because they may be sorted by class.
_SEED = 0


class ValidationLoss:
    """Evaluates E, the loss on batches of validation data, one after the other.

    The model runs in inference mode; the regularizers have no part in E. The data are
    read once and kept in memory.

    Args:
        model: A built, compiled model.
        data: (x, y) or (x, y, sample_weight) as arrays, or a finite `tf.data.Dataset`
            or `PyDataset` of batches of them.
        batch_size: Rows of a batch, over all replicas. With as many as the data have,
            or more, each batch is the whole set, in order.
    """

    def __init__(self, model: keras.Model, data: Any, batch_size: int) -> None:
        import tensorflow as tf

        self._model = model
        arrays = finite_arrays(data, "validation_data")
        self._total = len(leaves(arrays)[0])
        self._rows = min(batch_size, self._total)
        if self._rows < self._total:
            order = np.random.default_rng(_SEED).permutation(self._total)
            arrays = map_leaves(lambda array: array[order], arrays)
        self._data = map_leaves(tf.constant, arrays)
        with model.distribute_strategy.scope():
            self.position = replicas.shared_scalar("validation_position", "int32")

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        return {"position": self.position}

    def before_step(self, step: OptimizerStep, observe: Observe) -> dict[str, Tensor]:
        """Do nothing: E is known after the step."""
        return {}

    def after_step(self, observe: Observe) -> dict[str, Tensor]:
        """Observe E at the new weights."""
        weights = self._model.trainable_variables
        return observe(lambda is_due: self.gradient(weights, is_due))

    def gradient(
        self, variables: Sequence[keras.Variable], advances: Tensor | bool = True
    ) -> tuple[Tensor, list[Tensor]]:
        """Return E of the next batch at the current weights, and its gradient.

        Args:
            variables: The weights.
            advances: Whether to move on to the batch after it; else it stays the next.
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
        results = [loss, *dense(gradients)]
        if _keras.scales_loss(self._model.optimizer):
            scale = self._model.optimizer.scale_loss(tf.ones((), loss.dtype))
            results = [each / ops.cast(scale, each.dtype) for each in results]
        loss, *gradients = map(replicas.sum_over_replicas, results)
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
