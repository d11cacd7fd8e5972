"""Hypergradients around each training step, for `keras_lr.MARTHE`."""
