"""The last step, and how a gradient after it lies to it."""

import keras
from keras import ops

from keras_lr._keras import PureStep, replicas
from keras_lr._typing import Gradients, Tensor
from keras_lr.rules import marthe
from keras_lr.training.derivatives.optimizer_tangent import assigning_if_large
from keras_lr.training.derivatives.tensors import inner_product


class LastStep:
    """Holds the weights before the last step.

    Args:
        model: A built, compiled model, in whose strategy's scope they live.
        step: The step of its optimizer.
    """

    def __init__(self, model: keras.Model, step: PureStep) -> None:
        self._weights = step.variables.weights
        self._subtract = assigning_if_large(self._plainly_subtract, step, self._weights)
        with model.distribute_strategy.scope():
            self.variables = [
                replicas.shared_like(each, "previous") for each in self._weights
            ]

    def remember(self) -> None:
        """Hold the present weights, on the host or in a step, before it is taken."""
        for variable, weight in zip(self.variables, self._weights, strict=True):
            variable.assign(weight.value)

    def along(self, gradients: Gradients, dtype: str) -> Tensor:
        """Return the scalar product of the last step with a gradient after it.

        The weights before the last step are lost: `remember` must follow.

        Args:
            gradients: The gradient of a batch at the present weights.
            dtype: Dtype of the result.
        """
        return inner_product(self._difference(), gradients, dtype)

    def cosine(self, gradients: Gradients, dtype: str) -> Tensor:
        """Return the cosine of the angle between the last step and a gradient after it.

        Its arguments are those of `along`, and what is lost is too.
        """
        step = self._difference()
        return marthe.cosine(
            inner_product(step, gradients, dtype),
            inner_product(step, step, dtype),
            inner_product(gradients, gradients, dtype),
        )

    def largest(self, dtype: str) -> Tensor:
        """Return the largest entry of the last step, without its sign.

        It has to be called after `along` or `cosine`, and before `remember`.
        """
        steps = [each.value for each in self.variables]
        # Without a tensor of sizes.
        ends = [end for each in steps for end in (ops.max(each), -ops.min(each))]
        return ops.max(ops.stack([ops.cast(each, dtype) for each in ends]))

    def _difference(self) -> list[Tensor]:
        self._subtract()
        return [each.value for each in self.variables]

    def _plainly_subtract(self) -> None:
        """Hold the last step in place of the weights before it: no copy is made."""
        for variable, weight in zip(self.variables, self._weights, strict=True):
            variable.assign(weight.value - variable.value)
