"""`LossWatch`: what the loss of a training says about its learning rate."""

import math
from typing import Any

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas, step_hook
from keras_lr.rules.loss_signal import (
    EARLY_BATCHES,
    decision_epoch,
    initial_loss,
    is_hopeless,
    loss_signal,
)
from keras_lr.tuners import trial_keys


class LossWatch(keras.callbacks.Callback):
    """Measure the loss before the first update and at the end, and stop the hopeless.

    A training whose loss is not finite is stopped at once. Costs nothing: Keras has the
    loss of the first batch anyway, from before its update. With `steps_per_execution`
    above 1 Keras only shows the mean over several batches, so the first loss is noted
    inside the step.

    Args:
        stop_hopeless: Whether to stop a training whose loss after a quarter of the
            epochs is not 2 % below its initial value.

    Attributes:
        initial: Loss of the first batch, before its update.
        final: Mean loss of the last epoch, or the loss that was not finite.
        epochs: Number of epochs that were trained.
    """

    def __init__(self, *, stop_hopeless: bool = True) -> None:
        super().__init__()
        self.stop_hopeless = stop_hopeless
        self.initial: float | None = None
        self.final: float | None = None
        self._early: float | None = None
        self.epochs = 0
        self._losses: list[float] = []
        self._first: keras.Variable | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget an earlier fit."""
        self.initial = self.final = self._first = self._early = None
        self.epochs, self._losses = 0, []
        if getattr(self.model, "steps_per_execution", 1) != 1:
            self._first, note = _first_loss(self.model)
            step_hook.install(self.model, self, note)

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Note the first loss; stop if the loss is not finite."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if self.initial is None:
            first = loss if self._first is None else _keras.to_float(self._first)
            self.initial = float(first)
        if self._early is None and batch + 1 >= EARLY_BATCHES:
            self._early = float(loss)
        if not math.isfinite(loss):
            self.final = float(loss)
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the mean loss of the epoch; stop if there is no hope."""
        loss = (logs or {}).get("loss")
        self.epochs += 1
        if loss is None or self.initial is None:
            return
        self.final = float(loss)
        self._losses.append(self.final)
        if self._early is None:
            self._early = self.final
        is_time = self.epochs == decision_epoch((self.params or {}).get("epochs", 1))
        if self.stop_hopeless and is_time and is_hopeless(self.start, self._losses):
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave the model as it was."""
        if self._first is not None:
            step_hook.remove(self.model, self)
            self._first = None

    @property
    def start(self) -> float:
        """The loss before any update, as far as the first batches tell."""
        if self.initial is None:
            return math.nan
        return (
            self.initial
            if self._early is None
            else initial_loss(self.initial, self._early)
        )

    def measurements(self) -> dict[str, float]:
        """Return the losses as metrics of a trial; empty if there was no loss."""
        if self.initial is None or self.final is None:
            return {}
        return {
            trial_keys.SIGNAL: float(loss_signal(self.start, self.final)),
            trial_keys.INITIAL_LOSS: self.start,
            trial_keys.FINAL_LOSS: self.final,
            trial_keys.EPOCHS: float(self.epochs),
        }


def _first_loss(model: keras.Model) -> tuple[keras.Variable, step_hook.Wrapper]:
    """Return a variable for the loss of the first batch, and a wrapper that sets it."""
    with model.distribute_strategy.scope():
        first = replicas.shared_scalar("first_loss")
        is_noted = replicas.shared_scalar("first_loss_is_noted")

    def note(step: step_hook.Step) -> step_hook.Step:
        def noting_step(data: Any) -> Any:
            logs = step(data)
            if "loss" in logs:
                loss = ops.cast(logs["loss"], "float32")
                first.assign(ops.where(is_noted.value > 0, first.value, loss))
                is_noted.assign(1.0)
            return logs

        return noting_step

    return first, note
