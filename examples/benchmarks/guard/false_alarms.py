"""How often does the guard against divergence raise a false alarm?

Fits of 300 steps at weights that do not move, so that each alarm is false: models that
were trained for some epochs, and losses that are drawn from a distribution. The guard
is the package's own, as the callbacks use it. For each cell:

- pairs: share of the steps that evaluate their batch once more;
- held: alarms where the same batch has the same loss at both weights;
- shaken: the losses of a batch at both weights differ by a tenth of their scatter, at
  random; the guard must not take chance for a rise;
- no pairs: alarms of the rule for models whose loss only their own training step knows.

    python examples/benchmarks/guard/false_alarms.py --fits 1000

writes `results/guard_false_alarms.csv`, adds the cells that are missing, and prints the
table. About half an hour on one core; `--fits 50` takes two minutes.
"""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from runs import append, parser, publish, read

from keras_lr.training.fit.divergence import DivergenceGuard

ALARMS = ("held", "shaken", "no_pairs")
STEPS, LOOK, LOOK_AGAIN = 300, 16, 8
SHAKE = 0.1
BATCH_SIZES = (1, 4, 8, 16, 32, 64)

Draw = Callable[[np.random.Generator, int], np.ndarray]
"""Function of a generator and a number of rows which returns their losses."""


@functools.cache
def row_losses(data: str, epochs: int) -> np.ndarray:
    """Return the losses of the training rows of a model that is trained already."""
    from sklearn import datasets

    keras.utils.set_random_seed(0)
    x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    x = (x - x.mean(0)) / (x.std(0) + 1e-8)
    hidden = [keras.layers.Dense(64, "relu") for _ in range(2)]
    outputs, activation, name = {
        "digits": (10, "softmax", "sparse_categorical_crossentropy"),
        "breast_cancer": (1, "sigmoid", "binary_crossentropy"),
        "diabetes": (1, None, "mse"),
    }[data]
    if data == "diabetes":
        y = (y - y.mean()) / y.std()
    y = y if data == "digits" else y[:, None].astype("float32")
    head = keras.layers.Dense(outputs, activation)
    model = keras.Sequential([keras.Input(x.shape[1:]), *hidden, head])
    model.compile("adam", name)
    model.fit(x, y, epochs=epochs, verbose=0)
    return np.asarray(keras.losses.get(name)(y, model.predict(x, verbose=0)))


def of_rows(data: str, epochs: int) -> Draw:
    """Return what draws losses of rows of a trained model."""
    return lambda rng, number: rng.choice(row_losses(data, epochs), number)


def rare(share: float) -> Draw:
    """Return what draws cross-entropies of a model that says the base rate."""

    def draw(rng: np.random.Generator, number: int) -> np.ndarray:
        return np.where(rng.random(number) < share, -np.log(share), -np.log1p(-share))

    return draw


CELLS: dict[str, tuple[Draw, Sequence[int]]] = {
    "digits, 5 epochs": (of_rows("digits", 5), BATCH_SIZES),
    "digits, 20 epochs": (of_rows("digits", 20), BATCH_SIZES),
    "breast cancer, 5 epochs": (of_rows("breast_cancer", 5), BATCH_SIZES),
    "diabetes, 5 epochs": (of_rows("diabetes", 5), BATCH_SIZES),
    "squared gaussian": (lambda rng, n: rng.normal(size=n) ** 2, (1, 2, 4, 8, 16)),
    "lognormal, sigma 1": (lambda rng, n: rng.lognormal(0.0, 1.0, n), (1, 32)),
    "lognormal, sigma 2": (lambda rng, n: rng.lognormal(0.0, 2.0, n), (1, 32)),
    "squared lognormal, sigma 2": (lambda rng, n: rng.lognormal(0, 2, n) ** 2, (1, 32)),
    "base rate of 1 %": (rare(0.01), (1, 16, 32)),
    "base rate of 2 %": (rare(0.02), (1, 16, 32)),
    "constant 0": (lambda _, n: np.zeros(n), (1,)),
    "constant 1": (lambda _, n: np.ones(n), (1,)),
    "0 for 20 steps, then noise": (
        lambda rng, n: np.concatenate([np.zeros(20), rng.lognormal(size=n - 20)]),
        (1,),
    ),
    "negative": (lambda rng, n: rng.normal(-1.0, 1.0, n), (1, 8)),
}


