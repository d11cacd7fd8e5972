"""The loss of a training step's batch, once more at other weights."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_lr import _keras
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.tensors import dense


class RepeatedLoss:
    """Evaluates the training loss of a batch with all else as it was before the step.

    Random numbers and moving statistics are the same, and no trace is left.

    Args:
        model: A built, compiled model, before the step.
        data: The batch, as the step gets it.
    """

    def __init__(self, model: keras.Model, data: Any) -> None:
        import tensorflow as tf

        self._model = model
        self._data = data
        self._weights = model.trainable_variables
        self._others = model.non_trainable_variables
        # Not the variables themselves, which would be read after the step.
        self._values = [tf.identity(each.value) for each in self._others]

    def at(self, values: Sequence[Tensor]) -> Tensor:
        """Return the loss at these weights."""
        variables = [*self._weights, *self._others]
        with _keras.leaving_no_trace(variables, [*values, *self._values]):
            return _keras.training_loss(self._model, self._data)

    def with_gradient(self) -> tuple[Tensor, list[Tensor]]:
        """Return the loss at the model's own weights, and its gradient."""
        import tensorflow as tf

        values = [tf.identity(each.value) for each in self._weights]
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = self.at(values)
        zero = tf.UnconnectedGradients.ZERO
        return loss, dense(tape.gradient(loss, values, unconnected_gradients=zero))
