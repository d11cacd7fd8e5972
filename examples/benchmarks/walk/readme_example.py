"""The walk on a small network, a hundred times: rolled back? do batches explode?

    python examples/benchmarks/walk/readme_example.py

trains the network of the README for its twenty epochs, with other weights and batches
in each run, and batches that are new in each epoch. Writes
`results/walk_readme_example.csv`, adds the runs that are missing, and prints a summary.
A spike is a batch after the first epoch whose loss is above that of the first batch.
About ten minutes on one core.
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).resolve().parents[1] / "suite"))

import keras
import numpy as np
from results import RESULTS
from rows import append, read
from sklearn.datasets import load_digits

import keras_lr
from keras_lr.comparison.batches import shuffled_batches

CSV = RESULTS / "walk_readme_example.csv"
BATCH_SIZE, EPOCHS = 32, 20


def run(seed: int) -> dict[str, object]:
    """Return the row of a training."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    x, y = load_digits(return_X_y=True)
    model = keras.Sequential(
        [keras.layers.Dense(64, "relu"), keras.layers.Dense(10, "softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    walk = keras_lr.LearningRateWalk()
    batches = shuffled_batches((x / 16, y), BATCH_SIZE, seed)
    with warnings.catch_warnings():
        # What it rolled back is counted.
        warnings.filterwarnings("ignore", message=".*noticed.*diverges")
        logs = model.fit(
            batches, epochs=EPOCHS, callbacks=[walk], shuffle=False, verbose=0
        )
    losses = np.array(walk.history["loss"])
    worst = losses[-(-len(x) // BATCH_SIZE) :].max() / losses[0]
    return {
        "seed": seed,
        "rolled_back": len(walk.restarts),
        "worst_loss": f"{worst:.4g}",
        "highest_rate": f"{max(walk.history['learning_rate']):.4g}",
        "accuracy": f"{logs.history['accuracy'][-1]:.4f}",
    }


def summary(rows: list[dict[str, str]]) -> str:
    """Return what the runs say, in a line."""
    rolled = sum(int(row["rolled_back"]) > 0 for row in rows)
    worst = [float(row["worst_loss"]) for row in rows]
    rates = [float(row["highest_rate"]) for row in rows]
    accuracy = np.median([float(row["accuracy"]) for row in rows])
    return (
        f"{len(rows)} runs: {rolled} rolled back, {sum(w > 1 for w in worst)} with a "
        f"spike; worst loss {max(worst):.2f} of the first one; highest rates "
        f"{min(rates):.2f} to {max(rates):.2f}; median accuracy {accuracy:.4f}"
    )


def main() -> None:
    """Train what is missing, and print the summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--output", type=Path, default=CSV)
    options = parser.parse_args()
    finished = {int(row["seed"]) for row in read(options.output)}
    for seed in range(options.runs):
        if seed not in finished:
            append(options.output, run(seed))
    print(summary(read(options.output)))


if __name__ == "__main__":
    main()
