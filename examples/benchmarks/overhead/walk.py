"""What does the learning-rate walk cost, in the time of an epoch?

The ratio of each is to plain `fit` with the same optimizer. `loss` and `slope` try in
every step, `loss_10` and `slope_10` in every tenth. None is annealed, so that each
tries to the end, and none is rolled back. `defaults` is `LearningRateWalk()`, whose
guard is part of its time, and whose trials end before the last 40 % of the fit.
`slope_by_hand` is no walk, but plain `fit` that takes the gradient of each batch once
more, after the step, and its product with that of the step, and `slope_10_by_hand` does
so in every tenth step. For gradient descent that is the slope, for Adam less: the least
that it can cost.

    python examples/benchmarks/overhead/walk.py

writes `results/walk_overhead.csv`, a row for each round, and prints the medians and
quartiles of the ratios over the rounds, and the ratio of the whole fits. See
`paired_epochs.py` for how the time is taken. About half an hour on two cores that do
nothing else.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from paired_epochs import Variant, compare, dot

import keras_lr


def _walk(*_: Any, probe: str, every: int) -> keras_lr.LearningRateWalk:
    return keras_lr.LearningRateWalk(1.01**every, every=every, probe=probe)


class _SlopeByHand(keras.callbacks.Callback):
    """Takes the gradient of a batch once more, at the weights after the step."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self._every = every

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        plain_step, plain_apply = model.train_step, model.optimizer.apply
        weights = model.trainable_variables
        every, slope, count = self._every, tf.Variable(0.0), tf.Variable(0)
        before: list[tf.Tensor] = []

        def apply(gradients: Any, trainable_variables: Any = None) -> None:
            before[:] = gradients
            plain_apply(gradients, trainable_variables)

        def slope_after(data: Any) -> tf.Tensor:
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            with tf.GradientTape() as tape:
                loss = model.compute_loss(x, y, model(x, training=True))
            after = tape.gradient(loss, [each.value for each in weights])
            pairs = zip(before, after, strict=True)
            return -tf.add_n([dot(*pair) for pair in pairs])

        def train_step(data: Any) -> Any:
            logs = plain_step(data)
            if every == 1:
                slope.assign(slope_after(data))
            else:
                is_due = count.assign_add(1) % every == 0
                slope.assign(
                    tf.cond(is_due, lambda: slope_after(data), lambda: tf.constant(0.0))
                )
            return logs

        model.optimizer.apply = apply
        model.train_step = train_step
        model.train_function = None

    def on_train_end(self, logs: Any = None) -> None:
        del self.model.train_step, self.model.optimizer.apply


def _slope_by_hand(*_: Any, every: int) -> _SlopeByHand:
    return _SlopeByHand(every)


def _variants(name: str, make_optimizer: Callable[..., Any]) -> dict[str, Variant]:
    variant = functools.partial(Variant, name, make_optimizer)
    variants = {name: variant(), f"{name}_again": variant()}
    for probe in ("loss", "slope"):
        for every, suffix in ((1, ""), (10, "_10")):
            make = functools.partial(_walk, probe=probe, every=every)
            variants[f"{name}_{probe}{suffix}"] = variant(make)
    for every, suffix in ((1, ""), (10, "_10")):
        make = functools.partial(_slope_by_hand, every=every)
        variants[f"{name}_slope{suffix}_by_hand"] = variant(make)
    return variants | {
        f"{name}_defaults": variant(lambda *_: keras_lr.LearningRateWalk())
    }


VARIANTS = {
    **_variants("sgd", keras.optimizers.SGD),
    **_variants("adam", keras.optimizers.Adam),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the rows as they come, and print the table."""
    compare(__doc__, VARIANTS, "walk_overhead.csv", arguments)


if __name__ == "__main__":
    main()
