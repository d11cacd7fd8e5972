"""Keras's `fit` on batches of images, which resumes at its epoch after it was killed.

The checkpoint is in a directory, the log of each epoch in a CSV beside it, which stays.
"""

import csv
import math
import time
from collections.abc import Sequence
from pathlib import Path

import keras

import keras_lr
from images.batches import EpochBatches
from images.data import Arrays


class EpochLog(keras.callbacks.Callback):
    """Append each epoch to a CSV, and stop at a second one without a finite loss.

    Not at the first: a policy may roll the training back. Unlike Keras's `CSVLogger` it
    also notes the seconds, and leaves no file open if the training is interrupted.

    Args:
        path: The CSV.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._start, self._was_finite = 0.0, True

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write the row."""
        logs["seconds"] = time.perf_counter() - self._start
        is_new = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["epoch", *logs], lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow({"epoch": epoch, **logs})
        is_finite = math.isfinite(logs["loss"])
        if not (is_finite or self._was_finite):
            self.model.stop_training = True
        self._was_finite = is_finite


def compile_model(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Compile for class numbers; the cross-entropy is also logged without penalties."""
    cross_entropy = keras.metrics.SparseCategoricalCrossentropy(name="cross_entropy")
    model.compile(
        optimizer,
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy", cross_entropy],
    )


def fit(
    model: keras.Model,
    batches: EpochBatches,
    validation: Arrays,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    epochs: int,
    backup_dir: Path,
    verbose: int = 0,
) -> list[dict[str, float]]:
    """Train from the last checkpoint; return the logs of all epochs.

    Args:
        model: Compiled model.
        batches: Batches to train on.
        validation: Images and classes to judge by after each epoch.
        callbacks: Callbacks of the policy.
        epochs: Number of epochs in all.
        backup_dir: Directory of the checkpoint; the logs are in a CSV beside it.
        verbose: Verbosity of Keras's `fit`.
    """
    log = backup_dir.with_name(f"{backup_dir.name}.csv")
    log.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = backup_dir / "checkpoint"
    if not checkpoint.exists():
        finished = read_epochs(log)
        if finished and finished[-1]["epoch"] == epochs - 1:
            return finished
        log.unlink(missing_ok=True)
    model.fit(
        batches.dataset(),
        epochs=epochs,
        validation_data=validation,
        validation_batch_size=500,
        callbacks=[
            batches.clock(),
            # In front of callbacks that set rates: they leave the next one to it.
            keras.callbacks.BackupAndRestore(checkpoint, double_checkpoint=True),
            *callbacks,
            keras_lr.LearningRateRecorder(),
            EpochLog(log),
        ],
        shuffle=False,  # They are.
        verbose=verbose,
    )
    return read_epochs(log)


def read_epochs(log: Path) -> list[dict[str, float]]:
    """Return the logs of all epochs."""
    if not log.exists():
        return []
    with log.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # A run that was killed between checkpoint and log has an epoch twice or not at all.
    by_epoch = {int(row["epoch"]): row for row in rows}
    return [
        {key: float(value) for key, value in row.items()}
        for _, row in sorted(by_epoch.items())
    ]
