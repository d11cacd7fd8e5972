"""MARTHE, slowly: Algorithm 1 of arXiv:1910.08525 on softmax regression, in float64.

All tangents are derivatives by the complex step, f'(x) = Im f(x + ih) / h, of an
optimizer's step and of the gradient: A_t, B_t and H_t are nowhere derived by hand.

Where the paper is open to more than one reading: Z_0 = 0, as Algorithm 1 has it, not
B_0, as equation 9 has it; beta_{t+1} = beta_t + kappa Delta_{t+1} Delta_t, because
descent asks for the plus; q~ is Delta / g1, 0 where g1 = 0; Delta_0 = 0. After a step
Delta and g1 are those at w_{t+1}; then beta, mu and eta move, in this order.

A state is (weights, *slots), flat arrays all. The weights are the kernel, row by row,
and then the bias.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
State = tuple[Array, ...]
# Inputs, `(rows, features)`, and labels, `(rows,)`, integers.
Batch = tuple[Array, Array]

# With the discount "auto": the part of the training that Z looks back, the least share
# of a new Z in the average, and of a new square of grad E, or of votes, in its mean,
# and the overshoot from which the rate may not rise, where E is that of the next batch
# or not.
MEMORY, AVERAGE, BRAKE, BRAKE_OF_VALIDATION = 0.2, 0.01, 0.3, 0.1
# With Adam, entries of Z are no larger than this part of the path of the fastest
# weight.
REACH = 1.0
# h: its square is lost beside any real part, so that the derivative is exact.
H = 1e-100


class Optimizer(Protocol):
    def slots(self, w: Array) -> State: ...

    def step(self, state: State, g: Array, eta: complex) -> State: ...


@dataclasses.dataclass(frozen=True)
class SGD:
    def slots(self, w: Array) -> State:
        return ()

    def step(self, state: State, g: Array, eta: complex) -> State:
        (w,) = state
        return (w - eta * g,)


@dataclasses.dataclass(frozen=True)
class Momentum:
    """Keras's momentum, in which the velocity holds the rates of the past."""

    momentum: float

    def slots(self, w: Array) -> State:
        return (np.zeros_like(w),)

    def step(self, state: State, g: Array, eta: complex) -> State:
        w, v = state
        v = self.momentum * v - eta * g
        return w + v, v


