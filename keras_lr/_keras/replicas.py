"""Values that all replicas of a `tf.distribute` strategy share."""

import keras
from keras import ops

from keras_lr._typing import Tensor


def shared_scalar(name: str, dtype: str = "float32") -> keras.Variable:
    """Return a state variable, zero at first, that every replica assigns alike.

    Call it in the model's scope. The variable is read in its own dtype under mixed
    precision.
    """
    return keras.Variable(
        0,
        dtype=dtype,
        trainable=False,
        autocast=False,
        aggregation="only_first_replica",
        name=f"keras_lr_{name}",
    )


def shared_like(variable: keras.Variable, name: str) -> keras.Variable:
    """Return zeros like a weight, as `shared_scalar` returns a scalar."""
    return keras.Variable(
        ops.zeros(variable.shape, variable.dtype),
        dtype=variable.dtype,
        trainable=False,
        autocast=False,
        aggregation="only_first_replica",
        name=f"keras_lr_{name}_{variable.name}",
    )


def sum_over_replicas(tensor: Tensor) -> Tensor:
    """Return the sum over all replicas of a tensor, or of each in a list.

    Call it in a replica context, that is, inside the training step. Every replica gets
    the same value.
    """
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tensor
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensor)


def number_of_replicas() -> int:
    """Return the number of replicas that share a global batch."""
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync
