"""Contexts: precision, what is not part of a trace, and what leaves no trace."""

from collections.abc import Sequence
from typing import Any

import keras
from keras.src import backend

from keras_lr._typing import Tensor


def full_precision() -> Any:
    """Return a context in which variables are read in their own dtype.

    Inside a layer's call a mixed-precision policy casts every variable that is read,
    the optimizer's learning rate included.
    """
    return backend.AutocastScope(None)


def outside_of_trace() -> Any:
    """Return a context whose variables and assignments are not part of a traced step.

    TensorFlow traces a step that creates variables twice, and what the first trace
    assigns is lost.
    """
    import tensorflow as tf

    return tf.init_scope()


def leaving_no_trace(
    variables: Sequence[keras.Variable], values: Sequence[Tensor]
) -> keras.StatelessScope:
    """Return a context in which nothing is updated, and the weights have these values.

    In it, Keras's regularizers see only the weights that have a value here.
    """
    mapping = zip(variables, values, strict=True)
    return keras.StatelessScope(state_mapping=mapping, collect_losses=True)
