"""Callbacks that set the learning rate while a model trains, or record it."""

from keras_lr.callbacks.lipschitz import LipschitzLR
from keras_lr.callbacks.recorder import LearningRateRecorder

__all__ = ["LearningRateRecorder", "LipschitzLR"]
