"""The loss after a whole training and its gradient, for `optimize_schedule`."""
