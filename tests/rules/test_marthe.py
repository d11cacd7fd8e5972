"""MARTHE's updates, worked by hand and beside the reference; and the reference itself.

The reference is checked against finite differences of plain training.
"""

import math
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_lr.rules import marthe
from tests.references import marthe as reference

NOT_FINITE = (math.nan, math.inf, -math.inf)
# Two ways of rounding, and 50 steps that add up.
ROUNDING = 1e-12
# The error of central differences at a relative step of 1e-5, about 1e-9, in sums.
DIFFERENCES = 1e-7
PENALTY = 0.125
OPTIMIZERS = {
    "sgd": (reference.SGD(), 0.5),
    "momentum": (reference.Momentum(0.875), 0.25),
    "adam": (reference.Adam(0.875, 0.96875, 2.0**-20), 0.125),
}
KERAS = {
    "sgd": keras.optimizers.SGD,
    "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.875),
    "adam": lambda rate: keras.optimizers.Adam(rate, 0.875, 0.96875, 2.0**-20),
}
each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def tensor(value):
    return ops.convert_to_tensor(value, dtype="float64")


def numbers(rule, *values, **options) -> Any:
    """The rule's answer as floats, to tensors of float64."""
    answer = rule(*map(tensor, values), **options)
    return tuple(map(float, answer)) if isinstance(answer, tuple) else float(answer)


@pytest.mark.parametrize("convert", [float, tensor])
@pytest.mark.parametrize(
    ("hypergradient", "expected"), [(1.0, 0.25), (-2.0, 1.0), (4.0, 0.0)]
)
def test_additive_update_descends_and_stops_at_0(convert, hypergradient, expected):
    """0.5 - 0.25 * 1 = 0.25, 0.5 + 0.25 * 2 = 1, and 0.5 - 0.25 * 4 < 0."""
    moved = marthe.additive_update(convert(0.5), convert(hypergradient), convert(0.25))
    assert float(moved) == expected


@pytest.mark.parametrize(
    ("cosine", "expected"), [(1.0, 0.125), (0.5, 0.25), (0.0, 0.5), (-0.5, 1.0)]
)
def test_log_update_multiplies_by_a_power(cosine, expected):
    """0.5 * exp(-ln(4) cos) = 0.5 * 4^-cos."""
    moved = numbers(marthe.log_update, 0.5, cosine, math.log(4.0))
    assert moved == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("cosine", [-1.0, 0.0, 0.5])
def test_momentum_moves_by_its_distance_from_1(cosine):
    """A negative hypergradient raises it, and so shortens the distance."""
    momentum = marthe.log_complement_update(0.75, cosine, 0.5)
    assert float(momentum) == pytest.approx(1 - 0.25 * math.exp(0.5 * cosine), rel=1e-6)


@pytest.mark.parametrize("convert", [float, tensor])
@pytest.mark.parametrize(("product", "expected"), [(6.0, 0.5), (-12.0, -1.0)])
def test_cosine_is_the_product_by_the_norms(convert, product, expected):
    """6 / (3 * 4) = 0.5, of ||Z||^2 = 9 and ||grad E||^2 = 16."""
    cosine = marthe.cosine(convert(product), convert(9.0), convert(16.0))
    assert float(cosine) == expected


@pytest.mark.parametrize("size", [1e-200, 1e-100, 1e100, 1e300])
def test_cosine_neither_overflows_nor_underflows_before_the_norms(size):
    """The product of the squares does, of (size * size) or of its inverse."""
    cosine = numbers(marthe.cosine, 0.5 * size, size, size)
    assert cosine == pytest.approx(0.5, rel=ROUNDING)


