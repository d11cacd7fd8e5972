"""Short trials from the same weights, for `keras_lr.find_learning_rate`."""
