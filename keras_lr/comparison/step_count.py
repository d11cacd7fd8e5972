"""The steps of a training, counted while it runs."""

from typing import Any, Self

import keras


class StepCount(keras.callbacks.Callback):
    """Count the steps of all epochs that ended, in one training or in several.

    Attributes:
        steps: Number of batches trained on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self._epoch_steps = 0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Note how far the epoch is."""
        # With steps_per_execution > 1, Keras counts past the end of the epoch.
        self._epoch_steps = min(batch + 1, self.params.get("steps") or batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Add the steps of the epoch."""
        self.steps += self._epoch_steps

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Stay the same one: KerasTuner copies callbacks for each training."""
        return self