@pytest.mark.parametrize(
    "values", [(0.0, 0.0, 4.0), (0.0, 4.0, 0.0), (0.0, 0.0, 0.0), (2.0, 0.0, 4.0)]
)
def test_cosine_with_a_vector_of_norm_0_is_0(values):
    assert numbers(marthe.cosine, *values) == 0.0


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_cosine_of_what_is_not_finite_is_0(value, place):
    values = [6.0, 9.0, 16.0]
    values[place] = value
    assert numbers(marthe.cosine, *values) == 0.0


@pytest.mark.parametrize(
    ("previous", "expected"), [(3.0, 2.0), (-0.5, 0.25), (-3.0, 0.0), (0.0, 0.5)]
)
def test_hyper_learning_rate_rises_while_hypergradients_agree(previous, expected):
    """0.5 + 0.25 * 2 * 3 = 2, 0.5 - 0.25 * 2 * 0.5 = 0.25, and 0.5 - 1.5 < 0."""
    rule = marthe.adapted_hyper_learning_rate
    assert numbers(rule, 0.5, 2.0, previous, step_size=0.25) == expected


@pytest.mark.parametrize("convert", [float, tensor])
@pytest.mark.parametrize(
    ("hypergradient", "expected"), [(1.0, 0.5), (16.0, 1.0), (20.0, 1.0), (-1.0, 0.0)]
)
def test_discount_is_the_root_of_the_clipped_quotient(convert, hypergradient, expected):
    """(1 / 16)^(1 / (3 + 1)) = 0.5, and c = 0.25 * (1 + 3) = 1, of the old mu."""
    values = map(convert, (0.25, 3.0, hypergradient, 16.0))
    discount, horizon = marthe.adapted_discount(*values)
    assert (float(discount), float(horizon)) == (expected, 1.0)


@pytest.mark.parametrize("hypergradient", [0.0, 2.0, -2.0])
def test_discount_is_0_if_the_one_step_hypergradient_is_0(hypergradient):
    answer = numbers(marthe.adapted_discount, 0.25, 3.0, hypergradient, 0.0)
    assert answer == (0.0, 1.0)


@pytest.mark.parametrize("size", [1e-300, 1e-200, -1e-200, 1e200, 1e300])
def test_quotient_is_right_where_its_squares_are_not_numbers(size):
    """(1 / 4)^(1 / (1 + 1)) = 0.5; the square of 1e-200 is 0."""
    answer = numbers(marthe.adapted_discount, 0.5, 1.0, 0.25 * size, size)
    assert answer == pytest.approx((0.5, 1.0), rel=ROUNDING)


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 1.0), (-1.0, 0.0)])
def test_quotient_that_overflows_is_clipped(sign, expected):
    answer = numbers(marthe.adapted_discount, 0.5, 1.0, sign * 1e300, 1e-300)
    assert answer == (expected, 1.0)


