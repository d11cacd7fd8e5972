"""Minibatches: each row once in an epoch, any form of data, the same for the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lr.training.schedule.minibatches import minibatches

ROWS = np.arange(10)


def drawn(data, batch_size, steps, seed=0):
    batches = minibatches(data, batch_size, steps).draw(np.random.default_rng(seed))
    return [batches[t] for t in range(steps)]


def test_each_row_is_there_once_before_any_is_there_again():
    batches = drawn((ROWS, -ROWS), 4, 5)
    rows = np.concatenate([x for x, _, _ in batches])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(ROWS)
    assert [len(x) for x, _, _ in batches] == [4] * 5
    assert all((x == -y).numpy().all() for x, y, _ in batches)


def test_draws_are_the_same_for_the_same_generator_and_others_for_another():
    first, same, other = (drawn((ROWS, ROWS), 4, 5, seed) for seed in (1, 1, 2))
    assert np.array_equal([x for x, *_ in first], [x for x, *_ in same])
    assert not np.array_equal([x for x, *_ in first], [x for x, *_ in other])


def test_batch_is_the_same_however_often_it_is_read():
    batches = minibatches((ROWS, ROWS), 4, 3).draw(np.random.default_rng(0))
    np.testing.assert_array_equal(batches[1][0], batches[1][0])


def test_weights_and_structures_of_inputs_stay_with_their_rows():
    x = {"a": ROWS, "b": np.stack([ROWS, ROWS], axis=1)}
    (inputs, y, weight), *_ = drawn((x, ROWS, ROWS / 2), 4, 1)
    np.testing.assert_array_equal(inputs["a"], y)
    np.testing.assert_array_equal(inputs["b"][:, 1], y)
    np.testing.assert_array_equal(weight, y.numpy() / 2)


def test_batches_are_no_larger_than_the_data():
    assert minibatches((ROWS, ROWS), None, 1).batch_size == 10
    assert minibatches((ROWS, ROWS), 3, 1).batch_size == 3


class Ordered(keras.utils.PyDataset):
    def __init__(self):
        super().__init__()
        self.epochs = 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = ROWS[5 * index : 5 * index + 5] + 100 * self.epochs
        return rows, rows

    def on_epoch_end(self):
        self.epochs += 1


def dataset():
    return tf.data.Dataset.from_tensor_slices((ROWS, ROWS)).batch(5)


@pytest.mark.parametrize("make", [dataset, Ordered])
def test_batches_of_a_data_set_follow_one_another_over_its_end_and_over_draws(make):
    batches = minibatches(make(), None, 3)
    generator = np.random.default_rng(0)
    assert batches.batch_size == 5
    assert batches.example[0].numpy().tolist() == [0, 1, 2, 3, 4]
    firsts = [
        int(batch[0][0]) % 100 for _ in range(2) for batch in batches.draw(generator)
    ]
    assert firsts == [0, 5, 0, 5, 0, 5]


def test_data_set_hears_of_the_end_of_its_epoch():
    batches = minibatches(Ordered(), None, 3).draw(np.random.default_rng(0))
    assert [int(batch[0][0]) for batch in batches] == [0, 5, 100]


def test_batch_size_of_batches_is_refused():
    with pytest.raises(ValueError, match=r"left out.*Received: batch_size=4"):
        minibatches(dataset(), 4, 1)


def test_data_set_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="`train_data` must have at least one batch"):
        minibatches(dataset().take(0), None, 1)


def test_arrays_of_unequal_length_are_refused_by_their_name():
    with pytest.raises(ValueError, match=r"`train_data` must be \(x, y\)"):
        minibatches((ROWS, ROWS[:3]), 4, 1)
