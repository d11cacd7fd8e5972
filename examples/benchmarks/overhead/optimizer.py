"""What does a step of `AdaMo`, `AdaptiveRMSprop` and `AutoAdam` cost?

The ratio of each is to its peer: Keras's SGD with momentum for `AdaMo`, which has one
slot as well, and Keras's Adam for the others. `sgd_nesterov` looks ahead, as `AdaMo`
does. `adam_again` is a second Adam: how far its ratios are from 1 is the noise. The aim
is at most 1.10. See `paired_epochs.py` for how the time is taken.

    python examples/benchmarks/overhead/optimizer.py

writes `results/optimizer_overhead.csv`, a row for each round, and prints the medians
and quartiles of the ratios over the rounds. About fifteen minutes on two cores; the
times mean something only on a machine that does nothing else.
"""

import functools
from collections.abc import Sequence

import keras
import tensorflow as tf
from paired_epochs import Variant, compare

import keras_lr

_of_sgd = functools.partial(Variant, "sgd_momentum")
_of_adam = functools.partial(Variant, "adam")


def _paper(
    make_optimizer: type[keras.optimizers.Optimizer],
) -> functools.partial[keras.optimizers.Optimizer]:
    return functools.partial(make_optimizer, variant="paper")


VARIANTS = {
    "sgd_momentum": _of_sgd(functools.partial(keras.optimizers.SGD, momentum=0.9)),
    "sgd_nesterov": _of_sgd(
        functools.partial(keras.optimizers.SGD, momentum=0.9, nesterov=True)
    ),
    "adamo": _of_sgd(keras_lr.AdaMo),
    "adamo_paper": _of_sgd(_paper(keras_lr.AdaMo)),
    "adam": _of_adam(keras.optimizers.Adam),
    "adam_again": _of_adam(keras.optimizers.Adam),
    "adaptive_rmsprop": _of_adam(keras_lr.AdaptiveRMSprop),
    "adaptive_rmsprop_paper": _of_adam(_paper(keras_lr.AdaptiveRMSprop)),
    "auto_adam": _of_adam(keras_lr.AutoAdam),
    "auto_adam_paper": _of_adam(_paper(keras_lr.AutoAdam)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the rows as they come, and print the table."""
    compare(__doc__, VARIANTS, "optimizer_overhead.csv", arguments)


if __name__ == "__main__":
    # Each of the models traces its step, which TensorFlow warns about.
    tf.get_logger().setLevel("ERROR")
    main()
