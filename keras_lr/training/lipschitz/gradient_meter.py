"""Measure the norm of the whole gradient, whose supremum is the Lipschitz constant."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.tensors import dense, inner_product
from keras_lr.training.fit.around_step import summed

LEFT_OUT = "left_out"
_DTYPE = "float32"


class GradientMeter:
    """Reads the norm of each batch's gradient where the optimizer gets it.

    Any model and any loss has one. It costs a sum over the gradients. A step whose norm
    is not finite is left out: its gradients are replaced by zeros, so that it changes
    next to nothing.

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

        def apply(
            plain: Callable[..., Any], grads: Any, trainable_variables: Any = None
        ) -> Any:
            variables = trainable_variables or self._model.trainable_variables
            norm = self._norm(grads, variables)
            is_finite = ops.isfinite(norm)
            larger = ops.maximum(norm, self._largest.value)
            self._largest.assign(ops.where(is_finite, larger, self._largest.value))
            on_constant(norm, 0.0)
            optimizer = self._model.optimizer
            # A `LossScaleOptimizer` leaves such steps out in the normal course.
            if _keras.loss_scale(optimizer) is None:
                failed = ops.cast(ops.logical_not(is_finite), _DTYPE)
                self._left_out.assign(self._left_out.value + failed)
                if not all(map(_leaves_out, _keras.leaf_optimizers(optimizer))):
                    grads = _without_effect_unless(is_finite, grads, variables)
            return plain(grads, trainable_variables)

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

    def _norm(self, grads: Any, variables: Sequence[Any]) -> Tensor:
        optimizer = self._model.optimizer
        pairs = zip(grads, variables, strict=True)
        of_weights = [each for each, variable in pairs if not _is_value(variable)]
        whole = summed(dense(of_weights), _keras.loss_scale(optimizer))
        parts = [ops.cast(each, _DTYPE) for each in whole if each is not None]
        if not parts:
            return ops.zeros((), _DTYPE)
        norm = ops.sqrt(inner_product(parts, parts, _DTYPE))
        factor = _keras.leaf_optimizers(optimizer)[0].loss_scale_factor
        return norm if factor is None else norm / factor


def _leaves_out(optimizer: Any) -> bool:
    """Return whether an optimizer leaves out what is not finite, as ours do."""
    return getattr(optimizer, "leaves_out_steps", False)


def _is_value(variable: Any) -> bool:
    """Return whether a variable is set to what stands in its gradient's place.

    As the scales and histories of float8 layers are.
    """
    return getattr(variable, "overwrite_with_gradient", False)


def _without_effect_unless(
    is_finite: Tensor, grads: Sequence[Any], variables: Sequence[Any]
) -> list[Any]:
    """Return the gradients, or zeros if they are not finite; sparse ones stay so."""
    import tensorflow as tf

    pairs = [
        (grad, variable)
        for grad, variable in zip(grads, variables, strict=True)
        if grad is not None
    ]
    values = [getattr(grad, "values", grad) for grad, _ in pairs]

    def neutral() -> list[Tensor]:
        return [
            tf.cast(variable, value.dtype)
            if _is_value(variable)
            else tf.zeros_like(value)
            for value, (_, variable) in zip(values, pairs, strict=True)
        ]

    # A branch hands tensors on, where `tf.where` copies them.
    chosen = tf.cond(is_finite, lambda: [tf.identity(each) for each in values], neutral)
    results = (
        tf.IndexedSlices(value, grad.indices, grad.dense_shape)
        if isinstance(grad, tf.IndexedSlices)
        else value
        for value, (grad, _) in zip(chosen, pairs, strict=True)
    )
    return [None if grad is None else next(results) for grad in grads]
