"""`WeightTerm`: what the regularizers add to L, by hand."""

import keras
import numpy as np
import pytest
from keras.regularizers import L1, L1L2, L2

from keras_lr._keras import to_float
from keras_lr.training.lipschitz.weight_term import WeightTerm

# Norms 5, 13 and 2: of the head's kernel, of the hidden one, of the head's bias.
HEAD = np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
HIDDEN = np.array([[5.0, 12.0, 0.0]])
BIAS = np.array([2.0, 0.0])


def model_of(hidden=None, use_bias=True, **head_kwargs):
    head = keras.layers.Dense(2, name="head", use_bias=use_bias, **head_kwargs)
    hidden_layer = keras.layers.Dense(3, use_bias=False, kernel_regularizer=hidden)
    model = keras.Sequential([keras.Input((1,)), hidden_layer, head])
    model.set_weights([HIDDEN, HEAD, BIAS] if use_bias else [HIDDEN, HEAD])
    return model


def term_of(model, bound, tikhonov=None):
    return WeightTerm(
        model, model.get_layer("head"), bound, tikhonov, owner="LipschitzLR"
    )


@pytest.mark.parametrize("bound", ["paper", "strict"])
def test_model_without_regularizers_adds_nothing(bound):
    term = term_of(model_of(), bound)
    assert term.is_zero
    assert to_float(term()) == 0.0


@pytest.mark.parametrize(
    ("regularizers", "expected"),
    [
        ({"kernel_regularizer": L2(0.1)}, 2 * 0.1 * 5),
        ({"kernel_regularizer": L1(0.1)}, 0.1 * np.sqrt(6)),
        ({"kernel_regularizer": L1L2(0.1, 0.2)}, 0.1 * np.sqrt(6) + 2 * 0.2 * 5),
        ({"bias_regularizer": L2(0.1)}, 2 * 0.1 * 2),
        ({"bias_regularizer": L1(0.1)}, 0.1 * np.sqrt(2)),
        (
            {"kernel_regularizer": L2(0.1), "bias_regularizer": L2(0.3)},
            2 * 0.1 * 5 + 2 * 0.3 * 2,
        ),
    ],
)
def test_strict_term_is_the_heads_own(regularizers, expected):
    term = term_of(model_of(hidden=L2(100.0), **regularizers), "strict")
    assert to_float(term()) == pytest.approx(expected, rel=1e-6)


def test_paper_term_is_the_largest_factor_times_the_largest_norm():
    model = model_of(hidden=L2(0.3), kernel_regularizer=L2(0.1))
    assert to_float(term_of(model, "paper")()) == pytest.approx(0.3 * 13, rel=1e-6)


def test_paper_term_counts_the_heads_l1_by_its_entries():
    term = term_of(model_of(kernel_regularizer=L1(0.1)), "paper")
    assert to_float(term()) == pytest.approx(0.1 * np.sqrt(6), rel=1e-6)


def test_paper_term_looks_into_nested_models():
    core = model_of(hidden=L2(0.3))
    model = keras.Sequential([keras.Input((1,)), core])
    term = WeightTerm(model, core.get_layer("head"), "paper", owner="LipschitzLR")
    assert to_float(term()) == pytest.approx(0.3 * 13, rel=1e-6)


@pytest.mark.parametrize(("bound", "norm"), [("strict", 5), ("paper", 13)])
def test_number_for_gamma_is_a_multiple_of_the_identity(bound, norm):
    term = term_of(model_of(), bound, tikhonov=0.5)
    assert to_float(term()) == pytest.approx(2 * norm * 0.25, rel=1e-6)


def test_gamma_that_is_not_symmetric_has_two_norms():
    gamma = np.diag([2.0, 0.0], k=1)  # Gamma^2 = 0, but Gamma'Gamma is not.
    assert to_float(term_of(model_of(), "paper", gamma)()) == 0.0
    strict = term_of(model_of(), "strict", gamma)
    assert to_float(strict()) == pytest.approx(2 * 5 * 4, rel=1e-6)


def test_term_follows_the_weights():
    model = model_of(use_bias=False, kernel_regularizer=L2(0.1))
    term = term_of(model, "strict")
    model.set_weights([HIDDEN, 3 * HEAD])
    assert to_float(term()) == pytest.approx(2 * 0.1 * 15, rel=1e-6)


class Counting(keras.layers.Layer):
    """Has a weight that is a large integer."""

    def build(self, input_shape):
        thousand = keras.initializers.Constant(1000)
        self.add_weight(shape=(), dtype="int32", initializer=thousand, trainable=False)

    def call(self, inputs):
        return inputs


def test_weights_that_are_no_floats_have_no_norm():
    head = keras.layers.Dense(2, name="head", kernel_regularizer=L2(0.1))
    model = keras.Sequential([keras.Input((3,)), Counting(), head])
    head.set_weights([HEAD, BIAS])
    assert model.weights[0].dtype == "int32"
    assert to_float(term_of(model, "paper")()) == pytest.approx(0.5, rel=1e-6)


def test_squares_do_not_overflow_in_half_precision():
    model = model_of(dtype="float16", kernel_regularizer=L2(0.5))
    model.get_layer("head").set_weights([1000 * HEAD, BIAS])
    assert to_float(term_of(model, "strict")()) == pytest.approx(5000, rel=1e-3)


class Quartic(keras.regularizers.Regularizer):
    def __call__(self, weights):
        return keras.ops.sum(weights**4)


@pytest.mark.parametrize("name", ["kernel_regularizer", "bias_regularizer"])
def test_regularizer_without_a_formula_is_refused(name):
    model = model_of(**{name: Quartic()})
    with pytest.raises(ValueError, match=r"L1, L2 and L1L2.*Received: Quartic.*head"):
        term_of(model, "strict")
