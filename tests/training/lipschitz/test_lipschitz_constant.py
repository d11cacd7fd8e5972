"""`lipschitz_constant`: the constants of Keras's losses on plain arrays."""

import keras
import numpy as np
import pytest

from keras_lr import lipschitz_constant
from tests.references import lipschitz as reference

# Rows of norm 5 and 0: K_z = 5, m = 2.
A = np.array([[3.0, 4.0], [0.0, 0.0]])
OUTPUTS = np.array([[3.0, 0.0], [0.0, 4.0]])
TARGETS = np.array([[0.0, 0.0], [0.0, 2.0]])
ROUNDING = 1e-6


@pytest.mark.parametrize(
    ("loss", "outputs", "expected"),
    [
        ("binary_crossentropy", 1, 5 / 4),
        ("categorical_crossentropy", 4, 3 / 4 * 5 / 2),
        (keras.losses.SparseCategoricalCrossentropy(), 4, 3 / 4 * 5 / 2),
        (keras.losses.BinaryCrossentropy(reduction="sum"), 1, 5 / 2),
    ],
)
def test_paper_form_of_cross_entropies_by_hand(loss, outputs, expected):
    constant = lipschitz_constant(loss, A, outputs=outputs)
    assert constant == pytest.approx(expected, rel=ROUNDING)


def test_paper_form_of_squares_by_hand():
    # (5 - 2) * 5 / 2.
    constant = lipschitz_constant("mse", A, predictions=OUTPUTS, targets=TARGETS)
    assert constant == pytest.approx(7.5, rel=ROUNDING)


@pytest.mark.parametrize("use_bias", [True, False])
def test_strict_form_of_squares_agrees_with_the_reference(use_bias):
    constant = lipschitz_constant(
        "mse",
        A,
        predictions=OUTPUTS,
        targets=TARGETS,
        use_bias=use_bias,
        bound="strict",
    )
    expected = reference.strict_mean_squared_error(
        A.tolist(), OUTPUTS.tolist(), TARGETS.tolist(), use_bias=use_bias
    )
    assert constant == pytest.approx(expected, rel=ROUNDING)


def test_number_of_outputs_is_read_from_the_predictions():
    with_predictions = lipschitz_constant(
        "mae", A, predictions=OUTPUTS, bound="strict", use_bias=False
    )
    assert with_predictions == pytest.approx(5 / np.sqrt(2) / 2, rel=ROUNDING)


def test_sample_weights_count_in_the_strict_form():
    weights = [2.0, 7.0]
    constant = lipschitz_constant(
        "hinge", A, sample_weight=weights, use_bias=False, bound="strict"
    )
    assert constant == pytest.approx(2 * 5 / 2, rel=ROUNDING)


def test_sequences_count_a_row_for_each_time():
    flat = lipschitz_constant("hinge", A, bound="strict")
    folded = lipschitz_constant("hinge", A[None], bound="strict")
    assert folded == pytest.approx(flat, rel=ROUNDING)


@pytest.mark.parametrize(
    ("bound", "expected"),
    # The gradient of l2 ||w||^2 is twice the paper's; Gamma is 0.5 times the identity.
    [
        ("paper", 1.25 + 3 * (0.2 + 2 * 0.25) + 0.1 * np.sqrt(2)),
        ("strict", (np.sqrt(26) + 1) / 2 + 3 * (0.4 + 2 * 0.25) + 0.1 * np.sqrt(2)),
    ],
)
def test_penalties_are_added(bound, expected):
    penalties = {"weight_norm": 3.0, "l1": 0.1, "l2": 0.2, "tikhonov": 0.5}
    constant = lipschitz_constant("binary_crossentropy", A, bound=bound, **penalties)
    assert constant == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"loss": "mse"}, r"`targets` and `predictions` must be given for 'mean_squ"),
        ({"loss": "mse", "targets": TARGETS}, r"(?s)must be given.*predictions=None"),
        ({"loss": "mae"}, r"`bound` must be \"strict\" for the loss 'mean_absolute"),
        ({"loss": "poisson"}, r"`loss` must be one of .*'poisson'"),
        ({"bound": "loose"}, r"`bound` must be one of .*'loose'"),
        ({"activations": [1.0, 2.0]}, r"a row for each example.*\(2,\)"),
        ({"activations": [[np.nan]]}, r"finite"),
        ({"tikhonov": np.eye(3)}, r"column for each input of the weights, 2"),
    ],
)
def test_wrong_use_is_refused(kwargs, message):
    arguments = {"loss": "binary_crossentropy", "activations": A} | kwargs
    with pytest.raises(ValueError, match=message):
        lipschitz_constant(**arguments)
