"""Data in any form become the same arrays."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from keras_lr.training.derivatives.arrays import as_arrays, finite_arrays

NAME = "validation_data"


def numbers(rows=10, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    return x, rng.normal(size=(rows, 1))


class Batches(keras.utils.PyDataset):
    """The rows in order, in batches of four."""

    def __init__(self, *arrays, number=3):
        super().__init__()
        self.arrays, self.number = arrays, number

    @property
    def num_batches(self):
        return self.number

    def __getitem__(self, index):
        return tuple(each[4 * index : 4 * (index + 1)] for each in self.arrays)


def dataset(*arrays, batch=4):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(batch)


FORMS = {
    "arrays": lambda x, y, w: (x, y, w),
    "list": lambda x, y, w: [x, y, w],
    "tensors": lambda x, y, w: tuple(map(tf.constant, (x, y, w))),
    "pandas": lambda x, y, w: (pd.DataFrame(x), pd.DataFrame(y), pd.Series(w)),
    "dataset": dataset,
    "dataset in one": lambda *arrays: dataset(*arrays, batch=99),
    "unknown length": lambda *arrays: dataset(*arrays).filter(lambda *_: True),
    "py_dataset": Batches,
    "float32": lambda x, y, w: tuple(each.astype("float32") for each in (x, y, w)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_arrays_in_order(form):
    arrays = *numbers(), np.arange(10.0)
    arrays_of = as_arrays(form(*arrays), NAME)
    assert len(arrays_of) == 3
    for actual, expected in zip(arrays_of, arrays, strict=True):
        assert actual.dtype == "float32"
        np.testing.assert_array_equal(actual, expected.astype("float32"))


@pytest.mark.parametrize("form", ["arrays", "list", "dataset", "py_dataset"])
def test_every_form_may_have_no_sample_weights(form):
    x, y = numbers()
    convert = {
        "arrays": lambda *each: each,
        "list": lambda *each: list(each),
        "dataset": dataset,
        "py_dataset": Batches,
    }[form]
    arrays_of = as_arrays(convert(x, y), NAME)
    assert arrays_of[2] is None
    np.testing.assert_array_equal(arrays_of[1], y.astype("float32"))


def test_labels_stay_integers():
    x, y = np.zeros((4, 3)), np.arange(4)
    assert as_arrays((x, y), NAME)[1].dtype == y.dtype
    assert as_arrays(dataset(x, y), NAME)[1].dtype == y.dtype


X, Y = np.zeros((4, 3)), np.zeros((4, 1))
REFUSED = {
    "array": (X, "<ndarray>"),
    "one": ((X,), r"tuple of shapes \(\(4, 3\),\)"),
    "four": ((X, Y, Y, Y), "tuple of shapes"),
    "text": ("data", "<str>"),
    "number": (0.25, "<float>"),
    "unequal": ((X, Y[:3]), r"tuple of shapes \(\(4, 3\), \(3, 1\)\)"),
    "unequal inputs": (([X, X[:3]], Y), "tuple of shapes"),
    "unequal weights": ((X, Y, Y[:2, 0]), "tuple of shapes"),
    "empty": ((X[:0], Y[:0]), "tuple of shapes"),
    "scalar": ((X, 1.0), r"tuple of shapes \(\(4, 3\), \(\)\)"),
    "endless dataset": (dataset(X, Y).repeat(), "Dataset>"),
    "empty dataset": (dataset(X, Y).take(0), "Dataset>"),
    "endless py_dataset": (Batches(X, Y, number=None), "<Batches>"),
    "empty py_dataset": (Batches(X, Y, number=0), "<Batches>"),
    "unbatched dataset": (tf.data.Dataset.from_tensors((1.0, 2.0)), "Dataset>"),
}


@pytest.mark.parametrize(("data", "shown"), REFUSED.values(), ids=REFUSED)
def test_other_data_are_refused(data, shown):
    message = rf"^`validation_data` must be .* Received: validation_data=.*{shown}.*\.$"
    with pytest.raises(ValueError, match=message):
        as_arrays(data, NAME)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["x", "y", "sample_weight"])
def test_number_that_is_not_finite_is_refused_with_its_row(bad, place):
    arrays = [*numbers(), np.ones(10)]
    arrays[place][7, ...] = bad
    arrays[place][9, ...] = bad
    message = r"^`validation_data` must be finite.* 2 of 10 rows .* first in row 7\."
    with pytest.raises(ValueError, match=message):
        finite_arrays(tuple(arrays), NAME)


def test_finite_numbers_and_labels_pass():
    x, _ = numbers()
    arrays = finite_arrays((x, np.arange(10)), NAME)
    np.testing.assert_array_equal(arrays[1], np.arange(10))


def test_batches_of_differing_lengths_are_refused_by_name():
    """As `padded_batch` makes them: each is padded to its own longest row."""
    sequences = tf.data.Dataset.range(4, 8).map(lambda n: (tf.ones(n), n))
    batches = sequences.padded_batch(2)
    message = r"`validation_data` must have rows of one shape.*\(2, 5\).*\(2, 7\)"
    with pytest.raises(ValueError, match=message):
        as_arrays(batches, "validation_data")
