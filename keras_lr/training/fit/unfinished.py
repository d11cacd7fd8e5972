"""What a callback knows of its last fit when the next one begins."""

import keras
from keras import ops

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


class AnnealedTraining:
    """What is known of a fit that has ended with the rate at zero.

    Args:
        model: The model, after the fit.
        epochs: Number of the epoch that would be the next.
        fits: Number of such fits in a row, each of which continued the one before.
    """

    def __init__(self, model: keras.Model, epochs: int, fits: int) -> None:
        self.epochs = epochs
        self.fits = fits
        self._model = model
        self._state = _state_of(model)
        self._sum = _sum_of_weights(model)

    def is_continued_by(self, model: keras.Model) -> bool:
        """Return whether the model is as it was at the end of the fit."""
        is_same = model is self._model and _state_of(model) == self._state
        # Between the fits of a cross-validation the weights are set back.
        return is_same and _sum_of_weights(model) == self._sum


def _sum_of_weights(model: keras.Model) -> float:
    sums = [ops.sum(ops.cast(x.value, "float32")) for x in model.trainable_variables]
    return sum(_keras.to_float(each) for each in sums)


def _state_of(model: keras.Model) -> list[int]:
    """Return the optimizer and its steps so far, and the weights that are trained."""
    optimizer = _keras.leaf_optimizers(model.optimizer)[0]
    return [int(_keras.to_float(optimizer.iterations)), *what_trains(model)]
