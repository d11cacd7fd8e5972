"""The step of an optimizer that needs the gradient of the whole batch at once."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_lr._keras import replicas
from keras_lr._typing import Tensor


class WholeBatchOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer whose rate depends on all gradients of the step.

    Keras hands an optimizer one variable's gradient at a time, sums the replicas'
    gradients only after it has clipped them, and leaves the rows that an embedding
    looked up twice unsummed. Here gradients are dense and summed first. Weight decay is
    left to `update_step`, because its rate is known only to `begin_step`.

    A subclass defines `begin_step` and `update_step`.
    """

    def begin_step(
        self,
        gradients: Sequence[Tensor],
        variables: Sequence[Any],
        learning_rate: Tensor,
    ) -> tuple[Sequence[Any], Tensor]:
        """Return what `update_step` is given for each variable, and the rate.

        Args:
            gradients: One for each variable; unscaled, accumulated and clipped.
            variables: The variables.
            learning_rate: Value of `learning_rate` at this step.
        """
        raise NotImplementedError

    def apply(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None
    ) -> None:
        """Update the variables by their gradients."""
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
        variables = trainable_variables or getattr(self, "_trainable_variables", ())
        # Each replica has the new value of these, not a part of a gradient.
        values = {i for i, each in enumerate(variables) if not self.is_weight(each)}
        dense = [None if grad is None else _dense(grad) for grad in grads]
        sums = self._sum_over_replicas(
            [None if i in values else grad for i, grad in enumerate(dense)]
        )
        grads = [dense[i] if i in values else each for i, each in enumerate(sums)]
        super().apply(grads, trainable_variables)

    def is_weight(self, variable: Any) -> bool:
        """Return whether a variable is stepped by its gradient.

        The scales and histories of float8 layers are not: Keras overwrites them with
        what stands in their gradient's place.
        """
        return not self._overwrite_variable_with_gradient(variable)

    def variable_index(self, variable: Any) -> int:
        """Return the place of a variable's slots in their lists."""
        return self._get_variable_index(variable)

    def decays(self, variable: Any) -> bool:
        """Return whether weight decay applies to a variable."""
        return self.weight_decay is not None and self._use_weight_decay(variable)

    def _sum_over_replicas(self, gradients: Sequence[Any]) -> Sequence[Any]:
        return _summed_over_replicas(gradients)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[Any]:
        return list(grads_and_vars)  # `apply` has summed them.

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Do nothing: `update_step` decays the weights."""

    def _backend_update_step(
        self, grads: Any, trainable_variables: Any, learning_rate: Any
    ) -> None:
        grads, rate = self.begin_step(grads, trainable_variables, learning_rate)
        super()._backend_update_step(grads, trainable_variables, rate)


def squared_norms(tensors: Sequence[Tensor], dtype: str) -> Tensor:
    """Return ||x||_2^2 of each tensor, `(tensors,)`, computed in `dtype`.

    The square of a half-precision gradient overflows or vanishes.
    """
    return ops.stack([_squared_norm(ops.cast(each, dtype)) for each in tensors])


def _squared_norm(tensor: Tensor) -> Tensor:
    if not _is_tensorflow():
        return ops.sum(ops.square(tensor))
    import tensorflow as tf

    # One pass over memory, where a sum of squares makes two.
    return 2.0 * tf.nn.l2_loss(tensor)


def _is_tensorflow() -> bool:
    return keras.backend.backend() == "tensorflow"


def _dense(gradient: Any) -> Tensor:
    if not _is_tensorflow():
        return gradient
    import tensorflow as tf

    # Sums the rows that an embedding looked up more than once.
    return tf.convert_to_tensor(gradient)


def _summed_over_replicas(gradients: Sequence[Any]) -> Sequence[Any]:
    present = [gradient for gradient in gradients if gradient is not None]
    if not _is_tensorflow() or not present:
        return gradients
    sums = iter(replicas.sum_over_replicas(present))
    return [None if gradient is None else next(sums) for gradient in gradients]
