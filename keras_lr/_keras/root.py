"""A square root that has a derivative at 0.

The second moment of a weight that never had a gradient (a pixel that is always dark, a
dead unit) stays 0. Its tangent is 0 too, but the root's derivative there is infinite,
and 0 times infinity is not a number. The derivative is corrected, not the tangent
afterwards, to which weight decay contributes.
"""

import contextlib
from collections.abc import Callable
from typing import Any

from keras_lr._keras.substitution import substituted
from keras_lr._typing import Tensor


def differentiable_at_zero() -> contextlib.AbstractContextManager[None]:
    """Return a context in which the derivative of `tf.math.sqrt` at 0 is 0.

    `keras.ops.sqrt` calls it. Values stay what they were, to the last bit.
    """
    import tensorflow as tf

    return substituted(tf.math, "sqrt", _sqrt)


def _sqrt(plain: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Tensor:
    import tensorflow as tf

    x = tf.convert_to_tensor(x)
    is_zero = x == 0
    root = plain(tf.where(is_zero, tf.ones_like(x), x), *args, **kwargs)
    return tf.where(is_zero, tf.zeros_like(x), root)
