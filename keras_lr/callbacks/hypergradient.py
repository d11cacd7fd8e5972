"""What the callbacks have in common that follow hypergradients."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_lr.callbacks.online import OnlineCallback
from keras_lr.training.hypergradient.around_step import RULE_COLUMNS, hypergradient_of
from keras_lr.training.hypergradient.fit import columns


class HypergradientCallback(OnlineCallback):
    """Takes hypergradients in each step of a fit.

    Args:
        validation_data: Of `training.validation_loss.ValidationLoss`, or `None`.
        arguments: Of `OnlineCallback`.
        backup_dir: Of `OnlineCallback`.
        verbose: Of `OnlineCallback`.
    """

    def __init__(
        self,
        validation_data: Any,
        arguments: Mapping[str, Any],
        *,
        backup_dir: str | Path | None,
        verbose: int,
    ) -> None:
        self.validation_data = validation_data
        super().__init__(arguments, backup_dir=backup_dir, verbose=verbose)

    def _columns(self) -> Sequence[str]:
        names = columns(self.hyperparameters)
        return names[:-1] if self.validation_data is None else names

    def _columns_to_log(self) -> Sequence[str]:
        return [*RULE_COLUMNS, *map(hypergradient_of, self.hyperparameters[1:])]

    def _joined(self, name: str, values: list[float]) -> list[float]:
        is_late = self.validation_data is None and name in self._columns_to_log()
        if not is_late or not values:
            return self.history[name] + values
        # Each step says what was unknown after the one before it.
        before = self.history[name]
        return (before[:-1] + values if before else values[1:]) + [math.nan]
