"""What does each method cost in a step? One table from the measurements of all.

    python examples/benchmarks/suite/costs.py

writes the table in docs/benchmarks.md: gradient evaluations as the suite counts them,
memory, and the ratios of the times in `results/*_overhead.csv`, which the scripts in
`overhead/` measured.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from page import markdown, rewrite
from policies import make_policy
from results import RESULTS

SCRIPT = "costs.py"
MODELS = ("mlp", "cnn")


@dataclass(frozen=True)
class Method:
    """What the table says of a method.

    Attributes:
        policy: Name in the suite.
        memory: Memory in addition to the model and the optimizer's state.
        file: Name of the CSV of its times, without `_overhead.csv`.
        variants: Variants in that CSV, by optimizer.
    """

    policy: str
    memory: str
    file: str
    variants: dict[str, str]


METHODS = {
    "`LipschitzLR()`": Method(
        "lipschitz", "a few numbers", "lipschitz", {"SGD": "gradient"}
    ),
    "`LearningRateWalk()`": Method(
        "walk",
        "4 copies of the weights, 2 of them to roll back to",
        "walk",
        {"SGD": "sgd_defaults", "Adam": "adam_defaults"},
    ),
    "`HypergradientDescent()`": Method(
        "hypergradient_descent",
        "3 copies of the weights, 2 of them to roll back to",
        "marthe",
        {"SGD": "sgd_hd", "Adam": "adam_hd"},
    ),
    "`MARTHE()`": Method(
        "marthe",
        "1 copy of weights and state, 4 of the weights, 2 of them to roll back to",
        "marthe",
        {"SGD": "sgd_defaults", "Adam": "adam_defaults"},
    ),
    "`AdaMo()`": Method(
        "adamo", "as SGD with momentum", "optimizer", {"SGD, momentum": "adamo"}
    ),
    "`AdaptiveRMSprop()`": Method(
        "adaptive_rmsprop", "as RMSprop", "optimizer", {"Adam": "adaptive_rmsprop"}
    ),
    "`AutoAdam()`": Method("auto_adam", "as Adam", "optimizer", {"Adam": "auto_adam"}),
}
PLAIN = {
    "lipschitz": {"plain_again": "SGD"},
    "walk": {"sgd_again": "SGD"},
    "marthe": {"sgd_again": "SGD", "adam_again": "Adam"},
    "optimizer": {"adam_again": "Adam"},
}
"""A second plain fit over the first one, measured with each: the noise."""


def ratios(file: str, variant: str) -> list[str]:
    """Return the processor time over plain `fit` of each model, wall time after it.

    Means over the rounds without the extreme ones, without XLA. Not medians: some
    callbacks have more to do at first.
    """
    with (RESULTS / f"{file}_overhead.csv").open(newline="") as lines:
        rows = [
            row
            for row in csv.DictReader(lines)
            if row["variant"] == variant and row["jit_compile"] == "False"
        ]
    texts: list[str] = []
    for model in MODELS:
        of_model = [row for row in rows if row["model"] == model]
        cpu, wall = (
            _trimmed_mean([float(row[column]) for row in of_model])
            for column in ("cpu_ratio", "ratio")
        )
        texts.append(f"{cpu:.2f} ({wall:.2f})")
    return texts


def _trimmed_mean(values: Sequence[float]) -> float:
    """Return the mean without a tenth, and at least one, at either end."""
    cut = max(len(values) // 10, 1)
    return mean(sorted(values)[cut:-cut])


def page_table() -> str:
    """Return a row for each method and optimizer, and those of the noise."""
    rows = [["method", "optimizer", "gradient evaluations", "kept in memory"]]
    rows[0] += [f"time, {model.upper()}" for model in MODELS]
    for name, method in METHODS.items():
        evaluations = make_policy(method.policy, None).gradient_evaluations_per_step
        for optimizer, variant in method.variants.items():
            row = [name, optimizer, f"{evaluations:.2f}", method.memory]
            rows.append([*row, *ratios(method.file, variant)])
    for file, variants in PLAIN.items():
        for variant, optimizer in variants.items():
            row = [f"plain `fit`, in `overhead/{file}.py`", optimizer, "1.00", ""]
            rows.append([*row, *ratios(file, variant)])
    return markdown(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--page", type=Path, help="default: the one with the markers")
    options = parser.parse_args(arguments)
    rewrite(options.page, page_table(), SCRIPT)


if __name__ == "__main__":
    main()
