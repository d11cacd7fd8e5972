"""Constants of Keras's losses: slow references, true gradients, and worst cases."""

import dataclasses
import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lr.rules import lipschitz
from tests.references import lipschitz as reference

BENCHMARKS = Path(__file__).parents[2] / "examples" / "benchmarks"
# Rounding of float64 sums over a few hundred entries.
ROUNDING = 1e-10
# Two ways of rounding the same gradient, also where probabilities are clipped.
TOLERANCE = 1e-9
WITHOUT_PAPER_FORMULA = ("hinge", "huber", "log_cosh", "mean_absolute_error")

sizes = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(1, 8),
    st.integers(1, 5),
    st.integers(1, 4),
    st.booleans(),
)


def to_float(tensor):
    return float(np.asarray(tensor))


def draw(seed, m, d, k):
    rng = np.random.default_rng(seed)
    scale = rng.lognormal(sigma=2.0)
    return [rng.normal(size=shape) * scale for shape in ((m, d), (m, k), (m, k))]


@given(sizes)
@settings(max_examples=40, deadline=None)
def test_paper_bounds_agree_with_the_reference(size):
    seed, m, d, k, use_bias = size
    a, outputs, targets = draw(seed, m, d, k)
    sums = lipschitz.measure(a, use_bias=use_bias)
    bound = lipschitz.paper_bound(
        lipschitz.loss_constants("binary_crossentropy", 1), sums
    )
    assert to_float(bound) / m == pytest.approx(
        reference.paper_binary_crossentropy(a), rel=ROUNDING
    )
    for loss in ("categorical_crossentropy", "sparse_categorical_crossentropy"):
        bound = lipschitz.paper_bound(lipschitz.loss_constants(loss, k + 1), sums)
        assert to_float(bound) / m == pytest.approx(
            reference.paper_categorical_crossentropy(a, k + 1), rel=ROUNDING
        )
    sums = lipschitz.measure(a, use_bias=use_bias, outputs=outputs, targets=targets)
    bound = lipschitz.paper_bound(
        lipschitz.loss_constants("mean_squared_error", k), sums
    )
    assert to_float(bound) / m == pytest.approx(
        reference.paper_mean_squared_error(a, outputs, targets),
        # The norms may cancel: relative to what is subtracted.
        abs=ROUNDING * reference.frobenius(a) * reference.frobenius(outputs),
    )


@pytest.mark.parametrize(
    "loss",
    [loss for loss in lipschitz.SUPPORTED_LOSSES if loss != "mean_squared_error"],
)
@given(sizes)
@settings(max_examples=15, deadline=None)
def test_strict_bound_agrees_with_the_reference(loss, size):
    seed, m, d, k, use_bias = size
    a = draw(seed, m, d, k)[0]
    sums = lipschitz.measure(a, use_bias=use_bias)
    bound = lipschitz.strict_bound(
        lipschitz.loss_constants(loss, k, delta=0.7), sums, "sum_over_batch_size"
    )
    expected = reference.strict(loss, a, k, use_bias=use_bias, delta=0.7)
    assert to_float(bound) == pytest.approx(expected, rel=ROUNDING)


@given(sizes)
@settings(max_examples=40, deadline=None)
def test_strict_bound_of_squares_agrees_with_the_reference(size):
    seed, m, d, k, use_bias = size
    a, outputs, targets = draw(seed, m, d, k)
    sums = lipschitz.measure(a, use_bias=use_bias, outputs=outputs, targets=targets)
    constants = lipschitz.loss_constants("mean_squared_error", k)
    bound = lipschitz.strict_bound(constants, sums, "sum_over_batch_size")
    expected = reference.strict_mean_squared_error(
        a, outputs, targets, use_bias=use_bias
    )
    assert to_float(bound) == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("loss", lipschitz.SUPPORTED_LOSSES)
def test_every_supported_loss_has_constants(loss):
    constants = lipschitz.loss_constants(loss, 2)
    assert constants.row_bound > 0
    assert constants.uses_residuals == (loss == "mean_squared_error")


