"""Contexts: precision, what is not part of a trace, and what leaves no trace."""

import contextlib
import operator
from collections.abc import Iterator, Sequence
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


@contextlib.contextmanager
def keeping_attributes(model: keras.Model) -> Iterator[None]:
    """Give the layers back what they had before a forward pass.

    `leaving_no_trace` is about Keras's variables. A layer also has losses, which each
    pass begins anew; its `call` may keep tensors for the training step, and assign to
    variables of TensorFlow's.
    """
    import tensorflow as tf

    layers = list(model._flatten_layers())
    attributes = [dict(vars(each)) for each in layers]
    values = [value for each in attributes for value in each.values()]
    contents = [(x, x.copy()) for x in values if isinstance(x, list | dict | set)]
    parts = [*values, *(y for x in values if isinstance(x, list | tuple) for y in x)]
    # Their own variables only: those of `keras.Variable` are behind it.
    variables = {id(x): x for x in parts if isinstance(x, tf.Variable)}.values()
    numbers = [tf.identity(each) for each in variables]
    try:
        yield
        for variable, number in zip(variables, numbers, strict=True):
            variable.assign(number)
    finally:
        for layer, before in zip(layers, attributes, strict=True):
            # Not by assignment, which Keras would track.
            vars(layer).clear()
            vars(layer).update(before)
        for container, before in contents:
            _set_contents(container, before)


def _set_contents(container: Any, contents: Any) -> None:
    """Set what is in a list, a dict or a set, if it is not that already."""
    now, before = _parts(container), _parts(contents)
    if len(now) == len(before) and all(map(operator.is_, now, before)):
        return
    container.clear()
    if isinstance(contents, list):
        container.extend(contents)
    else:
        container.update(contents)


def _parts(container: Any) -> list[Any]:
    if isinstance(container, dict):
        return [*container, *container.values()]
    return [*container]
