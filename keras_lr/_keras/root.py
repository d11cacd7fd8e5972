"""Roots that have a derivative at 0, which is 0.

The second moment of a weight that never had a gradient (a pixel that is always dark, a
dead unit) stays 0. Its tangent is 0 too, but the root's derivative there is infinite,
and 0 times infinity is not a number. The derivative is corrected, not the tangent
afterwards, to which weight decay contributes.

The same holds for the norm of a row of dead units in the loss, and for that of their
gradients, by which they are clipped.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

from keras_lr._keras.substitution import Gradient, substituted, with_gradients
from keras_lr._typing import Tensor


@contextlib.contextmanager
def differentiable_at_zero() -> Iterator[None]:
    """Make the derivative of `tf.math.sqrt` and `tf.sqrt` at 0 equal to 0.

    `keras.ops.sqrt` calls the one, `keras.ops.norm` the other. Values stay what they
    were, to the last bit. It is for one pass, in forward mode too, for which TensorFlow
    traces the gradients of an operation once in a process.
    """
    import tensorflow as tf

    with substituted(tf.math, "sqrt", _sqrt), substituted(tf, "sqrt", _sqrt):
        yield


@contextlib.contextmanager
def twice_differentiable() -> Iterator[None]:
    """Make second derivatives of roots at 0 equal to 0 in this context.

    Values and first derivatives stay what they were, to the last bit.
    """
    gradients = {
        "Sqrt": _of_root,
        "SqrtGrad": _of_derivative_of_root,
        "Pow": _of_power,
    }
    with with_gradients(gradients):
        yield


@contextlib.contextmanager
def second_pass_back() -> Iterator[None]:
    """Make the first derivatives of roots at 0 equal to 0 too in this context.

    The second of two passes back meets them where a loss, or its gradients, are divided
    by a norm. The first pass, which trains the model, must not run in it.
    """
    token = _IS_SECOND.set(True)
    try:
        yield
    finally:
        _IS_SECOND.reset(token)


_IS_SECOND = contextvars.ContextVar("is_second_pass", default=False)


def _sqrt(plain: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Tensor:
    import tensorflow as tf

    x = tf.convert_to_tensor(x)
    is_zero = x == 0
    # Scalars: what fills a tensor is not compiled away before it has been computed.
    one, zero = tf.ones((), x.dtype), tf.zeros((), x.dtype)
    root = plain(tf.where(is_zero, one, x), *args, **kwargs)
    return tf.where(is_zero, zero, root)


def _of_root(plain: Gradient, op: Any, grad: Tensor) -> Tensor:
    gradient = plain(op, grad)
    # TensorFlow gives to a gradient nothing that its own does not need.
    return _zero_at_zero(op.outputs[0], gradient) if _IS_SECOND.get() else gradient


def _of_derivative_of_root(plain: Gradient, op: Any, grad: Tensor) -> list[Tensor]:
    return [_zero_at_zero(op.inputs[0], each) for each in plain(op, grad)]


def _of_power(plain: Gradient, op: Any, grad: Tensor) -> Any:
    import tensorflow as tf

    exponent = tf.get_static_value(op.inputs[1])
    if exponent is None or exponent.ndim > 0 or exponent.dtype.kind == "c":
        return plain(op, grad)
    # Above 2 both are finite, and those of a square are not 0.
    if not 0.0 < exponent < 2.0:
        return plain(op, grad)
    base = op.inputs[0]
    safe = tf.where(base == 0, tf.ones_like(base), base)
    at_zero, elsewhere = (
        grad * op.inputs[1] * tf.pow(each, op.inputs[1] - 1.0) for each in (base, safe)
    )
    gradient = tf.where(base == 0, tf.stop_gradient(at_zero), elsewhere)
    return [_zero_at_zero(base, gradient) if _IS_SECOND.get() else gradient, None]


def _zero_at_zero(root: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient, 0 where it is not finite because the root is 0."""
    import tensorflow as tf

    # Numbers may be complex.
    is_finite = tf.math.is_finite(tf.abs(gradient))
    is_missing = tf.logical_and(root == 0, tf.logical_not(is_finite))
    return tf.where(is_missing, tf.zeros_like(gradient), gradient)