@dataclasses.dataclass(frozen=True)
class Adam:
    """Keras's Adam, in which epsilon is added before the correction of the bias."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    def slots(self, w: Array) -> State:
        return np.zeros_like(w), np.zeros_like(w), np.zeros(1)

    def step(self, state: State, g: Array, eta: complex) -> State:
        w, m, v, count = state
        # A count has no tangent.
        t = np.real(count) + 1
        alpha = eta * np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        m = m + (g - m) * (1 - self.beta_1)
        v = v + (g * g - v) * (1 - self.beta_2)
        return w - m * alpha / (np.sqrt(v) + self.epsilon), m, v, t


def kernel_and_bias(w: Array, x: Array) -> tuple[Array, Array]:
    features = x.shape[1]
    classes = w.size // (features + 1)
    return w[:-classes].reshape(features, classes), w[-classes:]


def shifted_logits(w: Array, x: Array) -> Array:
    kernel, bias = kernel_and_bias(w, x)
    z = x @ kernel + bias
    # Of the real part, which alone has an order: any shift leaves softmax as it is.
    return z - np.real(z).max(axis=1, keepdims=True)


def cross_entropy(w: Array, x: Array, y: Array, penalty: float = 0.0) -> float:
    """The mean over the rows, and lambda sum(K^2), which is `keras.regularizers.L2`."""
    z = shifted_logits(w, x)
    kernel, _ = kernel_and_bias(w, x)
    of_rows = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
    return float(of_rows.mean() + penalty * (kernel * kernel).sum())


def gradient(w: Array, x: Array, y: Array, penalty: float = 0.0) -> Array:
    e = np.exp(shifted_logits(w, x))
    p = e / e.sum(axis=1, keepdims=True)
    kernel, bias = kernel_and_bias(w, x)
    error = (p - np.eye(bias.size)[y]) / len(y)
    of_kernel = x.T @ error + 2 * penalty * kernel
    return np.concatenate([of_kernel.ravel(), error.sum(axis=0)])


def hessian_product(w: Array, z: Array, x: Array, y: Array, penalty: float) -> Array:
    """H z."""
    return np.imag(gradient(w + 1j * H * z, x, y, penalty)) / H


def tangent(
    optimizer: Optimizer, state: State, Z: State, *, g: Array, dg: Array, eta: float
) -> State:
    """A Z + B: the derivative of the step along Z, H Z = dg, and 1 for the rate."""
    moved = optimizer.step(
        tuple(s + 1j * H * z for s, z in zip(state, Z, strict=True)),
        g + 1j * H * dg,
        eta + 1j * H,
    )
    return tuple(np.imag(s) / H for s in moved)


def validation_batch(data: Batch, k: int, batch_size: int | None) -> Batch:
    """The rows of the k-th evaluation of E, from 0; after the last row, the first."""
    n = len(data[1])
    if batch_size is None or batch_size >= n:
        return data
    rows = (k * batch_size + np.arange(batch_size)) % n
    return data[0][rows], data[1][rows]


def cosine(Z: Array, grad_E: Array) -> float:
    norm = math.sqrt(Z @ Z) * math.sqrt(grad_E @ grad_E)
    return float(Z @ grad_E) / norm if norm > 0 else 0.0


def usual_cosine(Z: Array, grad_E: Array, mean_square: float) -> float:
    """The cosine, with a mean norm of grad E; for a rise, its own if that is larger."""
    product = float(Z @ grad_E)
    norm = math.sqrt(mean_square)
    if product < 0:
        norm = max(norm, math.sqrt(grad_E @ grad_E))
    norm *= math.sqrt(Z @ Z)
    return min(max(product / norm, -1.0), 1.0) if norm > 0 else 0.0


def majority(Z: Array, grad_E: Array, mean_square: float) -> float:
    """Votes for a lower rate minus those for a higher one, over their usual number.

    For a rise, over their own if there are more.
    """
    products = Z * grad_E
    votes = math.sqrt(mean_square)
    if products.sum() < 0:
        votes = max(votes, np.abs(products).sum())
    share = products.sum() / votes if votes > 0 else 0.0
    return min(max(share, -1.0), 1.0)


def next_beta(beta: float, kappa: float, Delta: float, previous: float) -> float:
    """Section 4, with the sign that descends."""
    return max(beta + kappa * Delta * previous, 0.0)


def next_mu(mu: float, c: float, Delta: float, g1: float) -> tuple[float, float]:
    """h_mu, and the counter c (appendix A)."""
    q = min(max(Delta / g1, 0.0), 1.0) if g1 != 0 else 0.0
    return q ** (1 / (c + 1)), mu * (1 + c)


def next_eta(eta: float, beta: float, Delta: float) -> float:
    """Equation 5."""
    return max(eta - beta * Delta, 0.0)


def next_eta_log(eta: float, beta: float, cos: float) -> float:
    return eta * math.exp(-beta * cos)


@dataclasses.dataclass
class Scalars:
    """eta, beta, mu and c, and how they move after a step.

    `step_size` is kappa, without which beta stays what it is. It moves beta in the same
    way for both updates of the rate.
    """

    learning_rate: float
    discount: float | Literal["adaptive", "auto"] = "adaptive"
    hyper_learning_rate: float = 0.0
    step_size: float | None = None
    update: Literal["additive", "log"] = "additive"
    minimum: float = 0.0
    maximum: float = math.inf
    brake: float = BRAKE

    def __post_init__(self) -> None:
        self.eta, self.beta = self.learning_rate, self.hyper_learning_rate
        self.mu = 0.0 if isinstance(self.discount, str) else self.discount
        self.c, self.Delta = 0.0, 0.0

    def move(self, Delta: float, g1: float, cos: float, overshoot: float = 0.0) -> None:
        if self.step_size is not None:
            self.beta = next_beta(self.beta, self.step_size, Delta, self.Delta)
        if self.discount == "adaptive":
            self.mu, self.c = next_mu(self.mu, self.c, Delta, g1)
        if self.update == "additive":
            eta = next_eta(self.eta, self.beta, Delta)
        else:
            eta = next_eta_log(self.eta, self.beta, cos)
            if self.discount == "auto" and overshoot > self.brake:
                eta = min(eta, self.eta)
        self.eta = min(max(eta, self.minimum), self.maximum)
        self.Delta = Delta


def marthe(
    optimizer: Optimizer,
    weights: Array,
    batches: Sequence[Batch],
    validation: Batch,
    *,
    validation_batch_size: int | None = None,
    is_next_batch: bool = False,
    penalty: float = 0.0,
    **options: Any,
) -> dict[str, list[Any]]:
    """Return what each step t, that of `batches[t]`, had and made, as lists.

    Of before the step: "learning_rate" eta_t, "discount" mu_t, which multiplied Z_t,
    "loss" L_t(w_t) with the penalty. Of after it: "weights" w_{t+1}, "tangent" the
    weights' part of Z_{t+1}, and whether it "is_limited", "validation_loss" E(w_{t+1}),
    "hypergradient" Delta_{t+1}, "one_step" g1(w_t, eta_t), "overshoot" the cosine of
    the last step, the one before it, with the gradient g_t after it, and
    "hyper_learning_rate" beta_{t+1}, with which eta_{t+1} was made. If the validation
    batch is the next training batch, the overshoot is that of this step, with the
    gradient g_{t+1}. The options are those of `Scalars`.
    """
    brake = BRAKE if is_next_batch else BRAKE_OF_VALIDATION
    scalars = Scalars(**{"brake": brake} | options)
    has_votes = isinstance(optimizer, Adam)
    has_limit = has_votes and (scalars.discount, scalars.update) == ("auto", "log")
    history: dict[str, list[Any]] = {}
    state = (weights, *optimizer.slots(weights))
    zeros = tuple(np.zeros_like(s) for s in state)
    Z, Z_mean, square = zeros, zeros[0], 0.0
    last_step, last_eta, path = zeros[0], 1.0, 0.0
    if scalars.discount == "auto":
        scalars.mu = 1 - 1 / (MEMORY * len(batches))
    for t, (x, y) in enumerate(batches):
        w, eta, mu = state[0], scalars.eta, scalars.mu
        entry = {"learning_rate": eta, "discount": mu}
        entry["loss"] = cross_entropy(w, x, y, penalty)
        g = gradient(w, x, y, penalty)
        past = tuple(mu * z for z in Z)
        dg = hessian_product(w, past[0], x, y, penalty)
        Z = tangent(optimizer, state, past, g=g, dg=dg, eta=eta)  # (9)
        speed = np.abs(last_step).max() / last_eta
        path, last_eta = mu * path + speed, eta
        is_known = has_limit and path > 0
        longest = REACH * (mu * path + speed) if is_known else math.inf
        entry["is_limited"] = np.abs(Z[0]).max() > longest
        Z = (np.clip(Z[0], -longest, longest), *Z[1:])
        B = tangent(optimizer, state, zeros, g=g, dg=np.zeros_like(g), eta=eta)
        weights_before, state = w, optimizer.step(state, g, eta)
        w, of_E = state[0], validation_batch(validation, t, validation_batch_size)
        grad_E = gradient(w, *of_E)
        Delta, g1 = float(Z[0] @ grad_E), float(B[0] @ grad_E)
        share = max(AVERAGE, 10 / (10 + t))
        Z_mean = Z_mean + share * (Z[0] - Z_mean)
        latest = float(grad_E @ grad_E)
        if has_votes:
            latest = np.abs(Z_mean * grad_E).sum() ** 2
        square += share * (latest - square)
        cos = cosine(Z[0], grad_E)
        if scalars.discount == "auto":
            direction = majority if has_votes else usual_cosine
            cos = direction(Z_mean, grad_E, square)
        overshoot = cosine(last_step, g)
        last_step = w - weights_before
        if is_next_batch:
            overshoot = cosine(last_step, grad_E)
        scalars.move(Delta, g1, cos, overshoot)
        entry |= {"weights": w, "tangent": Z[0], "overshoot": overshoot}
        entry |= {"validation_loss": cross_entropy(w, *of_E)}
        entry |= {"hypergradient": Delta, "one_step": g1}
        entry |= {"hyper_learning_rate": scalars.beta}
        for name, value in entry.items():
            history.setdefault(name, []).append(value)
    return history
