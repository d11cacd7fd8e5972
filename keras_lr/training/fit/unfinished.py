"""A training that is cut into several fits, between two of them."""

import keras

from keras_lr import _keras
from keras_lr.training.fit.fit import Fit
from keras_lr.training.fit.ingredients import what_trains


class UnfinishedTraining:
    """What is kept of a training until its next fit.

    Args:
        model: The model, after a fit.
        fit: What lived for that fit, and lives on.
        epochs: Number of epochs so far.
    """

    def __init__(self, model: keras.Model, fit: Fit, epochs: int) -> None:
        self.fit = fit
        self.epochs = epochs
        self._model = model
        self._state = _state_of(model)

    def is_of(self, model: keras.Model) -> bool:
        """Return whether nothing but us has trained, compiled or frozen the model."""
        return model is self._model and _state_of(model) == self._state


def _state_of(model: keras.Model) -> list[int]:
    """Return the optimizer and its steps so far, and the weights that are trained."""
    optimizer = _keras.leaf_optimizers(model.optimizer)[0]
    return [int(_keras.to_float(optimizer.iterations)), *what_trains(model)]
