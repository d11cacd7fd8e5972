"""Terms of L2 and Tikhonov penalties, against the reference and true gradients."""

import numpy as np
import pytest

from keras_lr.rules.penalty_lipschitz import penalty_lipschitz
from tests.references import lipschitz as reference

X = np.ones((5, 3))
GAMMA = np.random.default_rng(0).normal(size=(3, 3))


def test_no_penalty_adds_nothing():
    assert penalty_lipschitz(None, X, 0.0, None, "paper") == 0.0
    assert penalty_lipschitz(2.0, X, 0.0, None, "strict") == 0.0


def test_paper_terms_agree_with_the_reference():
    expected = reference.paper_l2(0.3, 2.0) + reference.paper_tikhonov(GAMMA, 2.0)
    assert penalty_lipschitz(2.0, X, 0.3, GAMMA, "paper") == pytest.approx(expected)


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_strict_terms_agree_with_the_reference(rows):
    gamma = np.random.default_rng(rows).normal(size=(rows, 3))
    expected = reference.strict_l2(0.3, 2.0) + reference.strict_tikhonov(gamma, 2.0)
    assert penalty_lipschitz(2.0, X, 0.3, gamma, "strict") == pytest.approx(expected)


@pytest.mark.parametrize("outputs", [1, 4])
def test_strict_terms_bound_the_gradient_and_are_attained(outputs):
    rng = np.random.default_rng(outputs)
    term = penalty_lipschitz(2.0, X, 0.3, GAMMA, "strict")
    draws = rng.normal(size=(200, 3, outputs))
    worst = np.linalg.svd(GAMMA)[2][0][:, np.newaxis] * np.eye(outputs)[0]
    draws = np.concatenate([draws, worst[np.newaxis]])
    draws *= 2.0 / np.linalg.norm(draws, axis=(1, 2), keepdims=True)
    gradients = 2 * 0.3 * draws + 2 * GAMMA.T @ GAMMA @ draws
    norms = np.linalg.norm(gradients, axis=(1, 2))
    assert norms.max() <= term * (1 + 1e-12)
    assert norms[-1] == pytest.approx(term)


def test_paper_term_of_a_triangular_gamma_is_exceeded():
    """Gamma^2 = 0 while ||Gamma w||^2 has a gradient: 2 w_2 along the second axis."""
    gamma = [[0.0, 1.0], [0.0, 0.0]]
    x = np.ones((5, 2))
    assert penalty_lipschitz(2.0, x, 0.0, gamma, "paper") == 0.0
    assert penalty_lipschitz(2.0, x, 0.0, gamma, "strict") == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, X, 0.1, None, "paper"), "`weight_bound` is required .* l2=0.1"),
        ((None, X, 0.0, GAMMA, "paper"), "`weight_bound` is required"),
        ((0.0, X, 0.0, None, "paper"), "`weight_bound` must be finite and positive"),
        ((1.0, X, -0.1, None, "paper"), "`l2` must be .* Received: l2=-0.1"),
        ((1.0, X, np.nan, None, "paper"), "`l2` must be"),
        (
            (1.0, X, 0.0, GAMMA[:, :2], "strict"),
            "column for each input of the weights, 3",
        ),
        ((1.0, X, 0.0, GAMMA[:2], "paper"), 'must be square with `bound="paper"`'),
        ((1.0, X, 0.0, GAMMA, "loose"), "`bound` must be one of 'paper', 'strict'"),
    ],
)
def test_wrong_use_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        penalty_lipschitz(*arguments)
