"""The moving average of a tangent: what stays of Z when the noise of its steps goes."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_lr._keras import PureStep, replicas
from keras_lr._typing import Gradients, Tensor
from keras_lr.rules import average
from keras_lr.training.derivatives.optimizer_tangent import compiled_if_large
from keras_lr.training.derivatives.tensors import absolute_product, inner_product


class TangentAverage:
    """Holds the moving average of the weights' part of Z, zero at first.

    Args:
        model: A built, compiled model, in whose strategy's scope it lives.
        step: The step of its optimizer.
        share: Share of a new Z in the average in a long training.
        dtype: Dtype of scalars.
    """

    def __init__(
        self, model: keras.Model, step: PureStep, share: float, dtype: str
    ) -> None:
        self._dtype = dtype
        weights = step.variables.weights
        self._share = share
        self._followed = compiled_if_large(self._plainly_followed, step, weights)
        with model.distribute_strategy.scope():
            self._values = [replicas.shared_like(w, "average") for w in weights]
            self._steps = replicas.shared_scalar("average_steps", dtype)

    @property
    def variables(self) -> list[keras.Variable]:
        """Everything that a fit resumes from."""
        return [*self._values, self._steps]

    @property
    def has_values(self) -> Tensor:
        """Whether it has taken in a Z since it was last set to zero."""
        return self._steps.value > 0.0

    def clear(self) -> None:
        """Set it to zero, on the host."""
        for each in self.variables:
            each.assign(ops.zeros_like(each))

    def follow(self, tangent: Sequence[Tensor], scale: Tensor, is_lost: Tensor) -> None:
        """Take in a new Z.

        Args:
            tangent: The weights' part of Z, without its scale.
            scale: Factor on it, a scalar.
            is_lost: Whether the last Z was not finite, so that the average begins anew.
                No branch does it: replicas cannot assign in one.
        """
        values = [each.value for each in self._values]
        share = average.share_of_new(self._steps.value, self._share)
        followed = self._followed(values, list(tangent), scale, share, is_lost)
        for variable, value in zip(self._values, followed, strict=True):
            variable.assign(value)
        self._steps.assign(self._steps.value + 1.0)

    def products(self, gradients: Gradients) -> tuple[Tensor, Tensor]:
        """Return its scalar product with the gradients, and its square."""
        values = [each.value for each in self._values]
        return (
            inner_product(values, gradients, self._dtype),
            inner_product(values, values, self._dtype),
        )

    def votes(self, gradients: Gradients) -> tuple[Tensor, Tensor]:
        """Return its scalar product with the gradients, and the sum of the sizes.

        Returns:
            sum_i Zbar_i g_i and sum_i |Zbar_i g_i|.
        """
        values = [each.value for each in self._values]
        # XLA adds such sums entry by entry.
        return (
            inner_product(values, gradients, self._dtype),
            absolute_product(values, gradients, self._dtype),
        )

    def _plainly_followed(
        self,
        values: list[Tensor],
        tangent: list[Tensor],
        scale: Tensor,
        share: Tensor,
        is_lost: Tensor,
    ) -> list[Tensor]:
        def followed(mean: Tensor, z: Tensor) -> Tensor:
            mean = ops.where(is_lost, ops.zeros((), mean.dtype), mean)
            z = ops.cast(scale, z.dtype) * z
            return average.moving_average(mean, z, ops.cast(share, z.dtype))

        return [followed(*pair) for pair in zip(values, tangent, strict=True)]
