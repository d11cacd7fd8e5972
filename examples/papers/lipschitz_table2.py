"""Table 2 of the LipschitzLR paper: what classical models reach at 0.1 and at 1/L.

Yedida, Saha and Prashanth, "LipschitzLR: Using theoretically computed adaptive learning
rates for fast convergence", 2019, arXiv 1902.07399. Softmax regression on Iris, Digits
and MNIST for 200 epochs of one full batch, logistic regression on breast cancer for
1000, once at a rate of 0.1 and once at 1/L.

    python examples/papers/lipschitz_table2.py
    python examples/papers/lipschitz_table2.py --data mnist.npz
    python examples/papers/lipschitz_table2.py --problems iris digits breast_cancer
    python examples/papers/lipschitz_table2.py --summary

Models, losses and data are those of `examples/plot_lipschitz_classical.py`, which has
the paper's table 1. Weights start at 0, or from a normal distribution, which the paper
does not say. Each seed draws others, and of Iris and Digits another 70 % to train on.
Their accuracy is that of the other rows, that of MNIST of the test images, and that of
breast cancer of all rows: the paper's percentages are whole numbers of just these rows.
MNIST is standardized. Cover type does not ship with any package, and is not here.

A training is a row of `results/lipschitz_table2.csv`; what is there already is not run
again.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The example whose models and losses these are.
sys.path.append(str(HERE.parent))

import numpy as np
import plot_lipschitz_classical as classical
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import train_test_split
from trainings import Results, command_line, grouped, markdown, spread, text

import keras_lr

RESULTS = HERE / "results" / "lipschitz_table2.csv"
IDENTITY = ("problem", "rate", "weights", "seed", "data")
COLUMNS = (
    *IDENTITY,
    *("accuracy", "paper_accuracy", "learning_rate", "paper_learning_rate"),
    *("epochs", "loss", "seconds"),
)
GUESS, INVERSE = "0.1", "1/L"
WEIGHTS = ("zeros", "normal")

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Data:
    """What is trained on, and judged by.

    Attributes:
        name: Name in the table.
        train: Inputs, and the targets of the loss.
        test: Inputs and class numbers.
        lipschitz: L.
    """

    name: str
    train: Arrays
    test: Arrays
    lipschitz: float


@dataclass(frozen=True)
class Problem:
    """A row of the table.

    Attributes:
        load: Function of a seed and of MNIST's file.
        loss: See `plot_lipschitz_classical`.
        epochs: N_E in the paper.
        published: Its 1/L, and its accuracies at 0.1 and at 1/L, in percent.
        seeds: How many by default.
        is_split: Whether a seed also draws the rows; if not, all trainings from
            weights of 0 are one.
    """

    load: Callable[[int, str | None], Data]
    loss: classical.Loss
    epochs: int
    published: tuple[float, float, float]
    seeds: int = 20
    is_split: bool = False


def softmax_data(name: str, x: np.ndarray, y: np.ndarray, test: Arrays) -> Data:
    """Return data with one-hot targets and the paper's constant."""
    classes = int(y.max()) + 1
    lipschitz = keras_lr.softmax_regression_lipschitz(x, classes=classes)
    return Data(name, (x, np.eye(classes, dtype=x.dtype)[y]), test, lipschitz)


def of_split(load: Callable, name: str) -> Callable[[int, str | None], Data]:
    """Return a function that splits raw features 70 to 30."""

    def split(seed: int, _: str | None) -> Data:
        x, y = load(return_X_y=True)
        parts = train_test_split(x, y, train_size=0.7, random_state=seed)
        return softmax_data(name, parts[0], parts[2], (parts[1], parts[3]))

    return split


def breast_cancer(_: int, __: str | None) -> Data:
    """Return all rows, to train on and to judge by."""
    problem = classical.breast_cancer()
    data = problem.x, problem.y
    return Data("breast_cancer", data, data, problem.lipschitz)


def mnist(_: int, path: str | None) -> Data:
    """Return standardized pixels."""
    from images import data as image_data

    images = image_data.load("mnist", path, in_color=False)
    train, test = (
        x.reshape(len(x), -1).astype("float32") for x, _ in (images.train, images.test)
    )
    mean, deviation = train.mean(0), train.std(0)
    deviation[deviation == 0] = 1.0
    train, test = ((x - mean) / deviation for x in (train, test))
    return softmax_data(images.name, train, images.train[1], (test, images.test[1]))


