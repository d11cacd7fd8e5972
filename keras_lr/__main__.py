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
from keras_lr.comparison.own_model import load_model_function
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
_OPTIMIZER = "momentum"
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
        description="Train a small network, or a model of your own, under several "
        "learning-rate policies, rank them in a table, and write tables, pictures and "
        "a report.",
    )
    _add_data(parser)
    _add_model(parser)
    _add_choice(parser)
    _add_metric(parser)
    _add_output(parser)
    _add_sizes(parser)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        default="digits",
        metavar="NAME",
        help=f"{', '.join(EMBEDDED)}, or an .npz file with x_train, y_train, x_test, "
        "y_test, or x, y, or a .csv file whose first line names the columns (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--target",
        metavar="COLUMN",
        help="the column of a .csv file to predict (default: the last one)",
    )
    parser.add_argument(
        "--task",
        choices=TASKS,
        help="what the targets of a file are (default: names, and whole numbers that "
        "are few, are classes)",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--optimizer",
        choices=OPTIMIZERS,
        help=f"momentum is SGD with momentum 0.9 (default: {_OPTIMIZER})",
    )
    group.add_argument(
        "--model",
        metavar="MODULE:FUNCTION",
        help="a function without arguments that returns a compiled model, in a module "
        "that is installed or in the current directory (default: a network of two "
        "hidden layers)",
    )


def _add_metric(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--monitor",
        metavar="NAME",
        help="the metric to rank by, measured on the validation data, such as loss "
        "(default: the first metric of the model, or its loss)",
    )
    parser.add_argument(
        "--mode",
        choices=("max", "min"),
        help="whether more or less of it is better (default: as Keras knows it)",
    )


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
        f"(default: a directory in {_RESULTS}, named by the data, the optimizer or the "
        "model, and what else is chosen of --target, --task and --monitor)",
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
            options.data,
            max_rows=options.max_rows,
            task=options.task,
            target=options.target,
        )
        build_model = _model_function(dataset, options)
        output = options.output or _RESULTS / _name(options)
        output.mkdir(parents=True, exist_ok=True)
        require_replaceable(output)
        result = _compare(build_model, dataset, options, output)
        data_name = f"{Path(dataset.name).name}: {_prediction(dataset)}"
        paths = result.save(output, data_name=data_name)
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


def _name(options: argparse.Namespace) -> str:
    """Return the name of the directory of a comparison, in which others would clash."""
    parts = [
        Path(options.data).stem,
        options.target,
        options.task,
        options.model or options.optimizer or _OPTIMIZER,
        options.monitor,
    ]
    name = "_".join(filter(None, parts))
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in name)


def _model_function(
    dataset: Dataset, options: argparse.Namespace
) -> Callable[[], keras.Model]:
    if options.model is not None:
        return load_model_function(options.model, dataset.data)
    optimizer = OPTIMIZERS[options.optimizer or _OPTIMIZER]
    return lambda: dataset.build_model(optimizer)


def _prediction(dataset: Dataset) -> str:
    """Return what is predicted, and from which column."""
    task = f"{dataset.classes} classes" if dataset.classes else "a regression"
    return f"{task}, target column {dataset.target!r}" if dataset.target else task


def _policies(
    options: argparse.Namespace, optimizer: keras.optimizers.Optimizer
) -> list[Policy]:
    # Whole decades of the grid are enough to show its best and its worst.
    rates = default_rates(optimizer)[::2]
    if not options.robustness:
        return [p for name in options.policies for p in named_policies(name, rates)]
    varied = [entry.make for entry in NAMED.values() if entry.from_each_rate]
    rateless = [entry.make for entry in NAMED.values() if entry.kind == "optimizer"]
    return [
        *(make(rate) for make in varied for rate in rates),
        *(make() for make in rateless),
    ]


def _compare(
    build_model: Callable[[], keras.Model],
    dataset: Dataset,
    options: argparse.Namespace,
    output: Path,
) -> ComparisonResult:
    policies = _policies(options, build_model().optimizer)
    rows = [len(y) for _, y in dataset.data]
    epochs = options.epochs
    if epochs is None:
        epochs = min(max(5, _STEPS * options.batch_size // rows[0]), 30)
    task = _prediction(dataset)
    if dataset.target and options.target is None:
        task += " (the last one; `--target` names another)"
    if dataset.doubt:
        task += f" ({dataset.doubt})"
    print(
        f"{dataset.name}: {task}, {rows[0]} training and {rows[1]} validation "
        f"examples, {len(policies)} policies, {options.seeds} seeds, {epochs} epochs."
    )
    return compare_policies(
        build_model,
        dataset.data,
        policies,
        seeds=options.seeds,
        epochs=epochs,
        batch_size=options.batch_size,
        monitor=options.monitor,
        mode=options.mode,
        directory=output,
    )


if __name__ == "__main__":
    sys.exit(main())
