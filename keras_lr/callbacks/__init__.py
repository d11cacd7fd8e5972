"""Callbacks that set the learning rate while a model trains, or record it."""

from keras_lr.callbacks.hypergradient_descent import HypergradientDescent
from keras_lr.callbacks.lipschitz import LipschitzLR
from keras_lr.callbacks.marthe import MARTHE
from keras_lr.callbacks.recorder import LearningRateRecorder
from keras_lr.callbacks.rtho import RTHO
from keras_lr.callbacks.walk import LearningRateWalk

__all__ = [
    "MARTHE",
    "RTHO",
    "HypergradientDescent",
    "LearningRateRecorder",
    "LearningRateWalk",
    "LipschitzLR",
]
