"""The largest value so far, and how its memory grows, worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_lr.rules.supremum import growing_memory, supremum


def tensors(values):
    return [ops.convert_to_tensor(each, dtype="float64") for each in values]


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_supremum_is_the_largest_norm_so_far(norms):
    (largest, counts), maxima = tensors((0.0, 1.0)), []
    for norm in tensors(norms):
        largest = supremum(largest, norm, counts)
        maxima.append(float(largest))
    assert maxima == np.maximum.accumulate(norms).tolist()


def test_supremum_is_forgotten_as_fast_as_it_is_told_to():
    largest, half, one = tensors((8.0, 0.5, 1.0))
    found = []
    for _ in range(4):
        largest = supremum(largest, half, one, 0.25)
        found.append(float(largest))
    assert found == [2.0, 0.5, 0.5, 0.5]


def test_supremum_is_the_old_one_where_nothing_counts():
    old, norm, counts = tensors((8.0, 9.0, 0.0))
    assert float(supremum(old, norm, counts)) == 8.0


@pytest.mark.parametrize(
    ("before", "now", "power", "expected"),
    [
        (0.0, 0.0, 1.0, 1.0),
        # From ten steps on, half is left of what is twice as old.
        (0.0, 10.0, 1.0, 0.5),
        (10.0, 30.0, 1.0, 0.5),
        (0.0, 30.0, 0.5, 0.5),
        (0.0, 1e6, 0.0, 1.0),
    ],
)
def test_what_is_left_follows_from_the_age(before, now, power, expected):
    (before, now) = tensors((before, now))
    assert float(growing_memory(before, now, power)) == expected


@given(
    st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20), st.sampled_from([0.5, 1.0])
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_step_by_step_it_is_the_largest_of_all_weighed_by_their_age(values, power):
    (held, counts) = tensors((0.0, 1.0))
    for step, value in enumerate(tensors(values)):
        before, now = tensors((step - 1.0, float(step)))
        held = supremum(held, value, counts, growing_memory(before, now, power))
    last = len(values) - 1
    weights = [((10 + s) / (10 + last)) ** power for s in range(len(values))]
    expected = max(w * v for w, v in zip(weights, values, strict=True))
    # 20 products of float64.
    assert float(held) == pytest.approx(expected, rel=1e-14)
