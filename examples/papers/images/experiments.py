"""Train a network on images under one policy after the other, and keep what came of it.

A training is a row of a CSV, with the paper's accuracy in the next column; what is
there already is not run again. One that was killed resumes at its epoch if the same
command is given again, see `images.fit`.
"""

import argparse
import dataclasses
import functools
import itertools
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from trainings import Results, command_line, grouped, markdown, spread, text

from images import data as image_data
from images.batches import Augmentation, EpochBatches, unchanged
from images.data import Arrays, Images
from images.fit import compile_model, fit
from images.networks import NETWORKS

SMALL_EPOCHS, SMALL_BATCH_SIZE = 2, 16
SCALES = ("paper", "small")


class Run(NamedTuple):
    """What identifies a row of the CSV."""

    experiment: str
    policy: str
    seed: int
    scale: str
    data: str

    @property
    def file_name(self) -> str:
        """A name for its checkpoint and for the CSV of its epochs."""
        return re.sub(r"[^\w.=]+", "-", "_".join(map(str, self)))


COLUMNS = (
    *Run._fields,
    *("accuracy", "paper_accuracy", "best_accuracy", "train_accuracy"),
    *("validation_loss", "learning_rate", "epochs", "diverged", "seconds"),
)


@dataclass(frozen=True)
class Context:
    """What a policy may need to know of a training.

    Attributes:
        total_steps: Steps of the whole training.
        batch_size: Rows of a batch.
        batches: Function which returns the training images of an epoch, normalized
            and not moved, as a `tf.data.Dataset`.
        held_out: Normalized images and classes that are not trained on.
        backup_dir: Directory for what a callback needs to resume.
    """

    total_steps: int
    batch_size: int
    batches: Callable[[], Any]
    held_out: Arrays
    backup_dir: Path


@dataclass(frozen=True)
class Policy:
    """A way to set the learning rate.

    Attributes:
        optimizer: Function of a `Context` which returns a fresh optimizer.
        callbacks: Function of a `Context` which returns fresh callbacks.
        published: The paper's accuracy in percent, `None` if it has no number.
        answers: A policy that must have diverged for this one to be tried.
    """

    optimizer: Callable[[Context], keras.optimizers.Optimizer]
    callbacks: Callable[[Context], Sequence[keras.callbacks.Callback]] = lambda _: ()
    published: float | None = None
    answers: str | None = None


@dataclass(frozen=True)
class Experiment:
    """What all policies of an experiment share.

    Attributes:
        dataset: One of `images.data.DATASETS`.
        network: One of `images.networks.NETWORKS`.
        policies: Policies by name.
        epochs: Epochs of each training.
        batch_size: Rows of a batch.
        weight_decay: Weight decay, see `images.networks`.
        augment: How images are moved.
        held_out: How many of the training images are not trained on.
        in_color: See `images.data.load`.
        by_deviation: See `images.data.load`.
    """

    dataset: str
    network: str
    policies: Mapping[str, Policy]
    epochs: int
    batch_size: int = 128
    weight_decay: float = 0.0
    augment: Augmentation = unchanged
    held_out: int = 0
    in_color: bool = True
    by_deviation: bool = False

    def at(self, scale: str) -> "Experiment":
        """Return the experiment as it is, or with few epochs and small batches."""
        if scale == "paper":
            return self
        small = {"epochs": SMALL_EPOCHS, "batch_size": SMALL_BATCH_SIZE}
        if self.held_out:
            small["held_out"] = image_data.SMALL_TRAIN // 5
        return dataclasses.replace(self, **small)

    def build(self, classes: int, scale: str) -> keras.Model:
        """Return the network, not yet compiled."""
        decay = {"weight_decay": self.weight_decay} if self.weight_decay else {}
        return NETWORKS[scale][self.network](classes, **decay)


def execute(
    run: Run,
    experiment: Experiment,
    images: Images,
    *,
    backup_dir: Path,
    verbose: int = 0,
) -> dict[str, Any]:
    """Train once; return the row of the CSV."""
    policy = experiment.policies[run.policy]
    rows = len(images.train[0]) - experiment.held_out
    train = tuple(part[:rows] for part in images.train)
    held_out = images.arrays(tuple(part[rows:] for part in images.train))
    make = functools.partial(EpochBatches, images, train, experiment.batch_size)
    batches = make(seed=run.seed, augment=experiment.augment)
    place = backup_dir / run.file_name
    context = Context(
        batches.steps * experiment.epochs,
        experiment.batch_size,
        lambda: make().dataset(),
        held_out,
        place / "policy",
    )
    keras.backend.clear_session()
    keras.utils.set_random_seed(run.seed)
    model = experiment.build(images.classes, run.scale)
    compile_model(model, policy.optimizer(context))
    callbacks = policy.callbacks(context)
    keras.utils.set_random_seed(run.seed)
    logs = fit(
        model,
        batches,
        images.arrays(images.test),
        callbacks,
        epochs=experiment.epochs,
        backup_dir=place,
        verbose=verbose,
    )
    return summarized(run, policy, logs, images.classes)


