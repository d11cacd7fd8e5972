"""`BestEpochWeights`: the weights of the best epoch of a trial, written once."""

import math
import os
from typing import Any

import keras
import numpy as np


class BestEpochWeights(keras.callbacks.Callback):
    """Keep a copy of the weights of the best epoch, and write it when the fit ends.

    KerasTuner writes a file in every epoch that is better than those before. An epoch
    whose objective is not finite is never the best.

    Args:
        objective: The `keras_tuner.Objective`. If the logs do not have it, the weights
            at the end of the fit are written.
        path: Path of the file.
    """

    def __init__(self, objective: Any, path: str) -> None:
        super().__init__()
        self.objective = objective
        self.path = path
        self._best = -math.inf
        self._weights: list[np.ndarray] | None = None
        self._is_last = False
        self._knows_objective = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start over, except for the best objective of earlier executions."""
        self._weights, self._is_last, self._knows_objective = None, False, False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Copy the weights if the epoch is the best one."""
        self._is_last = False
        if not self.objective.has_value(logs or {}):
            return
        self._knows_objective = True
        value = float(self.objective.get_value(logs or {}))
        value = value if self.objective.direction == "max" else -value
        # False for NaN.
        if value > self._best and math.isfinite(value):
            self._best = value
            self._is_last = epoch + 1 >= (self.params or {}).get("epochs", 0)
            self._weights = None if self._is_last else self.model.get_weights()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the copy."""
        if self._knows_objective and not self._is_last and self._weights is None:
            return
        strategy = self.model.distribute_strategy
        if strategy is not None and not strategy.extended.should_checkpoint:
            return
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        if self._weights is None:
            self.model.save_weights(self.path)
            return
        final = self.model.get_weights()
        self.model.set_weights(self._weights)
        self.model.save_weights(self.path)
        self.model.set_weights(final)
        self._weights = None
