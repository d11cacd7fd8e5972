import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_lr.training.range_test import batches
from keras_lr.training.range_test.batches import first_batches
from tests.small_problem import BATCH, STEPS, OrderedData
from tests.small_problem import data as small_data

X, Y = small_data()


def first(data, count=3, **kwargs):
    return first_batches(data, count, **{"batch_size": None, "seed": 0} | kwargs)[0]


BATCHES = {
    "dataset": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH),
    "endless dataset": lambda: (
        tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH).repeat()
    ),
    "PyDataset": lambda: OrderedData(X, Y),
    "generator": lambda: (OrderedData(X, Y)[i] for i in itertools.count()),
    "lists": lambda: ([*OrderedData(X, Y)[i]] for i in range(9)),
}


@pytest.mark.parametrize("form", BATCHES)
def test_first_batches_are_read_as_they_are(form):
    found = first(BATCHES[form]())
    assert len(found) == 3
    for index, batch in enumerate(found):
        # A step of the user's may unpack its batch into two.
        x, y = batch
        np.testing.assert_array_equal(x, OrderedData(X, Y)[index][0])
        np.testing.assert_array_equal(y, OrderedData(X, Y)[index][1])


@pytest.mark.parametrize("form", ["dataset", "PyDataset"])
def test_an_epoch_may_have_fewer_batches(form):
    assert len(first(BATCHES[form](), 99)) == STEPS


def test_rows_of_arrays_are_drawn_once_and_in_full_batches():
    found = first((X, Y), 99, batch_size=BATCH)
    assert [len(x) for x, _ in found] == [BATCH] * 5
    rows = {tuple(row) for x, _ in found for row in np.array(x).tolist()}
    assert rows < {tuple(row) for row in X.tolist()}
    assert len(rows) == 5 * BATCH


def test_rows_stay_together_and_depend_on_the_seed():
    x = np.arange(100.0)[:, None]
    drawn = [first((x, 2 * x), batch_size=5, seed=seed) for seed in (0, 0, 1)]
    for batch in drawn[0]:
        np.testing.assert_array_equal(2 * batch[0], batch[1])
    values = [np.concatenate([batch[0] for batch in each]) for each in drawn]
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


def test_arrays_have_the_type_and_the_parts_that_fit_gives_them():
    x, y = X.astype("float64"), Y
    ((first_x, first_y),) = first((x, y), 1)
    assert (first_x.dtype, first_y.dtype) == (tf.float32, tf.int64)
    weighted = first((x, y, np.arange(22.0)), 1, batch_size=4)[0]
    assert len(weighted) == 3


def test_structures_are_kept():
    batch = first(({"one": X, "two": X[:, :1]}, [Y, Y]), 1, batch_size=4)[0]
    assert batch[0]["two"].shape == (4, 1)
    assert len(batch[1]) == 2


def test_fewer_rows_than_a_batch_are_one_batch():
    ((x, _),) = first((X, Y), 3, batch_size=99)
    assert len(x) == len(X)


def test_ragged_batches_stay_what_they_are():
    ragged = tf.ragged.constant([[1, 2], [3]])
    assert first(iter([(ragged, ragged)]), 1)[0][0] is ragged


def test_sizes_of_an_endless_py_dataset_are_not_asked_for():
    class Endless(keras.utils.PyDataset):
        @property
        def num_batches(self):
            return None

        def __getitem__(self, index):
            return X[:BATCH] + index, Y[:BATCH]

    assert len(first(Endless(), 4)) == 4


def is_used_up(data, count):
    return first_batches(data, count, batch_size=None, seed=0)[1]


@pytest.mark.parametrize(("count", "is_over"), [(3, False), (4, True), (5, True)])
def test_iterator_without_a_further_batch_is_used_up(count, is_over):
    parts = [OrderedData(X, Y)[index] for index in range(4)]
    assert is_used_up(iter(parts), count) is is_over
    assert is_used_up((each for each in parts), count) is is_over
    assert not is_used_up(OrderedData(X, Y), 99)


def test_generator_goes_on_afterwards(monkeypatch):
    endless = ((X[:BATCH] + index, Y[:BATCH]) for index in itertools.count())
    assert not is_used_up(endless, 3)
    # One more was looked at.
    np.testing.assert_array_equal(next(endless)[0], X[:BATCH] + 4)
    monkeypatch.setattr(batches, "MOST_BYTES", 1)
    assert not is_used_up(endless, 3)
    np.testing.assert_array_equal(next(endless)[0], X[:BATCH] + 6)


def test_large_batches_are_few(monkeypatch):
    size = X[:BATCH].nbytes + Y[:BATCH].nbytes
    monkeypatch.setattr(batches, "MOST_BYTES", 2 * size)
    assert len(first((X, Y), 99, batch_size=BATCH)) == 3
