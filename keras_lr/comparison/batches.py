"""Batches that are new in each epoch, and the same in every run of a seed.

`fit` on arrays does not give them: after `keras.utils.set_random_seed` Keras draws the
same order in every epoch. What looks at the next batch is flattered by that.
"""

from typing import Any

import keras


def shuffled_batches(data: Any, batch_size: int, seed: int) -> Any:
    """Return a `tf.data.Dataset` of all rows, in a new order in each epoch.

    It counts its epochs itself, so each training needs a new one.

    Args:
        data: Structure of arrays with the same number of rows, such as (x, y).
        batch_size: Rows of each batch except the last of an epoch.
        seed: Seed of the orders, together with the global one.
    """
    import tensorflow as tf

    tensors = keras.tree.map_structure(_tensor, data)
    rows = int(keras.tree.flatten(tensors)[0].shape[0])
    order = tf.data.Dataset.range(rows).shuffle(rows, seed=seed)
    batches = order.batch(batch_size)

    def gathered(rows: Any) -> Any:
        return keras.tree.map_structure(lambda each: tf.gather(each, rows), tensors)

    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.map(gathered).prefetch(1).with_options(options)


def _tensor(array: Any) -> Any:
    """Return the array as `fit` would take it: other floats become `floatx`."""
    import tensorflow as tf

    tensor = tf.convert_to_tensor(array)
    return (
        tf.cast(tensor, keras.config.floatx()) if tensor.dtype.is_floating else tensor
    )