def one_fit(
    guard: DivergenceGuard, losses: np.ndarray, good: np.ndarray
) -> tuple[bool, int]:
    """Return whether the guard raises an alarm, and how many steps it looks at twice.

    Args:
        guard: A guard, which is started here.
        losses: Loss of each step.
        good: Loss of its batch at the good weights.
    """
    guard.start()
    step = probed = 0
    while step < len(losses):
        number = LOOK_AGAIN if guard.probes else LOOK
        part = slice(step, step + number)
        probed += guard.probes * len(losses[part])
        guard.observe(
            {
                "loss": losses[part],
                "failed": np.zeros(len(losses[part])),
                "loss_now": losses[part],
                "loss_of_good": good[part],
            }
        )
        if guard.has_diverged():
            return True, probed
        step += number
    guard.conclude()
    return guard.has_diverged(), probed


def cell(name: str, batch_size: int, fits: int, guard: DivergenceGuard) -> dict:
    """Return the row of a cell."""
    draw = CELLS[name][0]
    counts = dict.fromkeys(("pairs", *ALARMS), 0)
    for seed in range(fits):
        rng = np.random.default_rng((seed, batch_size))
        rows = draw(rng, STEPS * batch_size)
        losses = rows.reshape(STEPS, batch_size).mean(1)
        noise = SHAKE * np.std(losses) * rng.standard_t(3, STEPS)
        guard.can_repeat = True
        alarm, probed = one_fit(guard, losses, losses)
        counts["held"] += alarm
        counts["pairs"] += probed
        counts["shaken"] += one_fit(guard, losses, losses + noise)[0]
        guard.can_repeat = False
        counts["no_pairs"] += one_fit(guard, losses, losses)[0]
    share = f"{counts['pairs'] / (fits * STEPS):.4f}"
    row = {"losses": name, "batch_size": batch_size, "fits": fits}
    return row | counts | {"pairs": share}


def tiny_guard() -> DivergenceGuard:
    """Return the guard of a model with one weight."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(), "mse")
    model.optimizer.build(model.trainable_variables)
    return DivergenceGuard(model)


def missing(path: Path, fits: int) -> list[tuple[str, int]]:
    """Return the cells that are not in the CSV with as many fits."""
    done = {(r["losses"], int(r["batch_size"]), int(r["fits"])) for r in read(path)}
    cells = ((name, size) for name, (_, sizes) in CELLS.items() for size in sizes)
    return [cell for cell in cells if (*cell, fits) not in done]


def table(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """Return alarms in all fits of a cell, for each batch size."""
    lines = [["losses", "batch size", "fits", "pairs", "held", "shaken", "no pairs"]]
    for row in rows:
        share = f"{100 * float(row['pairs']):.1f} %"
        cells = (row[name] for name in ALARMS)
        lines.append([row["losses"], row["batch_size"], row["fits"], share, *cells])
    return lines


def main(arguments: Any = None) -> None:
    """Run the cells that are missing, and print the table."""
    command_line = parser(__doc__, "guard_false_alarms.csv")
    command_line.add_argument("--fits", type=int, default=1000)
    options = command_line.parse_args(arguments)
    guard = tiny_guard()
    todo = [] if options.summary else missing(options.output, options.fits)
    for name, size in todo:
        append(options.output, cell(name, size, options.fits, guard))
    publish(options, table(read(options.output)), "false_alarms.py")


if __name__ == "__main__":
    main()