def test_horizon_counts_the_steps_that_agree():
    """As mu = 1 from the second step on: c = 0, 0, 1, 2, 3."""
    discount, horizon, seen = tensor(0.0), tensor(0.0), []
    for _ in range(4):
        discount, horizon = marthe.adapted_discount(
            discount, horizon, tensor(2.0), tensor(2.0)
        )
        seen.append((float(discount), float(horizon)))
    assert seen == [(1.0, 0.0), (1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("rule", [marthe.additive_update, marthe.log_update])
def test_rate_stays_if_what_moves_it_is_not_finite(rule, value):
    """Delta or the cosine first, then the step size, of both signs of the other."""
    answers = [numbers(rule, 0.5, value, 0.25)]
    answers += [numbers(rule, 0.5, other, value) for other in (2.0, -2.0)]
    assert answers == [0.5, 0.5, 0.5]


def test_rate_that_would_overflow_stays():
    assert numbers(marthe.additive_update, 0.5, -1e300, 1e300) == 0.5
    assert numbers(marthe.log_update, 0.5, -1.0, 1e3) == 0.5


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("other", [2.0, -2.0])
def test_hyper_learning_rate_stays_if_a_hypergradient_is_not_finite(value, other):
    rule = marthe.adapted_hyper_learning_rate
    assert numbers(rule, 0.5, value, other, step_size=0.25) == 0.5
    assert numbers(rule, 0.5, other, value, step_size=0.25) == 0.5


@pytest.mark.parametrize("value", NOT_FINITE)
def test_discount_and_horizon_stay_if_a_hypergradient_is_not_finite(value):
    rule = marthe.adapted_discount
    assert numbers(rule, 0.25, 3.0, value, 2.0) == (0.25, 3.0)
    assert numbers(rule, 0.25, 3.0, 2.0, value) == (0.25, 3.0)
    assert numbers(rule, 0.25, 3.0, value, value) == (0.25, 3.0)


@given(st.floats(0.0, 1e6), st.floats(), st.floats(0.0, 1e6))
@settings(max_examples=60, deadline=None)
def test_rate_is_never_negative(rate, direction, step_size):
    for rule in (marthe.additive_update, marthe.log_update):
        moved = numbers(rule, rate, direction, step_size)
        assert 0.0 <= moved < math.inf


@given(st.floats(0.0, 1e6), st.floats(), st.floats())
@settings(max_examples=60, deadline=None)
def test_hyper_learning_rate_is_never_negative(beta, hypergradient, previous):
    rule = marthe.adapted_hyper_learning_rate
    moved = numbers(rule, beta, hypergradient, previous, step_size=0.25)
    assert 0.0 <= moved < math.inf


@given(st.floats(0.0, 1.0), st.floats(0.0, 1e6), st.floats(), st.floats())
@settings(max_examples=60, deadline=None)
def test_discount_is_from_0_to_1(discount, horizon, hypergradient, one_step):
    given_both = discount, horizon, hypergradient, one_step
    adapted, counted = numbers(marthe.adapted_discount, *given_both)
    assert 0.0 <= adapted <= 1.0
    assert 0.0 <= counted <= horizon + 1.0


def next_scalars(scalars, Delta, one_step, Z, grad_E):
    """`reference.Scalars.move` of an adaptive mu, by the rules."""
    rate, beta, mu, c, last = scalars
    beta = marthe.adapted_hyper_learning_rate(beta, Delta, last, 0.05)
    mu, c = marthe.adapted_discount(mu, c, Delta, one_step)
    cosine = marthe.cosine(ops.sum(Z * grad_E), ops.sum(Z * Z), ops.sum(grad_E**2))
    additive = marthe.additive_update(rate[0], Delta, beta)
    log = marthe.log_update(rate[1], cosine, beta)
    return (additive, log), beta, mu, c, Delta


def test_fifty_random_steps_are_those_of_the_reference():
    # With this seed the rate, beta and mu all reach 0 and leave it again.
    rng = np.random.default_rng(5)
    options = {"hyper_learning_rate": 0.05, "step_size": 0.05}
    additive = reference.Scalars(0.05, update="additive", **options)
    log = reference.Scalars(0.05, update="log", **options)
    scalars = (tensor([0.05, 0.05]), *map(tensor, (0.05, 0.0, 0.0, 0.0)))
    answers, expected = [], []
    for one_step in rng.normal(size=50):
        Delta = one_step * rng.uniform(-0.2, 1.5)
        Z, grad_E = rng.normal(size=(2, 5))
        for each in (additive, log):
            each.move(Delta, one_step, reference.cosine(Z, grad_E))
        expected.append([additive.eta, log.eta, log.beta, log.mu, log.c])
        seen = map(tensor, (Delta, one_step, Z, grad_E))
        scalars = next_scalars(scalars, *seen)
        rates, *others, _ = scalars
        answers.append([float(each) for each in (*rates, *others)])
    assert np.min(expected, axis=0)[[0, 2, 3]].tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(answers, expected, rtol=ROUNDING, atol=0.0)


def draw(rng, rows):
    return rng.normal(size=(rows, 4)), rng.integers(0, 3, rows)


@pytest.fixture
def problem():
    """Weights of 4 features and 3 classes, 6 batches, and validation data."""
    # With this seed the rates of `run` touch both of their bounds.
    rng = np.random.default_rng(0)
    batches = [draw(rng, 6) for _ in range(6)]
    return 0.5 * rng.normal(size=15), batches, draw(rng, 7)


def loss_after(optimizer, rates, problem):
    """E after plain training at these rates."""
    weights, batches, validation = problem
    state = (weights, *optimizer.slots(weights))
    for rate, batch in zip(rates, batches, strict=True):
        g = reference.gradient(state[0], *batch, penalty=PENALTY)
        state = optimizer.step(state, g, rate)
    return reference.cross_entropy(state[0], *validation)


def derivative(function, x):
    h = 1e-5 * x
    return (function(x + h) - function(x - h)) / (2 * h)


@each_optimizer
def test_steps_of_the_reference_are_those_of_keras(name, problem):
    optimizer, rate = OPTIMIZERS[name]
    weights, batches, _ = problem
    variable = keras.Variable(weights, dtype="float64")
    of_keras = KERAS[name](rate)
    state = (weights, *optimizer.slots(weights))
    for batch in batches:
        g = reference.gradient(state[0], *batch)
        state = optimizer.step(state, g, rate)
        of_keras.apply([tensor(g)], [variable])
    np.testing.assert_allclose(variable.numpy(), state[0], rtol=0.0, atol=ROUNDING)


def test_loss_of_the_reference_is_that_of_keras(problem):
    weights, ((x, y), *_), _ = problem
    kernel, bias = weights[:12].reshape(4, 3), weights[12:]
    losses = keras.losses.sparse_categorical_crossentropy(
        y, tensor(x @ kernel + bias), from_logits=True
    )
    expected = ops.mean(losses) + keras.regularizers.L2(PENALTY)(tensor(kernel))
    loss = reference.cross_entropy(weights, x, y, PENALTY)
    assert loss == pytest.approx(float(expected), rel=ROUNDING)


def test_gradient_of_the_reference_is_that_of_its_loss(problem):
    weights, (batch, *_), _ = problem

    def loss(w):
        return reference.cross_entropy(w, *batch, penalty=PENALTY)

    differences = [
        (loss(weights + h) - loss(weights - h)) / 2e-5 for h in 1e-5 * np.eye(15)
    ]
    gradient = reference.gradient(weights, *batch, penalty=PENALTY)
    np.testing.assert_allclose(differences, gradient, rtol=0.0, atol=1e-9)


@each_optimizer
def test_tangent_with_discount_1_is_the_derivative_by_a_constant_rate(name, problem):
    optimizer, rate = OPTIMIZERS[name]
    options = {"learning_rate": rate, "discount": 1.0, "penalty": PENALTY}
    history = reference.marthe(optimizer, *problem, **options)
    slope = derivative(lambda x: loss_after(optimizer, [x] * 6, problem), rate)
    assert history["hypergradient"][-1] == pytest.approx(slope, rel=DIFFERENCES)


@each_optimizer
def test_tangent_with_discount_0_is_that_of_the_last_step(name, problem):
    """B = -g without and with momentum, and (w_{t+1} - w_t) / eta in Adam."""
    optimizer, rate = OPTIMIZERS[name]
    weights, batches, validation = problem
    options = {"learning_rate": rate, "discount": 0.0, "penalty": PENALTY}
    history = reference.marthe(optimizer, *problem, **options)
    w = [weights, *history["weights"]]
    for t, batch in enumerate(batches):
        loss = reference.cross_entropy(w[t], *batch, penalty=PENALTY)
        assert history["loss"][t] == pytest.approx(loss, rel=ROUNDING)
        g = reference.gradient(w[t], *batch, penalty=PENALTY)
        B = (w[t + 1] - w[t]) / rate if name == "adam" else -g
        expected = B @ reference.gradient(w[t + 1], *validation)
        assert history["hypergradient"][t] == pytest.approx(expected, rel=1e-9)
    assert history["one_step"] == history["hypergradient"]


def derivative_by_rate(i, optimizer, rates, problem):
    """The derivative of E after the last step with respect to the rate of step i."""

    def loss(x):
        return loss_after(optimizer, [*rates[:i], x, *rates[i + 1 :]], problem)

    return derivative(loss, rates[i])


@pytest.mark.parametrize("discount", [0.75, "adaptive"])
@each_optimizer
def test_hypergradient_is_the_discounted_sum_of_derivatives(name, discount, problem):
    """Equation 11: derivatives with respect to the rates of all earlier steps."""
    optimizer, rate = OPTIMIZERS[name]
    options = {"hyper_learning_rate": 0.005, "step_size": 0.01, "penalty": PENALTY}
    options |= {"learning_rate": rate, "discount": discount}
    history = reference.marthe(optimizer, *problem, **options)
    weights, batches, validation = problem
    sums = []
    for t in range(1, 7):
        mu, rates = history["discount"][:t], history["learning_rate"][:t]
        past = (weights, batches[:t], validation)
        terms = [
            math.prod(mu[i + 1 :]) * derivative_by_rate(i, optimizer, rates, past)
            for i in range(t)
        ]
        sums.append(sum(terms))
    assert history["hypergradient"] == pytest.approx(sums, rel=DIFFERENCES)


@each_optimizer
def test_hyper_learning_rate_descends(name, problem):
    """dE(w_2) / dbeta = -Delta_2 Delta_1: the paper's minus would ascend."""
    optimizer, rate = OPTIMIZERS[name]
    weights, batches, validation = problem
    two_steps = (weights, batches[:2], validation)

    def history(beta):
        options = {"discount": 0.0, "penalty": PENALTY, "hyper_learning_rate": beta}
        return reference.marthe(optimizer, *two_steps, learning_rate=rate, **options)

    slope = derivative(lambda beta: history(beta)["validation_loss"][1], 0.5)
    first, second = history(0.5)["hypergradient"]
    rule = marthe.adapted_hyper_learning_rate
    # Small enough that beta stays above 0.
    moved = numbers(rule, 0.5, second, first, step_size=2.0**-7)
    assert moved - 0.5 == pytest.approx(-(2.0**-7) * slope, rel=DIFFERENCES)


@pytest.fixture(params=["additive", "log"])
def run(problem, request):
    """A history that touches both bounds of the rate, and what it was made with."""
    options = {"learning_rate": 0.25, "hyper_learning_rate": 0.1, "step_size": 8.0}
    options |= {"update": request.param, "minimum": 0.2, "maximum": 0.3}
    optimizer = reference.Momentum(0.875)
    history = reference.marthe(optimizer, *problem, validation_batch_size=3, **options)
    return request.param, history, problem[2]


def test_validation_batches_go_round(run):
    """Rows 0, 1, 2, then 3, 4, 5, then 6, 0, 1, ..."""
    _, history, (x, y) = run
    for t, w in enumerate(history["weights"]):
        rows = [(3 * t + k) % 7 for k in range(3)]
        expected = reference.cross_entropy(w, x[rows], y[rows])
        assert history["validation_loss"][t] == pytest.approx(expected, rel=ROUNDING)
        Delta = history["tangent"][t] @ reference.gradient(w, x[rows], y[rows])
        assert history["hypergradient"][t] == pytest.approx(Delta, rel=ROUNDING)


def test_scalars_of_a_step_move_those_of_the_next(run):
    update, history, data = run
    Delta = [0.0, *history["hypergradient"]]
    rate, beta, mu, c = 0.25, 0.1, 0.0, 0.0
    for t in range(6):
        assert history["learning_rate"][t] == pytest.approx(rate, rel=ROUNDING)
        assert history["discount"][t] == mu
        beta = max(0.0, beta + 8.0 * Delta[t + 1] * Delta[t])
        assert history["hyper_learning_rate"][t] == beta
        mu, c = reference.next_mu(mu, c, Delta[t + 1], history["one_step"][t])
        if update == "additive":
            rate -= beta * Delta[t + 1]
        else:
            w, batch = history["weights"][t], reference.validation_batch(data, t, 3)
            cos = reference.cosine(history["tangent"][t], reference.gradient(w, *batch))
            rate *= math.exp(-beta * cos)
        rate = min(max(rate, 0.2), 0.3)
    assert {0.2, 0.3} <= set(history["learning_rate"])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(500.0, 0.99), (5000.0, 0.999), (5.0, 0.0), (2.0, 0.0), (0.0, 0.99)],
)
def test_discount_looks_back_a_part_of_the_training(steps, expected):
    """1 - 1 / (T / 5), not below 0; 0.99 where nobody knows T."""
    discount = numbers(marthe.horizon_discount, steps, memory=0.2)
    assert discount == pytest.approx(expected, rel=1e-15)