@pytest.mark.parametrize("loss", WITHOUT_PAPER_FORMULA)
def test_losses_that_the_paper_does_not_treat_have_no_paper_form(loss):
    with pytest.raises(ValueError, match=f"the loss '{loss}' with 1 outputs: the pap"):
        lipschitz.loss_constants(loss, 1).require_form("paper", loss, 1)
    lipschitz.loss_constants(loss, 1).require_form("strict", loss, 1)


def test_binary_crossentropy_has_a_paper_form_for_one_output_only():
    loss = "binary_crossentropy"
    lipschitz.loss_constants(loss, 1).require_form("paper", loss, 1)
    with pytest.raises(ValueError, match="with 2 outputs"):
        lipschitz.loss_constants(loss, 2).require_form("paper", loss, 2)


def test_constant_counts_by_the_root_of_its_age():
    """sqrt((10 + 0) / (10 + 30))."""
    assert to_float(lipschitz.memory_after(np.float64(0.0), np.float64(30.0))) == 0.5


@pytest.mark.parametrize(
    ("constant", "held", "memory", "expected"),
    [
        (3.0, 2.0, 1.0, 3.0),
        (1.0, 2.0, 1.0, 2.0),
        (1.0, 2.0, 0.75, 1.5),
        (1.0, 2.0, 0.0, 1.0),
        # A constant that says nothing leaves what is held.
        (0.0, 2.0, 0.0, 2.0),
        (math.nan, 2.0, 0.5, 2.0),
        (math.inf, 2.0, 1.0, 2.0),
    ],
)
def test_held_maximum_follows_its_memory(constant, held, memory, expected):
    value = lipschitz.held_maximum(np.float64(constant), np.array(held), memory)
    assert to_float(value) == expected


@pytest.mark.parametrize(
    ("constant", "expected"),
    [(4.0, 0.5), (1e-9, 8.0), (1e9, 0.125), (0.0, 3.0), (math.nan, 3.0), (-1.0, 3.0)],
)
def test_learning_rate_is_the_inverse_within_limits_or_the_current_one(
    constant, expected
):
    rate = lipschitz.learning_rate(
        np.float64(constant), np.float64(3.0), scale=2.0, minimum=0.125, maximum=8.0
    )
    assert to_float(rate) == expected


def test_cifar10_constant_is_the_published_one():
    """(k-1)/(k m) K_z + lambda max||w|| = 1.496581 for the paper's ResNet20."""
    sums = lipschitz.measure(np.array([[206.695]]))
    constants = lipschitz.loss_constants("categorical_crossentropy", 10)
    L = to_float(lipschitz.paper_bound(constants, sums)) / 128 + 1e-3 * 43.257
    assert pytest.approx(1.496581, abs=5e-7) == L
    rate = 1 / L
    assert rate == pytest.approx(0.668190, abs=5e-7)


def test_unknown_loss_raises_and_names_the_supported_ones():
    with pytest.raises(ValueError, match=r"'hinge'.* Received: loss='poisson'"):
        lipschitz.loss_constants("poisson", 1)


def test_half_precision_does_not_overflow():
    # 300 squared is above the largest float16.
    sums = lipschitz.measure(np.full((2, 1), 300.0, "float16"), use_bias=False)
    assert to_float(sums.squared_inputs) == 180_000.0


def test_sums_are_additive_over_replicas():
    a, outputs, targets = draw(0, 6, 3, 2)
    weights = np.linspace(0.0, 2.0, 6)

    def fields(rows):
        sums = lipschitz.measure(
            a[rows],
            row_weights=weights[rows],
            outputs=outputs[rows],
            targets=targets[rows],
        )
        return np.array([to_float(value) for value in vars(sums).values()])

    first, second = slice(0, 2), slice(2, 6)
    np.testing.assert_allclose(fields(first) + fields(second), fields(slice(0, 6)))


