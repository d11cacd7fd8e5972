"""What does `LipschitzLR` cost, in the time of an epoch?

The ratio of each is to plain `fit`. `plain_again` is a second plain model: how far its
ratios are from 1 is the noise. See `paired_epochs.py` for how the time is taken.

    python examples/benchmarks/overhead/lipschitz.py

writes `results/lipschitz_overhead.csv`, a row for each round, and prints the medians
and quartiles of the ratios over the rounds. About ten minutes on two cores; the times
mean something only on a machine that does nothing else.
"""

import functools
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from paired_epochs import Variant, compare

import keras_lr


def _forward_pass(
    x: np.ndarray, y: np.ndarray, batch_size: int
) -> keras_lr.LipschitzLR:
    return keras_lr.LipschitzLR(
        bound="paper",
        update="epoch",
        source="forward_pass",
        data=(x, y),
        batch_size=batch_size,
        # A rate that diverges would time arithmetic with NaN.
        max_learning_rate=0.1,
    )


_sgd = functools.partial(Variant, "plain", keras.optimizers.SGD)

VARIANTS = {
    "plain": _sgd(),
    "plain_again": _sgd(),
    "gradient": _sgd(lambda *_: keras_lr.LipschitzLR()),
    "batch": _sgd(lambda *_: keras_lr.LipschitzLR(bound="strict")),
    "epoch": _sgd(lambda *_: keras_lr.LipschitzLR(bound="strict", update="epoch")),
    "forward_pass": _sgd(_forward_pass),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the rows as they come, and print the table."""
    compare(__doc__, VARIANTS, "lipschitz_overhead.csv", arguments)


if __name__ == "__main__":
    # The fit with a callback traces a step of its own, which TensorFlow warns about.
    tf.get_logger().setLevel("ERROR")
    main()
