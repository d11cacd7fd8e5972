"""`batches`: any structure of tensors, in which `None` stands for nothing."""

import numpy as np
import pytest

from keras_lr.training.derivatives.batches import leaves, map_leaves

X, Y, W = np.array([1.0, 2.0]), np.array([3.0]), np.array([4.0])
STRUCTURES = {
    "tensor": (X, [X]),
    "pair": ((X, Y), [X, Y]),
    "without weights": ((X, Y, None), [X, Y]),
    "weights without labels": ((X, None, W), [X, W]),
    "lists": (([X, W], Y, None), [X, W, Y]),
    "names": (({"a": X, "b": None}, {"out": Y}, {"out": W}), [X, Y, W]),
    "deep": (({"a": [X, (Y, None)]}, W), [X, Y, W]),
    "nothing": ((None, None), []),
}
every_structure = pytest.mark.parametrize(
    ("batch", "expected"), STRUCTURES.values(), ids=STRUCTURES
)


@every_structure
def test_leaves_are_the_tensors_in_order(batch, expected):
    found = leaves(batch)
    assert [id(each) for each in found] == [id(each) for each in expected]


@every_structure
def test_mapping_keeps_the_structure_and_what_is_not_there(batch, expected):
    doubled = map_leaves(lambda array: 2 * array, batch)
    assert repr(doubled) == repr(double(batch))
    for old, new in zip(expected, leaves(doubled), strict=True):
        np.testing.assert_array_equal(new, 2 * old)


def double(batch):
    """A slow reference."""
    if isinstance(batch, dict):
        return {name: double(each) for name, each in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(double(each) for each in batch)
    return None if batch is None else 2 * batch


def test_several_batches_are_mapped_place_by_place():
    parts = [({"a": n * X}, n * Y, None) for n in (1, 10, 100)]
    joined = map_leaves(lambda *each: np.concatenate(each), *parts)
    np.testing.assert_array_equal(joined[0]["a"], [1, 2, 10, 20, 100, 200])
    np.testing.assert_array_equal(joined[1], [3, 30, 300])
    assert joined[2] is None
