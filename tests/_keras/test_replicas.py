"""`replicas`: what is shared by the replicas of a strategy."""

import keras
import numpy as np
import tensorflow as tf

from keras_lr._keras import replicas


def test_one_replica_is_its_own_sum():
    tensor = keras.ops.convert_to_tensor([1.0, 2.0])
    assert replicas.number_of_replicas() == 1
    assert replicas.sum_over_replicas(tensor) is tensor


def test_every_replica_gets_the_sum_of_all(two_replicas):
    @tf.function
    def run():
        return two_replicas.run(step)

    def step():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        own = [tf.cast(number, "float32") + 1.0, 10.0]
        total = replicas.sum_over_replicas(tf.stack(own))
        return total, tf.constant(replicas.number_of_replicas()) + number * 0

    totals, numbers = run()
    for total in two_replicas.experimental_local_results(totals):
        np.testing.assert_array_equal(total, [3.0, 20.0])  # 1 + 2 and 10 + 10.
    counted = two_replicas.experimental_local_results(numbers)
    assert [int(each) for each in counted] == [2, 2]


def test_shared_scalar_is_float32_under_every_policy():
    keras.config.set_dtype_policy("mixed_float16")
    scalar = replicas.shared_scalar("state")
    layer = keras.layers.Identity()
    layer.call = lambda x: x * keras.ops.cast(scalar.value.dtype == "float32", x.dtype)
    assert scalar.dtype == "float32"
    assert not scalar.trainable
    # Inside of a layer the policy casts what is read, except this one.
    assert float(layer(np.ones((1, 1)))[0, 0]) == 1.0


def test_every_replica_assigns_a_shared_scalar_alike(two_replicas):
    with two_replicas.scope():
        scalar = replicas.shared_scalar("state")
    two_replicas.run(lambda: scalar.assign(scalar.value + 1.5))
    copies = two_replicas.experimental_local_results(scalar.value)
    assert [float(each) for each in copies] == [1.5, 1.5]
