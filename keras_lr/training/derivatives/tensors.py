"""Lists of tensors, one for each weight: sums over all of them, and gaps in them.

TensorFlow gives no gradient, `None`, for a weight that the loss does not depend on.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_lr._typing import Gradients, Tensor


def dense(gradients: Sequence[Any]) -> list[Tensor | None]:
    """Return gradients without the index lists of embeddings."""
    import tensorflow as tf

    return [None if g is None else tf.convert_to_tensor(g) for g in gradients]


def on_present(
    function: Callable[[list[Tensor]], Sequence[Tensor]], gradients: Gradients
) -> list[Tensor | None]:
    """Apply a function to the gradients that exist; return results in their places.

    Args:
        function: Function that takes a list of tensors, and returns as many.
        gradients: Gradients of the weights.
    """
    results = iter(function([each for each in gradients if each is not None]))
    return [None if each is None else next(results) for each in gradients]


def masked(values: Sequence[Tensor], gradients: Gradients) -> list[Tensor | None]:
    """Return the values where there is a gradient, `None` where there is none."""
    pairs = zip(values, gradients, strict=True)
    return [None if gradient is None else value for value, gradient in pairs]


def zeros_for_none(
    gradients: Gradients, weights: Sequence[keras.Variable]
) -> list[Tensor]:
    """Return gradients with zeros where there is none."""
    return [
        ops.zeros(weight.shape, weight.dtype) if gradient is None else gradient
        for gradient, weight in zip(gradients, weights, strict=True)
    ]


def inner_product(first: Gradients, second: Gradients, dtype: str) -> Tensor:
    """Return the sum of the products of all entries, a scalar.

    Where one of the lists has no tensor, nothing is added.
    """
    pairs = zip(first, second, strict=True)
    parts = [_product(a, b) for a, b in pairs if a is not None and b is not None]
    return ops.sum(ops.stack([ops.cast(each, dtype) for each in parts]))


def absolute_product(first: Gradients, second: Gradients, dtype: str) -> Tensor:
    """Return the sum of the sizes of the products of all entries, a scalar.

    Where one of the lists has no tensor, nothing is added.
    """
    pairs = zip(first, second, strict=True)
    parts = [
        ops.sum(ops.abs(a * b)) for a, b in pairs if a is not None and b is not None
    ]
    return ops.sum(ops.stack([ops.cast(each, dtype) for each in parts]))


def norm_of(tensors: Sequence[Tensor], dtype: str) -> Tensor:
    """Return the norm over all entries, 1 if it is 0."""
    norm = ops.sqrt(inner_product(tensors, tensors, dtype))
    return ops.where(norm > 0.0, norm, ops.ones_like(norm))


def scaled(tensors: Sequence[Tensor], factor: Tensor) -> list[Tensor]:
    """Return the tensors times a scalar, each in its own dtype."""
    return [each * ops.cast(factor, each.dtype) for each in tensors]


def are_finite(gradients: Gradients) -> Tensor:
    """Return whether all numbers of all gradients are finite."""
    flags = [ops.all(ops.isfinite(each)) for each in gradients if each is not None]
    return ops.all(ops.stack(flags))


def sum_of(gradients: Sequence[Any], dtype: str) -> Tensor:
    """Return the sum of all numbers of all gradients, which may have index lists."""
    parts = [getattr(each, "values", each) for each in gradients if each is not None]
    return sum((ops.sum(ops.cast(each, dtype)) for each in parts), ops.zeros((), dtype))


def zeros_unless(condition: Tensor, gradients: Gradients) -> list[Tensor | None]:
    """Return the dense gradients, or zeros unless a condition holds."""
    import tensorflow as tf

    def chosen(tensors: list[Tensor]) -> list[Tensor]:
        # A branch hands tensors on, where `tf.where` copies them.
        return tf.cond(
            condition,
            lambda: [tf.identity(each) for each in tensors],
            lambda: [tf.zeros_like(each) for each in tensors],
        )

    return on_present(chosen, dense(gradients))


def _product(first: Tensor, second: Tensor) -> Tensor:
    import tensorflow as tf

    if first is second:
        # One pass over memory, where a sum of squares makes two.
        return 2.0 * tf.nn.l2_loss(first)
    if tf.config.list_logical_devices("GPU"):
        # There a product of matrices may round its factors to ten bits.
        return tf.reduce_sum(first * second)
    # One pass, where a sum of products makes two. As two rows: a column is slower.
    rows = (tf.reshape(each, (1, -1)) for each in (first, second))
    return tf.reshape(tf.matmul(*rows, transpose_b=True), ())
