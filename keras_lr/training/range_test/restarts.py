"""Steps of a model that start from the same state each time, and are undone."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_lr import _keras
from keras_lr._keras.scopes import keeping_attributes
from keras_lr._keras.seeds import keeping_seeds
from keras_lr._keras.train_function import separate_train_function
from keras_lr.training.derivatives.tensors import are_finite
from keras_lr.training.range_test.steps import Steps


class Restarts:
    """Trains a model for some steps at a given rate, from the same state each time.

    Args:
        model: A built, compiled model whose optimizer is built.
        steps: The steps.
        count: How many steps a training has.
        state: The state that each training starts from.
    """

    def __init__(
        self, model: keras.Model, steps: Steps, count: int, state: "State"
    ) -> None:
        self._model = model
        self._steps = steps
        self._count = count
        self._state = state

    def losses(self, learning_rate: float) -> list[float]:
        """Return the loss of each batch before its step, until one is not finite.

        Args:
            learning_rate: The rate of all steps.
        """
        self._state.restore()
        _keras.set_learning_rate(self._model.optimizer, learning_rate)
        losses: list[float] = []
        for loss in self._steps.losses(self._count):
            losses.append(loss)
            if not math.isfinite(loss):
                break
        return losses

    def leave_finite_weights(self) -> bool:
        """Return whether the last training has: a finite loss may not depend on all."""
        return bool(are_finite([each.value for each in self._model.weights]))


class State:
    """Copies of all variables of a model and its optimizer, metrics included.

    Args:
        model: A built, compiled model whose optimizer is built.
    """

    def __init__(self, model: keras.Model) -> None:
        import tensorflow as tf

        self._model = model
        every = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
        self._variables = list({id(each): each for each in every}.values())
        self._copies = [tf.identity(each.value) for each in self._variables]

    def restore(self) -> None:
        """Assign the copies, to the last bit."""
        # Metrics make their variables with the first step.
        self._model.reset_metrics()
        for variable, copy in zip(self._variables, self._copies, strict=True):
            variable.assign(copy)


@contextlib.contextmanager
def restarts(
    model: keras.Model, batches: Sequence[Any], steps: int, owner: str
) -> Iterator[Restarts]:
    """Give a model's `Restarts`; afterwards the model is as it was, whatever happens.

    Args:
        model: A built, compiled model whose optimizer is built.
        batches: Batches of a training, repeated where it has more steps.
        steps: Steps of a training.
        owner: Name of the caller, for messages.
    """
    state, error = State(model), None
    with keeping_seeds(), keeping_attributes(model):
        try:
            with separate_train_function(model) as run:
                taken = Steps(model, run, batches, owner)
                yield Restarts(model, taken, steps, state)
        # Also Ctrl-C. Attributes are set back only where no exception passes.
        except BaseException as raised:
            error = raised
        finally:
            state.restore()
    if error is not None:
        raise error
