"""Training steps one after another, and the loss of each."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_lr._keras.train_function import Run
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.batches import leaves, map_leaves

CHUNK = 10
"""Steps in a call of a compiled loop; Ctrl-C waits for its end."""


class Steps:
    """Trains a model on batches, which repeat, and returns the loss of each step.

    Most of the time that a small model's step takes is spent in Python. So several
    steps run in one call where they can: in a traced loop, on batches of equal shapes.

    Args:
        model: A built, compiled model whose optimizer is built.
        run: Function which takes a training step on a batch, and returns its logs.
        batches: The batches.
        owner: Name of the caller, for messages.
    """

    def __init__(
        self, model: keras.Model, run: Run, batches: Sequence[Any], owner: str
    ) -> None:
        self._model = model
        self._run = run
        self._owner = owner
        replicas = model.distribute_strategy.num_replicas_in_sync
        is_traced = not model.run_eagerly and replicas == 1 and _are_alike(batches)
        self._chunk = _traced(self._step, batches) if is_traced else None
        self._batches = [] if is_traced else batches

    def losses(self, count: int) -> Iterator[float]:
        """Take steps, and yield the loss of each batch before its step.

        Args:
            count: How many steps there are, unless a loss is not finite.
        """
        import tensorflow as tf

        if self._chunk is None:
            for batch in itertools.islice(itertools.cycle(self._batches), count):
                yield float(keras.ops.convert_to_numpy(self._step(batch)))
            return
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            losses = self._chunk(tf.constant(start), tf.constant(size))
            yield from losses.numpy().tolist()

    def _step(self, batch: Any) -> Tensor:
        # The loss in the logs is the mean since the last reset.
        self._model.reset_metrics()
        logs = self._run(batch)
        if "loss" not in logs:
            raise ValueError(
                f"`{self._owner}` compares losses, so the training step must return "
                f"one named 'loss'. Received: logs with {', '.join(logs) or 'nothing'}."
                " Add it to what `train_step` returns."
            )
        return keras.ops.cast(logs["loss"], "float32")


def _are_alike(batches: Sequence[Any]) -> bool:
    """Return whether all batches can be parts of one tensor each."""
    import tensorflow as tf

    shapes = {
        tuple(
            (tuple(each.shape), each.dtype) if isinstance(each, tf.Tensor) else None
            for each in leaves(batch)
        )
        for batch in batches
    }
    return len(shapes) == 1 and None not in next(iter(shapes))


def _traced(
    step: Callable[[Any], Tensor], batches: Sequence[Any]
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of a first batch and a number of steps: the losses of these.

    It ends after a loss that is not finite.
    """
    import tensorflow as tf

    with tf.device("CPU:0"):
        stacked = map_leaves(lambda *each: tf.stack(each), *batches)
    count = len(batches)

    @tf.function(autograph=False)
    def chunk(start: Tensor, size: Tensor) -> Tensor:
        def is_ahead(index: Tensor, loss: Tensor, _: Any) -> Tensor:
            return (index < size) & tf.math.is_finite(loss)

        def body(index: Tensor, _: Tensor, losses: Any) -> tuple[Any, ...]:
            number = (start + index) % count
            with tf.device("CPU:0"):
                batch = map_leaves(lambda each: each[number], stacked)
            loss = step(batch)
            return index + 1, loss, losses.write(index, loss)

        losses = tf.TensorArray(tf.float32, size)
        index, _, losses = tf.while_loop(is_ahead, body, [0, 0.0, losses])
        return losses.stack()[:index]

    return chunk