def test_leading_axes_are_rows():
    a = draw(0, 6, 3, 2)[0]
    flat, folded = lipschitz.measure(a), lipschitz.measure(a.reshape(2, 3, 3))
    for field in dataclasses.fields(flat):
        one, other = getattr(flat, field.name), getattr(folded, field.name)
        assert to_float(one) == pytest.approx(to_float(other), rel=ROUNDING)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 1)])
def test_row_weights_of_any_shape_of_keras_are_spread_over_time(shape):
    """By hand: rows of length 5, bias off, weights that sum to 6 over six rows."""
    a = np.tile([3.0, 4.0], (2, 3, 1))
    sums = lipschitz.measure(a, use_bias=False, row_weights=np.ones(shape))
    assert to_float(sums.reach) == 30.0


def test_negative_weights_count_by_their_size():
    a = np.array([[3.0, 4.0], [6.0, 8.0]])
    sums = lipschitz.measure(a, use_bias=False, row_weights=np.array([-1.0, 2.0]))
    assert to_float(sums.reach) == 25.0
    assert to_float(sums.weights) == 1.0


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("sum", 25.0),
        ("mean_with_sample_weight", 25.0 / 3.0),
        ("sum_over_batch_size", 12.5),
        ("mean", 12.5),
    ],
)
def test_reduction_divides_as_keras_does(reduction, expected):
    a = np.array([[3.0, 4.0], [6.0, 8.0]])
    sums = lipschitz.measure(a, use_bias=False, row_weights=np.array([1.0, 2.0]))
    constants = lipschitz.loss_constants("hinge", 1)
    bound = lipschitz.strict_bound(constants, sums, reduction)
    assert to_float(bound) == pytest.approx(expected)


def test_weights_that_sum_to_zero_give_no_bound_as_keras_gives_no_loss():
    sums = lipschitz.measure(np.ones((2, 1)), row_weights=np.zeros(2))
    constants = lipschitz.loss_constants("hinge", 1)
    bound = lipschitz.strict_bound(constants, sums, "mean_with_sample_weight")
    assert to_float(bound) == 0.0


def test_regularizer_bound_agrees_with_the_reference():
    gamma = np.random.default_rng(0).normal(size=(3, 3))
    bound = lipschitz.regularizer_bound(
        2.0, 6, l1=0.1, l2=0.3, tikhonov=np.linalg.norm(gamma, ord=2) ** 2
    )
    expected = (
        reference.strict_l2(0.3, 2.0)
        + reference.strict_l1(0.1, 6)
        + reference.strict_tikhonov(gamma, 2.0)
    )
    assert bound == pytest.approx(expected)


@pytest.mark.parametrize(
    ("constant", "expected"),
    [
        (4.0, 0.5),
        (1e9, 0.01),
        (1e-9, 1.0),
        (0.0, 0.3),
        (-1.0, 0.3),
        (math.inf, 0.3),
        (math.nan, 0.3),
    ],
)
def test_learning_rate_is_the_inverse_within_its_limits(constant, expected):
    rate = lipschitz.learning_rate(
        np.float32(constant), np.float32(0.3), scale=2.0, minimum=0.01, maximum=1.0
    )
    assert to_float(rate) == pytest.approx(expected)


# --- Against autodiff through Keras's own losses -----------------------------------


@pytest.fixture(scope="module")
def excess():
    """The benchmark, which draws random last layers and differentiates them."""
    path = BENCHMARKS / "lipschitz_excess.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[path.stem]


def assert_strict_bound_holds(excess, loss, count, seed):
    seen = 0
    settings = excess.all_settings(loss)
    for setting, norms in excess.measure_random(settings, count=count, seed=seed):
        assert np.all(np.isfinite(norms.gradient)), setting
        assert np.all(norms.gradient <= norms.strict * (1 + TOLERANCE)), setting
        seen += len(norms.gradient)
    assert seen == count


def test_benchmark_draws_every_supported_loss(excess):
    assert sorted(excess.LOSSES) == sorted(lipschitz.SUPPORTED_LOSSES)


