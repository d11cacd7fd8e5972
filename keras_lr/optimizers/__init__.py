"""Optimizers whose learning rate follows from constants of the gradients."""

from keras_lr.optimizers.adamo import AdaMo
from keras_lr.optimizers.adaptive_rmsprop import AdaptiveRMSprop
from keras_lr.optimizers.auto_adam import AutoAdam

__all__ = ["AdaMo", "AdaptiveRMSprop", "AutoAdam"]