def summarized(
    run: Run, policy: Policy, logs: Sequence[dict[str, float]], classes: int
) -> dict[str, Any]:
    """Return the row of a training from the logs of its epochs."""
    last = logs[-1]
    accuracies = [100 * epoch["val_accuracy"] for epoch in logs]
    loss = last["cross_entropy"]
    is_worse = loss > max(logs[0]["cross_entropy"], math.log(classes))
    is_comparable = run.scale == "paper" and policy.published is not None
    rate = last.get("effective_learning_rate", last["learning_rate"])
    return run._asdict() | {
        "accuracy": text(accuracies[-1]),
        "paper_accuracy": text(policy.published) if is_comparable else "",
        "best_accuracy": text(np.nanmax(accuracies)),
        "train_accuracy": text(100 * last["accuracy"]),
        "validation_loss": text(last["val_cross_entropy"]),
        "learning_rate": text(rate),
        "epochs": len(logs),
        # A loss that is not a number has diverged, too.
        "diverged": int(is_worse or not math.isfinite(last["loss"])),
        "seconds": f"{sum(epoch['seconds'] for epoch in logs):.1f}",
    }


def is_due(results: Results, run: Run, policy: Policy) -> bool:
    """Return whether a training is neither done nor needless."""
    if results.find(run) is not None:
        return False
    if policy.answers is None:
        return True
    before = results.find(run._replace(policy=policy.answers))
    return before is not None and before["diverged"] == "1"


def run_missing(
    experiments: Mapping[str, Experiment], options: argparse.Namespace
) -> None:
    """Train what is not done yet."""
    results = Results(options.output, COLUMNS, len(Run._fields))
    load = functools.cache(image_data.load)
    is_small = options.scale == "small"
    for name, full in experiments.items():
        experiment = full.at(options.scale)
        kind = {"in_color": full.in_color, "by_deviation": full.by_deviation}
        try:
            images = load(full.dataset, options.data, is_small=is_small, **kind)
        except ValueError as error:
            raise SystemExit(f"error: {error}") from error
        for seed, policy in itertools.product(range(options.seeds), full.policies):
            run = Run(name, policy, seed, options.scale, images.name)
            if is_due(results, run, full.policies[policy]):
                results.append(train(run, experiment, images, options))


def train(
    run: Run, experiment: Experiment, images: Images, options: argparse.Namespace
) -> dict[str, Any]:
    """Train once, say so, and leave nothing but the row and the log of the epochs."""
    is_silent = options.quiet or run.scale == "small"
    verbose = 0 if is_silent else 2
    folder = options.backup_dir
    row = execute(run, experiment, images, backup_dir=folder, verbose=verbose)
    shutil.rmtree(folder / run.file_name, ignore_errors=True)
    outcome = f"{row['accuracy']} % in {row['seconds']} s"
    print(f"{run.experiment}, {run.policy}, seed {run.seed}: {outcome}", flush=True)
    return row


def summary(output: Path) -> str:
    """Return the table of all rows, in Markdown."""
    header = (
        *("experiment", "policy", "scale", "data", "accuracy, %", "paper, %"),
        *("best, %", "training, %", "diverged", "trainings"),
    )
    results = Results(output, COLUMNS, len(Run._fields))
    lines = []
    by = ("experiment", "policy", "scale", "data")
    for names, rows in grouped(results.rows(), by).items():
        diverged = sum(row["diverged"] == "1" for row in rows)
        kinds = ("accuracy", "best_accuracy", "train_accuracy")
        accuracy, best, training = (spread(rows, kind) for kind in kinds)
        paper = rows[0]["paper_accuracy"] or "-"
        counts = (f"{diverged}", f"{len(rows)}")
        lines.append((*names, accuracy, paper, best, training, *counts))
    return markdown(header, lines)


def parser_of_trainings(doc: str, output: Path) -> argparse.ArgumentParser:
    """Return the command line of trainings that a checkpoint resumes."""
    parser = command_line(doc, output)
    backup = Path(tempfile.gettempdir()) / output.stem
    add = parser.add_argument
    add("--data", metavar="FILE.npz", help="default: that of `keras.datasets`")
    add("--scale", choices=SCALES, default="paper", help="small: does it run?")
    add("--backup-dir", type=Path, default=backup, help="where trainings resume from")
    add("--quiet", action="store_true", help="no line for each epoch")
    return parser


def parser(doc: str, output: Path, seeds: int) -> argparse.ArgumentParser:
    """Return the command line of experiments."""
    parser = parser_of_trainings(doc, output)
    help = f"how many; default: {seeds}, or 1 of small scale"
    parser.add_argument("--seeds", type=int, help=help)
    parser.set_defaults(default_seeds=seeds)
    return parser


def run(experiments: Mapping[str, Experiment], options: argparse.Namespace) -> None:
    """Run what is missing unless only the summary is asked for, and print it."""
    if options.seeds is None:
        options.seeds = 1 if options.scale == "small" else options.default_seeds
    if options.scale == "small":
        print(
            f"Small scale: narrow networks, {image_data.SMALL_TRAIN} images to train "
            f"on, {SMALL_EPOCHS} epochs. It shows that the script runs, no more."
        )
    if not options.summary:
        run_missing(experiments, options)
    print(summary(options.output))
