"""The networks of the Zooming paper: searches of a learning rate in a few trainings.

Priyanka, Kalyani and Chatterjee, "Learning Rate Optimization for Deep Neural Networks
Using Lipschitz Bandits", 2024, arXiv 2409.09783. A student network with a hidden layer
learns the outputs of a teacher for 10000 inputs, in 3 trainings by Zooming and 10 by
HyperOpt, and ResNet20 learns CIFAR-10 and CIFAR-100 in 200 epochs of batches of 128, in
3 trainings by Zooming, 7 by BLiE and 20 by HyperOpt.

    python examples/papers/zooming_networks.py
    python examples/papers/zooming_networks.py --tasks teacher_relu teacher_sigmoid
    python examples/papers/zooming_networks.py --tasks resnet20_cifar10 --data FILE.npz
    python examples/papers/zooming_networks.py --scale small
    python examples/papers/zooming_networks.py --summary

The reward is the accuracy on the test images, or the mean squared error on the
teacher's outputs. The paper's axis is the linear interval from 0 to 1; "log" is one
from 0.0001 to 1. The searches are those of `examples/benchmarks/zooming/replay.py` and
`searchers.py` beside it, with networks in place of its tables; HyperOpt needs `pip
install "keras_lr[peers]"`. Not from the paper, but ours: 10 inputs and hidden layers of
50, trained by full-batch gradient descent for 100 epochs, and for ResNet20 a momentum
of 0.9, a weight decay of 0.0001, and images that are padded, cropped and flipped.

A training is a row of `results/zooming_networks.csv`. A search that was killed asks the
same rates again and is given what is there; a ResNet20 resumes at its epoch.
"""

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# The searches on tables.
sys.path.append(str(HERE.parent / "benchmarks" / "zooming"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from images.experiments import parser_of_trainings
from replay import Search, blie, zooming
from trainings import Results, grouped, markdown, spread
from zooming_tasks import Outcome, Training, load, train_resnet20, train_student

from keras_lr.rules.bandit import Pull

RESULTS = HERE / "results" / "zooming_networks.csv"
LOWEST = 1e-4
# Of BLiE on students, for which the paper has no number.
BUDGET = 7


COLUMNS = (*Training._fields, "score", "signal", "trainings_paper", "seconds")


@dataclass(frozen=True)
class Table:
    """What a search asks of the tables that it was written for."""

    name: str
    direction: str


@dataclass(frozen=True)
class Task:
    """A network and how it is trained.

    Attributes:
        train: Function of a learning rate, a `Training` and the command line.
        direction: Direction of the score, `"max"` or `"min"`.
        published: The paper's numbers of trainings, by the first word of a searcher.
        dataset: See `images.data.load`; `None` for a teacher.
    """

    train: Callable[[float, Training, argparse.Namespace], Outcome]
    direction: str
    published: dict[str, int]
    dataset: str | None = None

    def budget(self, searcher: str) -> int:
        """Return how many trainings a searcher has."""
        return self.published.get(first_word(searcher), BUDGET)


def first_word(searcher: str) -> str:
    """Return the name of a method without its form."""
    return searcher.split(",", maxsplit=1)[0]


OF_TEACHERS = {"Zooming": 3, "HyperOpt": 10}
OF_IMAGES = {"Zooming": 3, "HyperOpt": 20, "BLiE": 7}
TASKS = {
    "teacher_relu": Task(functools.partial(train_student, "relu"), "min", OF_TEACHERS),
    "teacher_sigmoid": Task(
        functools.partial(train_student, "sigmoid"), "min", OF_TEACHERS
    ),
    **{
        f"resnet20_{name}": Task(
            functools.partial(train_resnet20, name), "max", OF_IMAGES, name
        )
        for name in ("cifar10", "cifar100")
    },
}


def hyperopt(search: Any, budget: int, seed: int) -> None:
    """Search with HyperOpt and its own defaults."""
    try:
        import searchers
    except ImportError as error:
        raise ImportError(
            "HyperOpt comes with the other peers. "
            'Install them with `pip install "keras_lr[peers]"`, or leave it out with '
            "--searchers."
        ) from error
    searchers.PEERS["HyperOpt TPE"](search, budget, seed)


def linear(position: float) -> float:
    """Return the rate at a position of the paper's axis."""
    return max(position, LOWEST)


def logarithmic(position: float) -> float:
    """Return the rate at a position of an axis from 0.0001 to 1."""
    return LOWEST ** (1 - position)


SEARCHERS: dict[str, tuple[Search, Callable[[float], float]]] = {
    "Zooming, r as printed": (zooming(strategy="paper"), linear),
    "Zooming, r/10": (zooming(strategy="paper", radius_scale=0.1), linear),
    "BLiE, paper": (blie(strategy="paper"), linear),
    "HyperOpt": (hyperopt, linear),
    "Zooming, default, log": (zooming(), logarithmic),
    "HyperOpt, log": (hyperopt, logarithmic),
}


class LiveSearch:
    """Trainings in the place of a `replay.Replay`.

    Args:
        task: Name of the task.
        searcher: Name of the searcher.
        seed: Seed of the search and of its trainings.
        options: Command line.

    Attributes:
        table: Table that a search asks for the direction.
        recommended: Position that a search recommends.
    """

    def __init__(
        self, task: str, searcher: str, seed: int, options: argparse.Namespace
    ) -> None:
        self._task, self._options = TASKS[task], options
        self._rate_at = SEARCHERS[searcher][1]
        self._results = Results(options.output, COLUMNS, len(Training._fields))
        self._fields = (task, searcher, seed)
        self._trials = 0
        self.table = Table(task, self._task.direction)
        self.recommended: float | None = None

    def evaluate(self, position: float) -> float:
        """Train, or read the row that is there, and return the score."""
        return self._outcome(position).score

    def pull(self, position: float) -> Pull:
        """Train, or read the row that is there, and return what our strategies see."""
        return Pull(position, *self._outcome(position))

    def _outcome(self, position: float) -> Outcome:
        task, searcher, seed = self._fields
        rate = self._rate_at(position)
        training = Training(
            task,
            searcher,
            self._trials,
            f"{rate:.9g}",
            seed,
            self._options.scale,
            self._data_name(),
        )
        self._trials += 1
        row = self._results.find(training)
        if row is None:
            start = time.perf_counter()
            outcome = self._task.train(rate, training, self._options)
            published = self._task.published.get(first_word(searcher), "")
            row = training._asdict() | {
                "score": repr(float(outcome.score)),
                "signal": outcome.signal,
                "trainings_paper": published,
                "seconds": f"{time.perf_counter() - start:.1f}",
            }
            self._results.append(row)
            print(f"{task}, {searcher}: {rate:.4g} -> {outcome.score:.4g}", flush=True)
        return Outcome(float(row["score"]), int(row["signal"]))

    def _data_name(self) -> str:
        if self._task.dataset is None:
            return "teacher"
        is_small = self._options.scale == "small"
        return load(self._task.dataset, self._options.data, is_small=is_small).name


def run_missing(options: argparse.Namespace) -> None:
    """Run all searches; what is there already is not trained again."""
    for seed in range(options.seeds):
        for task in options.tasks:
            for searcher in options.searchers:
                is_small = options.scale == "small"
                budget = 3 if is_small else TASKS[task].budget(searcher)
                search = LiveSearch(task, searcher, seed, options)
                SEARCHERS[searcher][0](search, budget, seed)


def summary(output: Path) -> str:
    """Return the table of all searches in Markdown."""
    header = (
        *("task", "scale", "searcher", "best score", "at", "trainings"),
        *("the paper's", "blown up", "searches"),
    )
    rows = Results(output, COLUMNS, len(Training._fields)).rows()
    lines = []
    for (task, scale, searcher), trainings in grouped(
        rows, ("task", "scale", "searcher")
    ).items():
        pick = max if TASKS[task].direction == "max" else min
        best = [
            pick(search, key=lambda row: float(row["score"]))
            for search in grouped(trainings, ("seed",)).values()
        ]
        counts = (
            f"{len(trainings) / len(best):g}",
            trainings[0]["trainings_paper"] or "-",
            f"{sum(row['signal'] == '1' for row in trainings) / len(best):g}",
            f"{len(best)}",
        )
        names = (task, scale, searcher)
        places = spread(best, "score", 4), spread(best, "learning_rate", 4)
        lines.append((*names, *places, *counts))
    return markdown(header, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not yet done, and print the table."""
    parser = parser_of_trainings(__doc__, RESULTS)
    add = parser.add_argument
    add("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    add("--searchers", nargs="+", choices=SEARCHERS, default=list(SEARCHERS))
    add("--seeds", type=int, default=1, help="how many searches of each")
    options = parser.parse_args(arguments)
    datasets = {TASKS[task].dataset for task in options.tasks} - {None}
    if options.data and len(datasets) > 1:
        parser.error("--data is one data set: say for which of --tasks")
    if not options.summary:
        try:
            for dataset in datasets:
                load(dataset, options.data, is_small=options.scale == "small")
        except ValueError as error:
            raise SystemExit(f"error: {error}") from error
        run_missing(options)
    print(summary(options.output))


if __name__ == "__main__":
    main()
