"""Trials around each training step, for `keras_lr.LearningRateWalk`."""
