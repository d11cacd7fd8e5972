"""What do hypergradients cost, in the time of an epoch?

The ratio of each is to plain `fit` with the same optimizer. `whole` takes the Hessian
of the whole batch and a validation batch of the same size, at a rate that is held.
`whole_by_hand` is the same written by hand for SGD, with no rule, no guard and no
record: the least that it can cost. `defaults` is `MARTHE()`, `short` is
`MARTHE(discount=0.99)`, the same without averages and brake, `validation` is `MARTHE()`
with validation data, and `hd` is `HypergradientDescent()`; what guards against
divergence is part of their time. `hd_by_hand` is what hypergradient descent has to do
for this one optimizer, again by hand. `hd_4` is `HypergradientDescent(every=4)`.

    python examples/benchmarks/overhead/marthe.py

writes `results/marthe_overhead.csv`, a row for each round, and prints the medians and
quartiles of the ratios over the rounds, and the ratio of the whole fits;
`--variants sgd_defaults sgd_short` measures these alone, beside their peer. See
`paired_epochs.py` for how the time is taken. About an hour on two cores that do nothing
else.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from paired_epochs import Variant, compare, dot

import keras_lr


def _whole(x: np.ndarray, y: np.ndarray, batch_size: int) -> keras_lr.MARTHE:
    return keras_lr.MARTHE(
        (x[:1000], y[:1000]),
        validation_batch_size=batch_size,
        curvature_batch_size=None,
        hyper_learning_rate=0.0,
    )


def _validation(x: np.ndarray, y: np.ndarray, batch_size: int) -> keras_lr.MARTHE:
    return keras_lr.MARTHE((x[:1000], y[:1000]))


class _ByHand(keras.callbacks.Callback):
    """Hypergradient descent for SGD without momentum, or for Adam."""

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        optimizer = model.optimizer
        is_adam = isinstance(optimizer, keras.optimizers.Adam)
        optimizer.build(model.trainable_variables)
        tangents = [tf.Variable(0.0 * v.value) for v in model.trainable_variables]
        plain_apply = optimizer.apply

        @tf.function(jit_compile=True)
        def adam_tangent(gradients: Any, moments: Any, squares: Any, t: Any) -> Any:
            beta_1, beta_2 = optimizer.beta_1, optimizer.beta_2
            size = tf.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t)
            new = []
            for g, m, v in zip(gradients, moments, squares, strict=True):
                mean = m + (1.0 - beta_1) * (g - m)
                square = v + (1.0 - beta_2) * (g * g - v)
                new.append(-size * mean / (tf.sqrt(square) + optimizer.epsilon))
            return new

        def apply(gradients: Any, trainable_variables: Any = None) -> None:
            pairs = list(zip(tangents, gradients, strict=True))
            product = tf.add_n([dot(z, g) for z, g in pairs])
            squares = (
                tf.add_n([2.0 * tf.nn.l2_loss(pair[i]) for pair in pairs])
                for i in range(2)
            )
            norms = tf.sqrt(tf.math.reduce_prod(tf.stack([*squares])))
            rate = optimizer.learning_rate
            rate.assign(rate * tf.exp(-1e-4 * tf.math.divide_no_nan(product, norms)))
            if is_adam:
                slots = (_slots(optimizer, name) for name in ("momentum", "velocity"))
                t = tf.cast(optimizer.iterations + 1, "float32")
                new = adam_tangent(gradients, *slots, t)
            else:
                new = [-g for g in gradients]
            plain_apply(gradients, trainable_variables)
            for tangent, value in zip(tangents, new, strict=True):
                tangent.assign(value)

        optimizer.apply = apply
        model.train_function = None

    def on_train_end(self, logs: Any = None) -> None:
        del self.model.optimizer.apply


def _slots(optimizer: Any, name: str) -> list[tf.Tensor]:
    slots = [v for v in optimizer.variables if v.name.endswith(name)]
    return [tf.convert_to_tensor(each.value) for each in slots]


class _WholeByHand(keras.callbacks.Callback):
    """The tangent of SGD without momentum, and the hypergradient of validation rows."""

    def __init__(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> None:
        super().__init__()
        self._x, self._y = tf.constant(x[:1000]), tf.constant(y[:1000])
        self._batch_size = batch_size

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        optimizer = model.optimizer
        weights = model.trainable_variables
        optimizer.build(weights)
        tangents = [tf.Variable(0.0 * each.value) for each in weights]
        position, hypergradient = tf.Variable(0), tf.Variable(0.0)

        def train_step(data: Any) -> Any:
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            values = [each.value for each in weights]
            with tf.GradientTape() as outer:
                with tf.GradientTape() as inner:
                    predictions = model(x, training=True)
                    loss = model.compute_loss(x, y, predictions)
                gradients = inner.gradient(loss, values)
            old = [tf.identity(each) for each in tangents]
            products = outer.gradient(gradients, values, output_gradients=old)
            rate = optimizer.learning_rate
            for z, product, gradient, tangent in zip(
                old, products, gradients, tangents, strict=True
            ):
                tangent.assign(z - rate * product - gradient)
            optimizer.apply(gradients, weights)
            hypergradient.assign(self._hypergradient(tangents, position))
            return model.compute_metrics(x, y, predictions) | self._logs(loss)

        model.train_step = train_step
        model.train_function = None

    def _hypergradient(self, tangents: Any, position: Any) -> tf.Tensor:
        model = self.model
        start = position.assign_add(self._batch_size)
        rows = (start + tf.range(self._batch_size)) % len(self._x)
        x, y = tf.gather(self._x, rows), tf.gather(self._y, rows)
        values = [each.value for each in model.trainable_variables]
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=False))
        pairs = zip(tangents, tape.gradient(loss, values), strict=True)
        return tf.add_n([dot(z, gradient) for z, gradient in pairs])

    def _logs(self, loss: tf.Tensor) -> dict[str, tf.Tensor]:
        tracker = self.model.metrics[0]
        tracker.update_state(loss)
        return {"loss": tracker.result()}

    def on_train_end(self, logs: Any = None) -> None:
        del self.model.train_step


def _variants(name: str, make_optimizer: Callable[..., Any]) -> dict[str, Variant]:
    variant = functools.partial(Variant, name, make_optimizer)
    return {
        name: variant(),
        f"{name}_again": variant(),
        f"{name}_whole": variant(_whole),
        f"{name}_defaults": variant(lambda *_: keras_lr.MARTHE()),
        f"{name}_short": variant(lambda *_: keras_lr.MARTHE(discount=0.99)),
        f"{name}_validation": variant(_validation),
        f"{name}_hd": variant(lambda *_: keras_lr.HypergradientDescent()),
        f"{name}_hd_4": variant(lambda *_: keras_lr.HypergradientDescent(every=4)),
        f"{name}_hd_by_hand": variant(lambda *_: _ByHand()),
    }


VARIANTS = {
    **_variants("sgd", keras.optimizers.SGD),
    "sgd_whole_by_hand": Variant("sgd", keras.optimizers.SGD, _WholeByHand),
    **_variants("adam", keras.optimizers.Adam),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the rows as they come, and print the table."""
    compare(__doc__, VARIANTS, "marthe_overhead.csv", arguments)


if __name__ == "__main__":
    # The fit with a callback traces a step of its own, which TensorFlow warns about.
    tf.get_logger().setLevel("ERROR")
    main()
