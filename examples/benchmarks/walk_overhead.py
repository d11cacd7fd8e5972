"""What does the learning-rate walk cost, in the time of an epoch?

The ratio of each is to plain `fit` with the same optimizer. `loss` and `slope` try in
every step, `loss_10` and `slope_10` in every tenth. None is annealed, so that each
tries to the end, and none is put back. `defaults` is `LearningRateWalk()`, whose guard
is part of its time, and whose trials end before the last 40 % of the fit.
`second_gradient` is no walk, but plain `fit` that takes the gradient of each batch once
more: the least that a slope in every step can cost.

    python examples/benchmarks/walk_overhead.py

writes `results/walk_overhead.csv`, a row for each round, and prints the medians and
quartiles of the ratios over the rounds, and the ratio of the whole fits. See
`overhead.py` for how the time is taken. About half an hour on two cores that do nothing
else.
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


def _walk(
    x: np.ndarray, y: np.ndarray, batch_size: int, *, probe: str, every: int
) -> keras_lr.LearningRateWalk:
    return keras_lr.LearningRateWalk(1.01**every, every=every, probe=probe)


def _defaults(
    x: np.ndarray, y: np.ndarray, batch_size: int
) -> keras_lr.LearningRateWalk:
    return keras_lr.LearningRateWalk()


class _SecondGradient(keras.callbacks.Callback):
    """Takes the gradient of each batch once more, before the training step."""

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        plain_step = model.train_step
        square = tf.Variable(0.0)

        def train_step(data: Any) -> Any:
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            # Of other numbers, or it would be found to be the step's own.
            x = 0.5 * x
            weights = model.trainable_variables
            with tf.GradientTape() as tape:
                loss = model.compute_loss(x, y, model(x, training=True))
            gradients = tape.gradient(loss, [each.value for each in weights])
            # As much as the product with the tangent, and a use of all of them.
            square.assign(tf.add_n([tf.nn.l2_loss(each) for each in gradients]))
            return plain_step(data)

        model.train_step = train_step
        model.train_function = None

    def on_train_end(self, logs: Any = None) -> None:
        del self.model.train_step


def _second_gradient(x: np.ndarray, y: np.ndarray, batch_size: int) -> _SecondGradient:
    return _SecondGradient()


def _variants(
    name: str, make_optimizer: Callable[..., Any]
) -> dict[str, overhead.Variant]:
    variant = functools.partial(overhead.Variant, name, make_optimizer)
    variants = {name: variant(), f"{name}_again": variant()}
    for probe in ("loss", "slope"):
        for every, suffix in ((1, ""), (10, "_10")):
            make = functools.partial(_walk, probe=probe, every=every)
            variants[f"{name}_{probe}{suffix}"] = variant(make)
    variants[f"{name}_second_gradient"] = variant(_second_gradient)
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
        rounds=20,
    )
    overhead.run(benchmark, arguments)


if __name__ == "__main__":
    main()
