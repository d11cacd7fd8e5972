"""Classical models: published numbers, slow references, and true gradients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlxtend.data import boston_housing_data
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.model_selection import train_test_split

from keras_lr.rules.regression_lipschitz import (
    estimate_weight_bound,
    linear_regression_lipschitz,
    logistic_regression_lipschitz,
    softmax_regression_lipschitz,
)
from tests.references import lipschitz as reference

# float64 rounding over a few hundred terms; the power method adds its own.
ROUNDING = 1e-10


def scaled(features):
    """Section 7.1: a column of ones, then each column divided by its sum."""
    x = np.concatenate([np.ones((len(features), 1)), features], axis=1)
    return x / x.sum(axis=0)


def random_matrix(seed, rows, columns):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)) * rng.lognormal(sigma=2.0)


def test_breast_cancer_gives_the_published_rate():
    x = scaled(load_breast_cancer().data)
    assert 1 / logistic_regression_lipschitz(x) == pytest.approx(4280.2277, abs=5e-5)


def test_boston_housing_gives_the_published_rate_with_the_published_weight_bound():
    features, y = boston_housing_data()
    # The authors rounded section 7.1 by hand: (911 + 118) / 2.
    assert estimate_weight_bound(features) == pytest.approx(514.5, abs=0.13)
    L = linear_regression_lipschitz(scaled(features), y, weight_bound=514.5)
    rate = 1 / L
    assert rate == pytest.approx(8.314056750609444, rel=1e-12)


def test_boston_housing_with_the_exact_weight_bound_is_close_to_the_published_rate():
    features, y = boston_housing_data()
    K = estimate_weight_bound(features)
    L = linear_regression_lipschitz(scaled(features), y, weight_bound=K)
    rate = 1 / L
    assert rate == pytest.approx(8.3133, abs=5e-5)


@pytest.mark.parametrize("split", range(8))
@pytest.mark.parametrize(
    ("load", "rows", "classes", "published"),
    [(load_iris, 105, 3, (1.886, 1.949)), (load_digits, 1257, 10, (0.6337, 0.6365))],
)
def test_softmax_rate_is_in_the_published_range(load, rows, classes, published, split):
    x = train_test_split(load().data, train_size=0.7, random_state=split)[0]
    assert len(x) == rows
    rate = 1 / softmax_regression_lipschitz(x, classes)
    assert published[0] < rate < published[1]


def test_mnist_rate_follows_from_the_published_norm():
    # Only the norm enters: one row holds it all, 59,999 are empty.
    x = np.zeros((60_000, 1))
    x[0] = 6509.3267
    L = softmax_regression_lipschitz(x, classes=10)
    rate = 1 / L
    assert rate == pytest.approx(10.2417, abs=5e-5)


def test_negative_difference_of_the_paper_counts_without_its_sign():
    """L = K/m ||X'X|| - ||y'X||/m, by hand: (4 * 5 - 10) / 2 and (1 * 5 - 10) / 2."""
    x, y = [[1.0], [2.0]], [2.0, 4.0]
    assert linear_regression_lipschitz(x, y, weight_bound=4.0) == 5.0
    assert linear_regression_lipschitz(x, y, weight_bound=1.0) == 2.5


@given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), columns=st.integers(1, 4)
)
@settings(max_examples=60, deadline=None)
def test_paper_constants_agree_with_the_reference(seed, rows, columns):
    x = random_matrix(seed, rows, columns)
    y = random_matrix(seed + 1, rows, 2)
    assert linear_regression_lipschitz(x, y, weight_bound=3.0) == pytest.approx(
        reference.paper_linear_regression(x, y, 3.0),
        # The two norms may cancel: relative to what is subtracted.
        abs=ROUNDING * (reference.frobenius(x) + reference.frobenius(y)) ** 2 * 3,
    )
    assert logistic_regression_lipschitz(x) == pytest.approx(
        reference.paper_binary_crossentropy(x), rel=ROUNDING
    )
    assert softmax_regression_lipschitz(x, 7) == pytest.approx(
        reference.paper_categorical_crossentropy(x, 7), rel=ROUNDING
    )
    assert estimate_weight_bound(abs(x)) == pytest.approx(
        reference.paper_weight_bound(abs(x)), rel=ROUNDING
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 9),
    columns=st.integers(1, 4),
    use_bias=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_strict_constants_agree_with_the_reference(seed, rows, columns, use_bias):
    x = random_matrix(seed, rows, columns)
    y = random_matrix(seed + 1, rows, 2)
    options = {"use_bias": use_bias, "bound": "strict"}
    assert linear_regression_lipschitz(
        x, y, weight_bound=3.0, **options
    ) == pytest.approx(
        reference.strict_linear_regression(x, y, 3.0, use_bias=use_bias),
        rel=1e-6,  # The power method converges slowly at close singular values.
    )
    assert logistic_regression_lipschitz(x, **options) == pytest.approx(
        reference.strict("binary_crossentropy", x, 1, use_bias=use_bias), rel=ROUNDING
    )
    assert softmax_regression_lipschitz(x, 7, **options) == pytest.approx(
        reference.strict("categorical_crossentropy", x, 7, use_bias=use_bias),
        rel=ROUNDING,
    )


def test_half_of_the_loss_has_half_of_the_strict_constant():
    x, y = random_matrix(0, 9, 3), random_matrix(1, 9, 2)
    full = linear_regression_lipschitz(x, y, weight_bound=2.0, bound="strict")
    half = linear_regression_lipschitz(
        x, y, weight_bound=2.0, bound="strict", loss="half_mean_squared_error"
    )
    assert half == pytest.approx(full / 2, rel=ROUNDING)


def test_weight_bound_of_linear_regression_defaults_to_the_estimate():
    x, y = abs(random_matrix(0, 9, 3)), random_matrix(1, 9, 2)
    assert linear_regression_lipschitz(x, y) == linear_regression_lipschitz(
        x, y, weight_bound=estimate_weight_bound(x)
    )


def test_more_features_than_examples_take_the_smaller_gram_matrix():
    x, y = random_matrix(0, 2, 6), random_matrix(1, 2, 1)
    for bound in ("paper", "strict"):
        repeated = linear_regression_lipschitz(
            np.tile(x, (4, 1)), np.tile(y, (4, 1)), weight_bound=2.0, bound=bound
        )
        once = linear_regression_lipschitz(x, y, weight_bound=2.0, bound=bound)
        assert once == pytest.approx(repeated, rel=ROUNDING)


def squared_gradient(x, y, weights, bias):
    residual = x @ weights + bias - y
    m, k = y.shape
    return 2 / (m * k) * x.T @ residual, 2 / (m * k) * residual.sum(axis=0)


def binary_gradient(x, y, weights, bias):
    row = 1 / (1 + np.exp(-(x @ weights + bias))) - y
    return x.T @ row / len(x), row.mean(axis=0)


def softmax_gradient(x, y, weights, bias):
    scores = x @ weights + bias
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    row = exponentials / exponentials.sum(axis=1, keepdims=True) - y
    return x.T @ row / len(x), row.mean(axis=0)


def norm(weights, bias):
    return np.hypot(np.linalg.norm(weights), np.linalg.norm(bias))


def random_model(rng, columns, outputs):
    weights = rng.normal(size=(columns, outputs)) * rng.lognormal()
    return weights, rng.normal(size=outputs) * rng.lognormal()


@pytest.mark.parametrize("seed", range(50))
def test_strict_linear_constant_bounds_the_gradient(seed):
    x, y = random_matrix(seed, 8, 3), random_matrix(seed + 1, 8, 2)
    model = random_model(np.random.default_rng(seed), 3, 2)
    L = linear_regression_lipschitz(x, y, weight_bound=norm(*model), bound="strict")
    assert norm(*squared_gradient(x, y, *model)) <= L * (1 + ROUNDING)


def test_strict_linear_constant_is_attained():
    """One example, weights of norm K against it: residual K ||[x, 1]|| + |y|."""
    x, y = np.array([[3.0, 4.0]]), np.array([[7.0]])
    direction = -np.array([3.0, 4.0, 1.0]) / np.sqrt(26.0)
    weights, bias = 5.0 * direction[:2, np.newaxis], 5.0 * direction[2:]
    L = linear_regression_lipschitz(x, y, weight_bound=5.0, bound="strict")
    assert norm(*squared_gradient(x, y, weights, bias)) == pytest.approx(L)


@pytest.mark.parametrize("seed", range(50))
def test_strict_classification_constants_bound_the_gradient(seed):
    x, rng = random_matrix(seed, 8, 3), np.random.default_rng(seed)
    labels = rng.integers(2, size=(8, 1))
    classes = np.eye(4)[rng.integers(4, size=8)]
    binary = binary_gradient(x, labels, *random_model(rng, 3, 1))
    softmax = softmax_gradient(x, classes, *random_model(rng, 3, 4))
    L = logistic_regression_lipschitz(x, bound="strict")
    assert norm(*binary) <= L * (1 + ROUNDING)
    L = softmax_regression_lipschitz(x, 4, bound="strict")
    assert norm(*softmax) <= L * (1 + ROUNDING)


def test_paper_constants_are_exceeded_by_a_confident_wrong_model():
    """All examples alike and sigma(z) - y = 1: the gradient is ||[x, 1]||."""
    x, labels = np.full((16, 1), 2.0), np.zeros((16, 1))
    gradient = binary_gradient(x, labels, np.array([[50.0]]), np.array([0.0]))
    assert logistic_regression_lipschitz(x) == 0.25
    assert norm(*gradient) == pytest.approx(np.sqrt(5.0))
    assert logistic_regression_lipschitz(x, bound="strict") == pytest.approx(
        np.sqrt(5.0)
    )


def test_penalties_add_their_terms_to_all_three():
    x, y = random_matrix(0, 9, 2), random_matrix(1, 9, 1)
    gamma = np.diag([1.0, 3.0])
    options = {"l2": 0.5, "tikhonov": gamma, "weight_bound": 2.0, "bound": "strict"}
    plain = {"weight_bound": 2.0, "bound": "strict"}
    # 2 * 0.5 * 2 + 2 * 2 * 3 ** 2
    for model, arguments in (
        (linear_regression_lipschitz, (x, y)),
        (logistic_regression_lipschitz, (x,)),
        (softmax_regression_lipschitz, (x, 3)),
    ):
        term = model(*arguments, **options) - model(*arguments, **plain)
        assert term == pytest.approx(38.0)


def test_lists_and_integers_are_accepted():
    assert logistic_regression_lipschitz([[3, 0], [0, 4]]) == 1.25
    assert softmax_regression_lipschitz([[3, 0], [0, 4]], np.int64(2)) == 1.25


@pytest.mark.parametrize("classes", [1, 0, 2.0, True, "3", None])
def test_classes_that_are_no_number_of_classes_raise(classes):
    with pytest.raises(ValueError, match=r"`classes` must be .* Received: classes="):
        softmax_regression_lipschitz([[1.0]], classes)


def test_loss_without_a_formula_raises():
    with pytest.raises(ValueError, match=r"`loss` must be one of .* Received: loss='m"):
        linear_regression_lipschitz([[1.0]], [1.0], loss="mae")


@pytest.mark.parametrize(
    "call",
    [
        lambda: linear_regression_lipschitz([[1.0]], [1.0], bound="loose"),
        lambda: logistic_regression_lipschitz([[1.0]], bound="loose"),
        lambda: softmax_regression_lipschitz([[1.0]], 2, bound="loose"),
    ],
)
def test_unknown_bound_raises(call):
    with pytest.raises(ValueError, match=r"`bound` must be .* Received: bound='loose'"):
        call()


def test_rows_that_do_not_match_raise():
    with pytest.raises(ValueError, match="same number of rows"):
        linear_regression_lipschitz([[1.0], [2.0]], [1.0])


@pytest.mark.parametrize("x", [[1.0, 2.0], [[np.nan]], [[np.inf]], [[]], [["a"]]])
def test_matrix_that_is_none_raises(x):
    for call in (
        lambda: estimate_weight_bound(x),
        lambda: linear_regression_lipschitz(x, [1.0]),
        lambda: logistic_regression_lipschitz(x),
        lambda: softmax_regression_lipschitz(x, 2),
    ):
        with pytest.raises(ValueError, match="`x` must"):
            call()


@pytest.mark.parametrize("weight_bound", [0.0, -1.0, np.inf, np.nan])
def test_weight_bound_that_bounds_nothing_raises(weight_bound):
    with pytest.raises(ValueError, match="`weight_bound` must be finite and positive"):
        linear_regression_lipschitz([[1.0]], [1.0], weight_bound=weight_bound)


def test_estimate_that_is_not_positive_raises():
    with pytest.raises(ValueError, match=r"Received: x with an estimate of -1\.0"):
        estimate_weight_bound([[-1.0], [-1.0]])
