"""Measure the norm of the whole gradient, whose supremum is the Lipschitz constant."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.tensors import (
    dense,
    inner_product,
    on_present,
    zeros_unless,
)
from keras_lr.training.fit.around_step import summed

LEFT_OUT = "left_out"
_DTYPE = "float32"


class GradientMeter:
    """Reads the norm of each batch's gradient where the optimizer gets it.

    Any model and any loss has one. It costs a sum over the gradients. A step whose norm
    is not finite is left out: its gradients are replaced by zeros.

    Args:
        model: A built, compiled model.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        with model.distribute_strategy.scope():
            self._largest = replicas.shared_scalar("largest_gradient_norm")
            self._left_out = replicas.shared_scalar("steps_left_out")

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
            is_finite = ops.isfinite(norm)
            larger = ops.maximum(norm, self._largest.value)
            self._largest.assign(ops.where(is_finite, larger, self._largest.value))
            on_constant(norm, 0.0)
            # A `LossScaleOptimizer` leaves steps out by itself, and has to see them.
            if _keras.loss_scale(self._model.optimizer) is None:
                failed = ops.cast(ops.logical_not(is_finite), _DTYPE)
                self._left_out.assign(self._left_out.value + failed)
                grads = _zeros_unless(is_finite, grads)
            return plain(grads, *rest, **kw)

        with _keras.intercepted(self._model.optimizer, apply=apply):
            yield

    def reset(self) -> None:
        """Start measuring anew."""
        self._largest.assign(0.0)
        self._left_out.assign(0.0)

    def read(self) -> dict[str, float]:
        """Return the largest finite norm since the last reset, 0 if there was none.

        And the number of steps that were left out.
        """
        return {
            "lipschitz_constant": _keras.to_float(self._largest),
            LEFT_OUT: _keras.to_float(self._left_out),
        }

    def _norm(self, grads: Any) -> Tensor:
        optimizer = self._model.optimizer
        whole = summed(dense(list(grads)), _keras.loss_scale(optimizer))
        parts = [ops.cast(each, _DTYPE) for each in whole if each is not None]
        if not parts:
            return ops.zeros((), _DTYPE)
        norm = ops.sqrt(inner_product(parts, parts, _DTYPE))
        factor = _keras.leaf_optimizers(optimizer)[0].loss_scale_factor
        return norm if factor is None else norm / factor


def _zeros_unless(condition: Tensor, grads: Any) -> list[Any]:
    """Return the gradients, or zeros unless a condition holds; sparse ones stay so."""
    import tensorflow as tf

    def chosen(present: list[Any]) -> list[Any]:
        values = [getattr(each, "values", each) for each in present]
        pairs = zip(present, zeros_unless(condition, values), strict=True)
        return [
            tf.IndexedSlices(value, each.indices, each.dense_shape)
            if isinstance(each, tf.IndexedSlices)
            else value
            for each, value in pairs
        ]

    return on_present(chosen, list(grads))
