"""What lives for one fit of a callback that sets the learning rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_lr._keras import step_hook
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.fit.horizon import FitLength


class Fit:
    """Base of what a callback makes for each fit: the rate, and the wrapped step.

    `keras_lr.callbacks.base.LearningRateCallback` calls the methods in this order:
    `start`, `proceed` or `resume` once; in each epoch `start_epoch`, the wrapped step,
    `fetch` where `is_due` says so and at the last batch, `settle` there, and
    `end_epoch`; `release` at last, and `forget` where the training is over. If it is
    not followed by `release`, or the next fit is made from the same, it begins with
    `start` or `resume` again.

    Args:
        rate: Owner of the learning rate.

    Attributes:
        made_from: All that it depends on; see `ingredients`.
        trains: The optimizers and the weights that it was made for; see `what_trains`.
    """

    made_from: Any = None
    trains: Sequence[int] = ()

    def __init__(self, rate: AnnealedRate) -> None:
        self.rate = rate

    def __call__(self, step: step_hook.Step) -> step_hook.Step:
        """Return `wrapped(step)`: a fit is the wrapper of its steps."""
        return self.wrapped(step)

    def wrapped(self, step: step_hook.Step) -> step_hook.Step:
        """Return the training step with what happens around it."""
        raise NotImplementedError

    def start(self, rate: float | None = None, scale: float = 1.0) -> None:
        """Set the state before the first step; see `AnnealedRate.start`."""
        self.rate.start(rate, scale)

    def proceed(self) -> None:
        """Begin the next fit of the same training, where the last one stopped."""
        self.rate.proceed()

    def resume(self, epoch: int, length: FitLength) -> None:
        """Set the state from a restored model and optimizer."""
        self.rate.resume(epoch, length)

    def start_epoch(self, epoch: int, length: FitLength) -> None:
        """Say where in the fit the next step is."""
        self.rate.start_epoch(epoch, length)

    def is_due(self, batches: int) -> bool:
        """Return whether the host has to `fetch` now.

        Args:
            batches: Number of batches of the epoch that are done.
        """
        return False

    def fetch(self, batches: int) -> dict[str, list[float]]:
        """Return what the steps recorded since the last time, by columns.

        Args:
            batches: Number of batches of the epoch that are done.
        """
        return {}

    def restart_if_diverged(self) -> str | None:
        """Roll the training back if it diverges.

        Returns:
            What the training continues with, in words; `None` if it does not diverge.
        """
        return None

    def remark(self) -> str | None:
        """Return what the user should know and has not been told, if anything."""
        return None

    def settle(self, epoch: int, length: FitLength) -> dict[str, list[float]]:
        """Leave in the optimizer the rate that the next epoch begins with.

        Not at the end of the epoch but at its last batch: by the end, a
        `BackupAndRestore` that is listed before the callback has saved the optimizer.

        Args:
            epoch: Number of the next epoch.
            length: Length of the fit.

        Returns:
            What is recorded about the epoch that ends, by columns.
        """
        self.rate.settle(epoch, length)
        return {}

    def end_epoch(self) -> None:
        """Act after the epoch's last step, and after its validation."""

    def write(self, directory: Path, epoch: int) -> None:
        """Write the state at the end of an epoch."""

    def read(self, directory: Path, epoch: int) -> None:
        """Read the state of the end of an epoch, if it is there."""

    def release(self) -> None:
        """Leave the optimizer with the rate it should have after the fit."""
        self.rate.release()

    def forget(self) -> None:
        """Let go of what is of no use after the training."""
