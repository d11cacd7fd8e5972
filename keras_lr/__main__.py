"""`python -m keras_lr`: which way of setting the learning rate does best here?"""

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import keras

from keras_lr._checks import positive_integer
from keras_lr.comparison import ComparisonResult, Policy, compare_policies
from keras_lr.comparison.datasets import EMBEDDED, TASKS, Dataset, load_dataset
from keras_lr.comparison.policies import (
    NAMED,
    default_names,
    default_rates,
    named_policies,
)
from keras_lr.comparison.result import code_lines, require_replaceable
from keras_lr.comparison.text_table import print_table

OPTIMIZERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "sgd": keras.optimizers.SGD,
    "momentum": partial(keras.optimizers.SGD, momentum=0.9),
    "adam": keras.optimizers.Adam,
}
_USAGE_ERROR = 2
_INTERRUPTED = 130
_STEPS = 300
_RESULTS = Path("keras_lr_comparison")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE_ERROR, f"{self.prog}: error: {message}\n")


def _positive(text: str) -> int:
    try:
        return positive_integer("number", int(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"invalid positive integer value: {text!r}"
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m keras_lr",
        description="Train a small network under several learning-rate policies, rank "
        "them in a table, and write tables, pictures and a report.",
    )
    parser.add_argument(
        "--data",
        default="digits",
        metavar="NAME",
        help=f"{', '.join(EMBEDDED)}, or an .npz file with x_train, y_train, x_test, "
        "y_test, or x, y (default: %(default)s)",
    )
    parser.add_argument(
        "--task",
        choices=TASKS,
        help="what the targets of a file are (default: names, and whole numbers that "
        "are few, are classes)",
    )
    parser.add_argument(
        "--optimizer",
        default="momentum",
        choices=OPTIMIZERS,
        help="momentum is SGD with momentum 0.9 (default: %(default)s)",
    )
    _add_choice(parser)
    _add_output(parser)
    _add_sizes(parser)
    return parser


def _add_choice(parser: argparse.ArgumentParser) -> None:
    searches = [name for name, entry in NAMED.items() if entry.kind == "search"]
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--policies",
        nargs="+",
        default=default_names(),
        metavar="NAME",
        help="which to compare; searches, which take eight trainings or more, only if "
        f"they are named: {' '.join(searches)} (default: {' '.join(default_names())})",
    )
    group.add_argument(
        "--robustness",
        action="store_true",
        help="compare the methods from five starting rates each, and draw what the "
        "start does to them",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write; an interrupted comparison continues from there "
        f"(default: a directory in {_RESULTS}, named by the data and the optimizer)",
    )


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--epochs",
        type=_positive,
        metavar="N",
        help=f"epochs of each training (default: about {_STEPS} steps)",
    )
    for name, default, text in (
        ("seeds", 3, "trainings of each policy"),
        ("batch-size", 32, "examples in a batch"),
        ("max-rows", 2000, "training, and validation, examples at most"),
    ):
        parser.add_argument(
            f"--{name}",
            type=_positive,
            default=default,
            metavar="N",
            help=f"{text} (default: %(default)s)",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison of the command line and return the exit code."""
    _replace_what_cannot_be_printed()
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        dataset = load_dataset(
            options.data, max_rows=options.max_rows, task=options.task
        )
        data, task = Path(options.data).stem, options.task
        name = f"{data}_{task}" if task else data
        output = options.output or _RESULTS / f"{name}_{options.optimizer}"
        output.mkdir(parents=True, exist_ok=True)
        require_replaceable(output)
        result = _compare(dataset, options, output)
        paths = result.save(output)
    except (ValueError, ImportError, OSError) as error:
        parser.error(" ".join(str(error).split()))
    except KeyboardInterrupt:
        parser.exit(_INTERRUPTED, f"{parser.prog}: interrupted.\n")
    print_table(result.table, result.monitor)
    print("\n".join(["", *result.advice, *code_lines(result.table[0]), ""]))
    print("Written: " + ", ".join(str(path) for path in paths))
    if result.interrupted:
        print("Interrupted: the same command continues from here.", file=sys.stderr)
        return _INTERRUPTED
    return int(all(row.runs == 0 for row in result.table))


def _replace_what_cannot_be_printed() -> None:
    """Print a question mark for what the terminal's encoding lacks, such as "±"."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _policies(options: argparse.Namespace) -> list[Policy]:
    # Whole decades of the grid are enough to show its best and its worst.
    rates = default_rates(OPTIMIZERS[options.optimizer]())[::2]
    if not options.robustness:
        return [p for name in options.policies for p in named_policies(name, rates)]
    varied = [entry.make for entry in NAMED.values() if entry.from_each_rate]
    rateless = [entry.make for entry in NAMED.values() if entry.kind == "optimizer"]
    return [
        *(make(rate) for make in varied for rate in rates),
        *(make() for make in rateless),
    ]


def _compare(
    dataset: Dataset, options: argparse.Namespace, output: Path
) -> ComparisonResult:
    optimizer = OPTIMIZERS[options.optimizer]
    policies = _policies(options)
    rows = [len(y) for _, y in dataset.data]
    epochs = options.epochs
    if epochs is None:
        epochs = min(max(5, _STEPS * options.batch_size // rows[0]), 30)
    task = f"{dataset.classes} classes" if dataset.classes else "a regression"
    if dataset.doubt:
        task += f" ({dataset.doubt})"
    print(
        f"{dataset.name}: {task}, {rows[0]} training and {rows[1]} validation "
        f"examples, {len(policies)} policies, {options.seeds} seeds, {epochs} epochs."
    )
    return compare_policies(
        lambda: dataset.build_model(optimizer),
        dataset.data,
        policies,
        seeds=options.seeds,
        epochs=epochs,
        batch_size=options.batch_size,
        directory=output,
    )


if __name__ == "__main__":
    sys.exit(main())