@pytest.mark.parametrize("loss", lipschitz.SUPPORTED_LOSSES)
def test_settings_cover_what_keras_offers(excess, loss):
    settings = excess.all_settings(loss)
    assert {setting.reduction for setting in settings} == set(excess.REDUCTIONS)
    assert {setting.use_bias for setting in settings} == {True, False}
    assert {setting.is_sequence for setting in settings} == {True, False}
    assert {setting.is_weighted for setting in settings} == {True, False}


@pytest.mark.parametrize("loss", lipschitz.SUPPORTED_LOSSES)
def test_strict_bound_holds_in_a_few_random_draws(excess, loss):
    setting = excess.all_settings(loss)[0]
    rng = np.random.default_rng(1)
    norms = excess.measure(
        setting, [excess.random_draw(rng, setting) for _ in range(30)]
    )
    assert np.all(norms.gradient <= norms.strict * (1 + TOLERANCE))


@pytest.mark.slow
@pytest.mark.parametrize("loss", lipschitz.SUPPORTED_LOSSES)
def test_strict_bound_holds_in_ten_thousand_random_draws(excess, loss):
    assert_strict_bound_holds(excess, loss, count=10_000, seed=0)


def worst_targets(loss, m, k):
    """Labels that the outputs of `worst_draw` miss by as much as they can."""
    if loss == "sparse_categorical_crossentropy":
        return np.zeros(m)
    if loss == "categorical_crossentropy":
        return np.tile(np.eye(k)[0], (m, 1))
    return np.full((m, k), -1.0 if loss == "hinge" else 0.0)


def worst_draw(excess, loss, k):
    """All rows alike, and all outputs wrong with confidence."""
    m = 4
    a = np.array([1.0, -2.0, 2.0])
    outputs = np.full(k, 10.0)
    if loss.endswith("categorical_crossentropy"):
        # One wrong class: p - y has two entries, 1 and -1. More would be clipped.
        outputs = np.where(np.arange(k) == 1, 5.0, -5.0)
    return excess.Draw(
        inputs=np.tile(a, (m, 1)),
        kernel=np.outer(a, outputs) / (a @ a),
        bias=np.zeros(k),
        targets=worst_targets(loss, m, k),
        weights=np.ones(m),
    )


@pytest.mark.parametrize("outputs", [2, 7])
@pytest.mark.parametrize("loss", lipschitz.SUPPORTED_LOSSES)
def test_strict_bound_is_attained_in_the_worst_case(excess, loss, outputs):
    worst = worst_draw(excess, loss, outputs)
    for setting in excess.plain_settings(loss):
        if setting.label_smoothing == 0.0:
            norms = excess.measure(setting, [worst])
            assert norms.gradient > 0.999 * norms.strict, setting
            assert norms.gradient <= (1 + TOLERANCE) * norms.strict, setting


@pytest.mark.parametrize("loss", ["binary_crossentropy", "hinge", "mean_squared_error"])
def test_strict_bound_is_attained_with_one_output(excess, loss):
    norms = excess.measure(
        excess.plain_settings(loss)[0], [worst_draw(excess, loss, 1)]
    )
    assert norms.gradient > 0.999 * norms.strict


@pytest.mark.parametrize(
    "loss", ["binary_crossentropy", "categorical_crossentropy", "mean_squared_error"]
)
def test_paper_bound_is_exceeded_in_the_worst_case(excess, loss):
    outputs = 1 if loss == "binary_crossentropy" else 2
    setting = excess.plain_settings(loss)[0]
    draw = worst_draw(excess, loss, outputs)
    if loss == "mean_squared_error":
        # Targets as long as the outputs, on the other side: K_a - ||y|| = 0.
        draw = dataclasses.replace(draw, targets=np.full((4, 2), -10.0))
    norms = excess.measure(setting, [draw])
    assert norms.gradient > 1.5 * norms.paper


def test_one_row_of_the_excess_table_counts_its_draws(excess):
    row = excess.excess_of("categorical_crossentropy", count=60, seed=3)
    assert row["draws"] == row["draws_with_paper_formula"] == 60
    assert row["strict_exceeded"] == 0
    assert float(row["paper_exceeded_percent"]) > 50
