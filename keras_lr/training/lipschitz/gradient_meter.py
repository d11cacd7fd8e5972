"""Measure the norm of the whole gradient, whose supremum is the Lipschitz constant."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.tensors import dense, inner_product
from keras_lr.training.fit.around_step import summed

_DTYPE = "float32"


class GradientMeter:
    """Reads the norm of each batch's gradient where the optimizer gets it.

    Any model and any loss has one. It costs a sum over the gradients.

    Args:
        model: A built, compiled model.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        with model.distribute_strategy.scope():
            self._largest = replicas.shared_scalar("largest_gradient_norm")

    @contextlib.contextmanager
    def watching(
        self, data: Any, on_constant: Callable[[Tensor, Tensor], None]
    ) -> Iterator[None]:
        """Measure the gradient of the training step that is called in this context.

        Args:
            data: The batch, which is not looked at.
            on_constant: Function of the norm and of the regularizers' part of it, which
                is 0: the gradient has it already. It is called before the update.
        """

        def apply(plain: Callable[..., Any], grads: Any, *rest: Any, **kw: Any) -> Any:
            norm = self._norm(grads)
            self._largest.assign(_larger(norm, self._largest.value))
            on_constant(norm, 0.0)
            return plain(grads, *rest, **kw)

        with _keras.intercepted(self._model.optimizer, apply=apply):
            yield

    def reset(self) -> None:
        """Start measuring anew."""
        self._largest.assign(0.0)

    def read(self) -> dict[str, float]:
        """Return the largest norm since the last reset; NaN if one was not finite."""
        return {"lipschitz_constant": _keras.to_float(self._largest)}

    def _norm(self, grads: Any) -> Tensor:
        optimizer = self._model.optimizer
        whole = summed(dense(list(grads)), _keras.loss_scale(optimizer))
        parts = [ops.cast(each, _DTYPE) for each in whole if each is not None]
        if not parts:
            return ops.zeros((), _DTYPE)
        norm = ops.sqrt(inner_product(parts, parts, _DTYPE))
        factor = _keras.leaf_optimizers(optimizer)[0].loss_scale_factor
        return norm if factor is None else norm / factor


def _larger(norm: Tensor, largest: Tensor) -> Tensor:
    """Return the larger of both, NaN if one is not finite."""
    are_finite = ops.isfinite(norm + largest)
    return ops.where(are_finite, ops.maximum(norm, largest), math.nan)
