"""What does the learning-rate walk cost, in the time of an epoch?

The ratio of each is to plain `fit` with the same optimizer. `loss` and `slope` try in
every step, `loss_10` and `slope_10` in every tenth. None is annealed, so that each
tries to the end, and none is put back. `defaults` is `LearningRateWalk()`, whose guard
is part of its time, and whose trials end before the last 40 % of the fit.

    python examples/benchmarks/walk_overhead.py

writes `results/walk_overhead.csv`, a row for each fit, and prints the medians and
quartiles of the ratios over the rounds. See `overhead.py` for how the time is taken.
About twenty minutes on two cores that do nothing else.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import overhead

import keras_lr


def _walk(
    x: np.ndarray, y: np.ndarray, batch_size: int, *, probe: str, every: int
) -> keras_lr.LearningRateWalk:
    return keras_lr.LearningRateWalk(1.01**every, every=every, probe=probe)


def _defaults(
    x: np.ndarray, y: np.ndarray, batch_size: int
) -> keras_lr.LearningRateWalk:
    return keras_lr.LearningRateWalk()


def _variants(
    name: str, make_optimizer: Callable[..., Any]
) -> dict[str, overhead.Variant]:
    variant = functools.partial(overhead.Variant, name, make_optimizer)
    variants = {name: variant(), f"{name}_again": variant()}
    for probe in ("loss", "slope"):
        for every, suffix in ((1, ""), (10, "_10")):
            make = functools.partial(_walk, probe=probe, every=every)
            variants[f"{name}_{probe}{suffix}"] = variant(make)
    return variants | {f"{name}_defaults": variant(_defaults)}


VARIANTS = {
    **_variants("sgd", keras.optimizers.SGD),
    **_variants("adam", keras.optimizers.Adam),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the rows as they come, and print the table."""
    benchmark = overhead.Benchmark(
        description=(__doc__ or "").partition("\n")[0],
        variants=VARIANTS,
        results=Path(__file__).parent / "results" / "walk_overhead.csv",
        rounds=5,
        epochs=3,
    )
    overhead.run(benchmark, arguments)


if __name__ == "__main__":
    main()
