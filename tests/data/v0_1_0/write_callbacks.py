"""Write what callbacks of keras_lr 0.1.0 leave on disk, for tests of later versions.

To be run with 0.1.0 installed, from the root:

    python -m tests.data.v0_1_0.write_callbacks

For each callback: the directory of a fit that was interrupted in its third epoch, and
what the uninterrupted fit came to. For `optimize_schedule`: the file of a search that
took three outer steps, and the objectives of five.
"""

import json
from pathlib import Path

import keras
import numpy as np

import keras_lr
from tests import small_problem

HERE = Path(__file__).resolve().parent

EPOCHS, INTERRUPTED_IN = 4, 2
MAKERS = {
    "marthe": lambda folder: keras_lr.MARTHE(discount=0.99, backup_dir=folder),
    "marthe_adaptive": lambda folder: keras_lr.MARTHE(
        small_problem.data(1),
        update="additive",
        hyper_learning_rate=1e-4,
        hyper_learning_rate_adaptation=1e-4,
        discount="adaptive",
        validation_batch_size=8,
        hyperparameters=("learning_rate", "momentum"),
        backup_dir=folder,
    ),
    "walk": lambda folder: keras_lr.LearningRateWalk(
        every=2, smoothing=0.5, backup_dir=folder
    ),
    "lipschitz": lambda folder: keras_lr.LipschitzLR(bound="strict", memory=1.0),
}


class Interrupt(keras.callbacks.Callback):
    """Raise in the middle of the third epoch, as Ctrl-C does."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (INTERRUPTED_IN, 2):
            raise KeyboardInterrupt


def build_model():
    """Return the network of the schedules that are searched."""
    model = small_problem.sequential()
    model.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy")
    return model


def search_schedule(outer_steps, folder=None):
    """Search a schedule of six steps."""
    return keras_lr.optimize_schedule(
        build_model,
        small_problem.data(),
        small_problem.data(1),
        steps=small_problem.STEPS,
        batch_size=small_problem.BATCH,
        outer_steps=outer_steps,
        minibatches="fixed",
        backup_dir=folder,
        verbose=0,
    )


def main():
    """Write everything."""
    expected = {}
    for name, make in MAKERS.items():
        folder = HERE / name
        model = small_problem.compiled()
        history = small_problem.fit(model, [make(folder / "unused")], EPOCHS)
        expected[name] = {
            "learning_rate": history.history["learning_rate"],
            "loss": history.history["loss"],
            "weights": [each.tolist() for each in model.get_weights()],
        }
        backup = keras.callbacks.BackupAndRestore(folder / "backup")
        try:
            callbacks = [backup, make(folder), Interrupt()]
            small_problem.fit(small_problem.compiled(), callbacks, EPOCHS)
        except KeyboardInterrupt:
            print(name, "interrupted")
    search_schedule(3, HERE / "optimize_schedule")
    result = search_schedule(5)
    expected["optimize_schedule"] = {
        "objective": result.history["objective"],
        "values": np.asarray(result.schedule.get_config()["values"]).tolist(),
    }
    path = HERE / "callbacks.json"
    path.write_text(json.dumps(expected, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
