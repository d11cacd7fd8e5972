"""Norms of the gradients of several tensors, worked by hand."""

import numpy as np
import pytest
from keras import ops

from keras_lr import _keras
from keras_lr.rules import gradient_norms
from tests.references import tensors

# Norms 5, 12 and 0; the norm of all is 13.
BY_HAND = ([[3.0], [4.0]], 12.0, [0.0, 0.0])


def gradients(values=BY_HAND, dtype="float64"):
    return [ops.convert_to_tensor(each, dtype=dtype) for each in values]


def test_each_tensor_has_its_squared_norm():
    squares = _keras.squared_norms(gradients(), "float64")
    assert squares.numpy().tolist() == [25.0, 144.0, 0.0]


def test_global_norm_is_that_of_all_tensors_as_one_vector():
    squares = _keras.squared_norms(gradients(), "float64")
    assert float(gradient_norms.global_norm(squares)) == 13.0


def test_largest_norm_is_that_of_one_tensor():
    squares = _keras.squared_norms(gradients(), "float64")
    assert float(gradient_norms.largest_norm(squares)) == 12.0


def test_norms_agree_with_the_reference(rng):
    arrays = [rng.normal(size=shape) for shape in ((7, 5), (3,), (2, 2, 2))]
    lists = [array.ravel().tolist() for array in arrays]
    squares = _keras.squared_norms(gradients(arrays), "float64")
    # A sum of 50 squares rounds by 1e-15.
    assert float(gradient_norms.global_norm(squares)) == pytest.approx(
        tensors.norm(tensors.joined(lists)), rel=1e-13
    )
    assert float(gradient_norms.largest_norm(squares)) == pytest.approx(
        tensors.largest_norm(lists), rel=1e-13
    )


@pytest.mark.parametrize("size", [300.0, 3e-5])
def test_half_precision_neither_overflows_nor_vanishes(size):
    each = gradients([[size, 0.0]], "float16")
    held = float(np.float16(size))
    squares = _keras.squared_norms(each, "float32")
    # Rounding of float32.
    assert float(squares[0]) == pytest.approx(held**2, rel=1e-6)


def test_every_number_of_every_tensor_counts():
    shapes = ((4, 3), (5,), (), (2, 3, 4))
    arrays = [np.zeros(shape) for shape in shapes]
    assert gradient_norms.number_of_weights(arrays) == 12 + 5 + 1 + 24


def test_largest_norm_is_forgotten_in_proportion_to_its_age():
    """8 counts 10/10, 10/11, 10/12 of itself, and the newest norm all of it."""
    largest, counts = gradients((0.0, 1.0))
    found = []
    for step, norm in enumerate(gradients((8.0, 1.0, 1.0, 7.0))):
        (observations,) = gradients((float(step),))
        largest = gradient_norms.forgetting_supremum(
            largest, norm, counts, observations
        )
        found.append(float(largest))
    assert found == pytest.approx([8.0, 80 / 11, 80 / 12, 7.0], rel=1e-15)


@pytest.mark.parametrize(
    ("observe", "pair"),
    [
        (gradient_norms.norm_and_mean_square, (13.0, 169 / 5)),
        # ||(9, 16)|| = sqrt(337), and 144.
        (gradient_norms.largest_norms, (12.0, 144.0)),
        (gradient_norms.largest_norm_only, (12.0, 0.0)),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_norm_and_square_of_the_gradients(observe, pair):
    squares = _keras.squared_norms(gradients(), "float64")
    powers = gradients(np.square(each) for each in BY_HAND)

    def fourth_powers():
        return _keras.squared_norms(powers, "float64")

    assert tuple(map(float, observe(squares, fourth_powers, 5))) == pair


def test_square_of_a_given_constant():
    """5^2 / 5, and 5 = 3 + 2: 3^2 + 2^2."""
    constant, weight_term = gradients((5.0, 2.0))
    square = gradient_norms.mean_square_of(constant, weight_term, 5)
    assert float(square) == 5.0
    square = gradient_norms.square_without_product(constant, weight_term, 5)
    assert float(square) == 13.0
