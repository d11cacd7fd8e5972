"""What do hypergradients cost, in the time of an epoch?

The ratio of each is to plain `fit` with the same optimizer. `whole` takes the Hessian
of the whole batch and a validation batch of the same size, at a rate that is held.
`defaults` is untouched, once without and once with validation data, and `hd` is
`HypergradientDescent()`; what guards against divergence is part of their time.

    python examples/benchmarks/marthe_overhead.py

writes `results/marthe_overhead.csv`, a row for each fit, and prints the medians and
quartiles of the ratios over the rounds. See `overhead.py` for how the time is taken.
About thirty minutes on two cores that do nothing else.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import overhead
import tensorflow as tf

import keras_lr


def _whole(x: np.ndarray, y: np.ndarray, batch_size: int) -> keras_lr.MARTHE:
    return keras_lr.MARTHE(
        (x[:1000], y[:1000]),
        validation_batch_size=batch_size,
        curvature_batch_size=None,
        hyper_learning_rate=0.0,
    )


def _defaults(x: np.ndarray, y: np.ndarray, batch_size: int) -> keras_lr.MARTHE:
    return keras_lr.MARTHE()


def _validation(x: np.ndarray, y: np.ndarray, batch_size: int) -> keras_lr.MARTHE:
    return keras_lr.MARTHE((x[:1000], y[:1000]))


def _hd(x: np.ndarray, y: np.ndarray, batch_size: int) -> keras_lr.HypergradientDescent:
    return keras_lr.HypergradientDescent()


def _variants(
    name: str, make_optimizer: Callable[..., Any]
) -> dict[str, overhead.Variant]:
    variant = functools.partial(overhead.Variant, name, make_optimizer)
    return {
        name: variant(),
        f"{name}_again": variant(),
        f"{name}_whole": variant(_whole),
        f"{name}_defaults": variant(_defaults),
        f"{name}_validation": variant(_validation),
        f"{name}_hd": variant(_hd),
    }


VARIANTS = {
    **_variants("sgd", keras.optimizers.SGD),
    **_variants("adam", keras.optimizers.Adam),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the rows as they come, and print the table."""
    benchmark = overhead.Benchmark(
        description=__doc__.splitlines()[0],
        variants=VARIANTS,
        results=Path(__file__).parent / "results" / "marthe_overhead.csv",
        rounds=5,
        epochs=3,
    )
    overhead.run(benchmark, arguments)


if __name__ == "__main__":
    # Each fit with a callback traces the step anew, which TensorFlow warns about.
    tf.get_logger().setLevel("ERROR")
    main()