PROBLEMS = {
    "iris": Problem(
        of_split(load_iris, "iris"),
        classical.softmax_loss,
        200,
        (1.936, 93.33, 97.78),
        is_split=True,
    ),
    "digits": Problem(
        of_split(load_digits, "digits"),
        classical.softmax_loss,
        200,
        (0.635, 91.3, 94.63),
        is_split=True,
    ),
    "breast_cancer": Problem(
        breast_cancer, classical.logistic_loss, 1000, (4280.22, 43.23, 90.5)
    ),
    "mnist": Problem(mnist, classical.softmax_loss, 200, (10.24, 92.7, 92.8), seeds=2),
}


def accuracy(outputs: np.ndarray, y: np.ndarray) -> float:
    """Return the percentage of rows that are classified as they should be."""
    classes = outputs.argmax(axis=1) if outputs.ndim > 1 else outputs > 0
    return 100.0 * float(np.mean(classes == y))


def initial_weights(data: Data, kind: str, seed: int) -> np.ndarray:
    """Return weights of 0, or from a normal distribution."""
    x, y = data.train
    shape = (x.shape[1], *y.shape[1:])
    if kind == "zeros":
        return np.zeros(shape, x.dtype)
    return np.random.default_rng(seed).standard_normal(shape).astype(x.dtype)


def descend(
    problem: Problem, data: Data, learning_rate: float, weights: np.ndarray
) -> tuple[float, float]:
    """Return the accuracy after all epochs, and the loss of the last one."""
    x, y = data.train
    loss = np.nan
    for _ in range(problem.epochs):
        loss, gradient = problem.loss(x @ weights, y)
        weights -= learning_rate * (x.T @ gradient)
    return accuracy(data.test[0] @ weights, data.test[1]), float(loss)


def run_missing(options: argparse.Namespace) -> None:
    """Train what is not done yet."""
    for name in options.problems:
        problem = PROBLEMS[name]
        for kind in options.weights:
            seeds = options.seeds or problem.seeds
            if kind == "zeros" and not problem.is_split:
                seeds = 1
            for seed in range(seeds):
                run_both_rates(name, kind, seed, options)


def run_both_rates(
    name: str, kind: str, seed: int, options: argparse.Namespace
) -> None:
    """Train at 0.1 and at 1/L."""
    results = Results(options.output, COLUMNS, len(IDENTITY))
    problem = PROBLEMS[name]
    data = problem.load(seed, options.data)
    inverse, *published = problem.published
    rates = ((GUESS, 0.1, 0.1), (INVERSE, 1 / data.lipschitz, inverse))
    for (rate, value, paper), paper_accuracy in zip(rates, published, strict=True):
        identity = (name, rate, kind, seed, data.name)
        if results.find(identity) is not None:
            continue
        start = time.perf_counter()
        weights = initial_weights(data, kind, seed)
        reached, loss = descend(problem, data, value, weights)
        seconds = f"{time.perf_counter() - start:.1f}"
        numbers = map(text, (reached, paper_accuracy, value, paper))
        values = (*identity, *numbers, problem.epochs, text(loss), seconds)
        results.append(dict(zip(COLUMNS, values, strict=True)))
        print(f"{name} at {rate} from {kind}, seed {seed}: {reached:.2f} %", flush=True)


def summary(output: Path) -> str:
    """Return the table in Markdown."""
    header = (
        *("problem", "weights", "rate", "rate, paper"),
        *("accuracy, %", "paper, %", "trainings"),
    )
    results = Results(output, COLUMNS, len(IDENTITY))
    lines = []
    by = ("problem", "weights", "rate", "data")
    for (name, kind, _, __), rows in grouped(results.rows(), by).items():
        rate = spread(rows, "learning_rate", 3)
        accuracies = spread(rows, "accuracy")
        papers = rows[0]["paper_learning_rate"], rows[0]["paper_accuracy"]
        lines.append(
            (name, kind, rate, papers[0], accuracies, papers[1], f"{len(rows)}")
        )
    return markdown(header, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not yet done, and print the table."""
    parser = command_line(__doc__, RESULTS)
    add = parser.add_argument
    add("--data", metavar="FILE.npz", help="MNIST; default: that of `keras.datasets`")
    add("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    add("--weights", nargs="+", choices=WEIGHTS, default=list(WEIGHTS))
    add("--seeds", type=int, help="how many; default: 20, of MNIST 2")
    options = parser.parse_args(arguments)
    if not options.summary:
        run_missing(options)
    print(summary(options.output))


if __name__ == "__main__":
    main()
