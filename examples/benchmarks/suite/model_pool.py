"""Compiled models that are used again by the next run.

Building and tracing a model costs as much as training it. A policy that leaves the
model and its training step alone can take over the traced model of the run before:
weights and optimizer are reset to what a fresh model would start from.
"""

import functools

import keras
import numpy as np
from problems import OPTIMIZERS, PROBLEMS

from keras_lr._keras import get_learning_rates, set_learning_rate


def fresh_model(problem: str, optimizer: str) -> keras.Model:
    """Return the traced model of `problem`, reset as if it had just been built."""
    initial = PROBLEMS[problem].make_model().get_weights()
    model = _traced_model(problem, optimizer)
    model.set_weights(initial)
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    rates = get_learning_rates(OPTIMIZERS[optimizer]())
    set_learning_rate(model.optimizer, rates["learning_rate"])
    return model


@functools.lru_cache(maxsize=1)
def _traced_model(problem: str, optimizer: str) -> keras.Model:
    keras.backend.clear_session()
    return PROBLEMS[problem].build_model(optimizer)
