"""The range test: a learning rate for a model and its data in seconds."""

from keras_lr.range_test.find import find_learning_rate
from keras_lr.range_test.suggestion import LearningRateSuggestion

__all__ = ["LearningRateSuggestion", "find_learning_rate"]