def test_training_without_an_end_has_the_safe_discount():
    discount = numbers(marthe.horizon_discount, math.inf, memory=0.2)
    assert discount == marthe.SAFE_DISCOUNT


@pytest.mark.parametrize(
    ("moved", "overshoot", "expected"),
    [(2.0, 0.25, 2.0), (2.0, 0.5, 1.0), (0.5, 0.5, 0.5), (2.0, math.nan, 2.0)],
)
def test_rate_does_not_rise_after_an_overshoot(moved, overshoot, expected):
    assert numbers(marthe.braked, moved, 1.0, overshoot, limit=0.3) == expected


@pytest.mark.parametrize(
    ("hypergradient", "largest", "usual", "expected"),
    [
        (1.0, 4.0, 2.0, 0.5),
        (1.0, 2.0, 4.0, 0.25),
        (0.0, 4.0, 1.0, 0.0),
        (-1.0, 4.0, 2.0, -0.25),
        (-1.0, 2.0, 4.0, -0.25),
        (3.0, 4.0, 2.0, 1.0),
        (-4.0, 4.0, 1.0, -1.0),
    ],
)
def test_large_gradient_lowers_the_rate_by_more_but_raises_it_by_its_own_size(
    hypergradient, largest, usual, expected
):
    """A part of the usual size, and for a rise of its own if that is larger."""
    assert numbers(marthe.agreement, hypergradient, largest, usual) == expected


