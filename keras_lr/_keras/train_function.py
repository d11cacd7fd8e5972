"""The training step of a model, traced for a while."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

Run = Callable[[Any], dict[str, Any]]


@contextlib.contextmanager
def separate_train_function(model: keras.Model) -> Iterator[Run]:
    """Give a function that takes a training step on a batch, and returns its logs.

    It is traced by itself: `fit` afterwards traces or uses its own function as if this
    one had never been there, for other shapes may be compiled to other roundings. One
    step is taken whatever `steps_per_execution` is.
    """
    before = model.train_function
    try:
        model.make_train_function(force=True)
        function = model.train_function
        # Iterators that are not TensorFlow's are read step by step until they end.
        yield lambda batch: function(iter([batch]))
    finally:
        model.train_function = before
