"""One of several workers: steps of an optimizer in a loop without `fit`.

    python worker_process.py NAME OUTPUT

`TF_CONFIG` says which worker this is; without it, this is the only device. Each step
sums the loss of the worker's part of eight rows; the weights, and the variables of the
optimizer, are saved in OUTPUT.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf

import keras_lr

ROWS, STEPS = 8, 5


def main(name: str, output: str) -> None:
    """Train, and save what it came to."""
    is_one_of_several = "TF_CONFIG" in os.environ
    strategy = (
        tf.distribute.MultiWorkerMirroredStrategy()
        if is_one_of_several
        else tf.distribute.get_strategy()
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS, ROWS, 3)).astype("float32")
    y = (x[..., :1] - x[..., 1:2]).astype("float32")
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        optimizer = getattr(keras_lr, name)()
        optimizer.build(model.trainable_variables)

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor) -> None:
        def replica_step(x: tf.Tensor, y: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum((model(x, training=True) - y) ** 2) / ROWS
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(
                zip(gradients, model.trainable_variables, strict=True)
            )

        strategy.run(replica_step, args=(x, y))

    workers = strategy.num_replicas_in_sync
    index = strategy.cluster_resolver.task_id if is_one_of_several else 0
    size = ROWS // workers
    part = slice(index * size, (index + 1) * size)
    for features, targets in zip(x, y, strict=True):
        step(tf.constant(features[part]), tf.constant(targets[part]))
    values = [each.numpy() for each in [*model.weights, *optimizer.variables]]
    np.savez(output, *values, workers=workers)


if __name__ == "__main__":
    main(*sys.argv[1:])