@pytest.mark.parametrize(
    "values", [(1.0, 0.0, 0.0), (math.nan, 1.0, 1.0), (math.inf, math.inf, 1.0)]
)
def test_agreement_of_nothing_and_of_what_is_not_finite_is_0(values):
    assert numbers(marthe.agreement, *values) == 0.0


def test_agreement_is_the_cosine_times_half_of_pi_where_entries_are_normal():
    """To the error of a mean over a million entries."""
    rng = np.random.default_rng(0)
    Z, noise = rng.normal(size=(2, 1_000_000))
    grad_E = 0.02 * Z + noise
    cosine = reference.cosine(Z, grad_E)
    votes = np.abs(Z * grad_E).sum()
    found = numbers(marthe.agreement, Z @ grad_E, votes, votes)
    assert found == pytest.approx(math.pi / 2 * cosine, rel=0.01)


@pytest.mark.parametrize(
    ("largest", "rate", "expected"),
    [(3.0, 0.5, 8.0), (0.0, 0.5, 2.0), (3.0, 0.0, 2.0), (math.nan, 0.5, 2.0)],
)
def test_path_grows_by_the_fastest_weight(largest, rate, expected):
    """4, of which a half is remembered, and 3 / 0.5."""
    assert numbers(marthe.longer_path, 4.0, 0.5, largest, rate) == expected
