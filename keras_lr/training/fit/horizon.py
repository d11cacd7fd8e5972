"""How far a fit has come, known inside the training step."""

from typing import Any

import keras
from keras import ops

from keras_lr._keras import replicas
from keras_lr._typing import Tensor


class FitLength:
    """How many epochs a training has, and how many batches an epoch has.

    Args:
        params: Parameters of the callback in `on_train_begin`; `evaluate` may change
            them later.
        total_epochs: Epochs of a training that is cut into several fits; `None` for
            those of the fit.
        restored: Batches of the first epoch that a restored model has seen already.

    Attributes:
        epochs: Index of the epoch after the last one; infinite if nobody knows it.
        steps: Batches of an epoch; `None` in the first epoch of a generator.
        batches: Batches of the present epoch that are done.
        restored: As in the arguments.
    """

    def __init__(
        self, params: dict[str, Any], total_epochs: int | None = None, restored: int = 0
    ) -> None:
        self.epochs: float = total_epochs or params["epochs"]
        self.steps: int | None = params["steps"]
        self.batches = 0
        self.restored = restored

    def count(self, batch: int) -> None:
        """Count the batches of an epoch up to the one with this number."""
        self.batches = batch + 1

    @property
    def is_epoch_complete(self) -> bool:
        """Whether the last batch that was counted is known to end its epoch."""
        return self.steps is not None and self.batches >= self.steps

    def end_epoch(self) -> None:
        """Use the number of batches that were counted, if none was known before."""
        self.steps = self.steps or self.batches


class Horizon:
    """Counts the steps of a fit whose length is known.

    As long as nobody knows how many batches an epoch has (the first epoch of a
    generator or of a dataset of unknown length) the count goes by epochs.

    Args:
        model: The model that is trained, in whose strategy's scope the count lives.
    """

    def __init__(self, model: keras.Model) -> None:
        with model.distribute_strategy.scope():
            self._position = replicas.shared_scalar("position")
            self._total = replicas.shared_scalar("total")
            self._stride = replicas.shared_scalar("stride")

    def start_epoch(self, epoch: int, length: FitLength, batch: int = 0) -> None:
        """Move to a batch of an epoch, both counted from 0, on the host."""
        steps = length.steps
        self._stride.assign(0.0 if steps is None else 1.0)
        self._position.assign(float(epoch * steps + batch if steps else epoch))
        self._total.assign(float(max(length.epochs, 1) * (steps or 1)))

    def remaining(self) -> Tensor:
        """Return the part of the fit that is ahead, from 1 to 0."""
        part = 1.0 - self._position.value / ops.maximum(self._total.value, 1.0)
        # A data set may have more batches than it said.
        return ops.maximum(part, 0.0)

    def steps(self) -> Tensor:
        """Return the steps of the training, 0 as long as nobody knows them."""
        return self._total.value * self._stride.value

    def advance(self) -> None:
        """Count a step, inside it."""
        self._position.assign(self._position.value + self._stride.value)
