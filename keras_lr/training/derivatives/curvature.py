"""Products of the training loss's Hessian with vectors, inside a training step."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras import ops

from keras_lr import _keras, _warnings
from keras_lr._keras import replicas, second_derivatives
from keras_lr._typing import Gradients, Tensor
from keras_lr.training.derivatives.batches import leaves, map_leaves
from keras_lr.training.derivatives.tensors import (
    dense,
    masked,
    on_present,
    zeros_for_none,
)

Variables = Sequence[keras.Variable]
# Lists with a tensor for each weight.
Vectors = Sequence[Sequence[Tensor]]
Products = Callable[[Gradients, Variables, Vectors], Vectors]

# Fewer rows say little, and the statistics of batch normalization nothing.
MINIMUM_ROWS = 8
# Stands for an unknown number of rows in a trial: hardly a multiple of a fixed one.
UNKNOWN_ROWS = 11


class Curvature:
    """Multiplies the Hessian of the loss of a batch, or of a part of it, by vectors.

    By reverse mode over reverse mode: all of Keras's layers have second derivatives in
    it, recurrent ones too, for which TensorFlow has no forward mode.

    The whole batch shares the forward pass of the training step, and so its dropout
    masks. A part of it needs another pass, in which nothing is updated. Where the model
    takes no batch of another size, the whole batch is used, and a warning says so.

    Args:
        model: A built, compiled model.
        batch_size: Rows whose Hessian is used; a float is a part of the batch. `None`
            for the whole batch.
    """

    def __init__(self, model: keras.Model, batch_size: float | None) -> None:
        self._model = model
        self._batch_size = batch_size
        self._takes_parts: bool | None = None

    @contextlib.contextmanager
    def recording(self, data: Any) -> Iterator["Recording"]:
        """Record the training step that is called in this context.

        Yields:
            The recording, for use where the gradients of the step are known.
        """
        import tensorflow as tf

        part = self._part(data)
        if part is not None:
            yield Recording(
                lambda _, variables, vectors: self._of_part(part, variables, vectors),
                contextlib.nullcontext,
            )
            return
        with (
            second_derivatives.made_right(),
            tf.GradientTape(persistent=True) as tape,
        ):
            yield Recording(
                lambda gradients, variables, vectors: _products(
                    tape, gradients, [each.value for each in variables], vectors
                ),
                tape.stop_recording,
            )

    def _of_part(self, part: Any, variables: Variables, vectors: Vectors) -> Vectors:
        import tensorflow as tf

        values = [tf.identity(each.value) for each in variables]
        with (
            second_derivatives.made_right(),
            tf.GradientTape(persistent=True) as outer,
            _keras.leaving_no_trace(variables, values),
        ):
            outer.watch(values)
            with tf.GradientTape() as inner:
                inner.watch(values)
                loss = _keras.training_loss(self._model, part)
            gradients = dense(inner.gradient(loss, values))
            with outer.stop_recording():
                return _products(outer, gradients, values, vectors)

    def _part(self, data: Any) -> Any:
        """Return the part of the batch; `None` for the whole batch."""
        rows = self._rows(data)
        if rows is None or self._takes_parts is False:
            return None
        try:
            part = map_leaves(lambda tensor: tensor[:rows], data)
            if self._takes_parts is None:
                self._try(part)
        # The model's own code, which may raise anything.
        except Exception as error:
            self._takes_parts = False
            _warnings.warn(
                "The curvature is that of the whole batch, because the model does not "
                f"take a part of it ({_first_line(error)}). Pass "
                "`curvature_batch_size=None` for the same without this warning."
            )
            return None
        self._takes_parts = True
        return part

    def _try(self, part: Any) -> None:
        """Run or trace the loss of a part alone, and raise what the model raises."""
        import tensorflow as tf

        if replicas.number_of_replicas() > 1:
            # A replica traces nothing by itself.
            return
        variables = self._model.trainable_variables

        def loss(part: Any) -> Tensor:
            values = [tf.identity(each.value) for each in variables]
            with _keras.leaving_no_trace(variables, values):
                return _keras.training_loss(self._model, part)

        if tf.executing_eagerly():
            loss(part)
            return
        specs = map_leaves(_with_rows, part)
        tf.function(loss, autograph=False).get_concrete_function(specs)

    def _rows(self, data: Any) -> Any:
        """Return the number of rows of the part; `None` for the whole batch."""
        size: Any = self._batch_size
        if size is None or not _keras.has_standard_step(self._model):
            return None
        first = leaves(data)[0]
        total = first.shape[0]
        if total is None:
            if isinstance(size, int):
                return size
            share = ops.cast(ops.shape(first)[0], "float32") * size
            return ops.maximum(ops.cast(ops.ceil(share), "int32"), MINIMUM_ROWS)
        if isinstance(size, float):
            size = max(math.ceil(size * total), MINIMUM_ROWS)
        return None if size >= total else size


def _with_rows(tensor: Any) -> Any:
    """Return what to trace for a tensor, with a number of rows where it is unknown."""
    import tensorflow as tf

    if not isinstance(tensor, tf.Tensor) or tensor.shape.rank is None:
        return tf.type_spec_from_value(tensor)
    rows, *shape = tensor.shape
    return tf.TensorSpec((rows or UNKNOWN_ROWS, *shape), tensor.dtype)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(".")


@dataclasses.dataclass(frozen=True)
class Recording:
    """A training step that is being recorded.

    Attributes:
        products: Takes gradients of the step (dense; `None` where there is none), their
            variables, and the vectors, lists with a tensor for each variable; returns
            as many such lists.
        paused: Returns a context in which nothing is recorded. A function that is
            called while the step is recorded returns all its intermediate results.
    """

    products: Products
    paused: Callable[[], contextlib.AbstractContextManager[Any]]


def _products(
    tape: Any,
    gradients: Gradients,
    weights: Sequence[Any],
    vectors: Vectors,
) -> Vectors:
    """Return the derivative of <gradients, vector> with respect to the weights."""
    import tensorflow as tf

    pairs = list(zip(gradients, weights, strict=True))
    targets = [gradient for gradient, _ in pairs if gradient is not None]
    sources = [weight for gradient, weight in pairs if gradient is not None]

    def product(vector: list[Tensor]) -> list[Tensor]:
        with second_derivatives.second_pass_back():
            products = tape.gradient(
                targets,
                sources,
                output_gradients=vector,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
        return dense(products)

    return [
        zeros_for_none(on_present(product, masked(vector, gradients)), weights)
        for vector in vectors
    ]
