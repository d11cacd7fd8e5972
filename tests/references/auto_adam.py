"""Auto-Adam, number by number: Algorithm 3 of arXiv:1902.07399, and the default.

`multipliers` holds the learning rate of each step, and `observed` the pair (constant,
part of the weights in it) given before each step, or None; without `observed` the
constants are the gradients' own.
"""

import math
from collections.abc import Sequence

from tests.references.tensors import (
    Step,
    Tensor,
    copy,
    joined,
    largest_norm,
    mean_square,
    norm,
    places,
    square,
    zeros_like,
)


def paper(
    weights: Sequence[Tensor],
    gradients: Sequence[Sequence[Tensor]],
    multipliers: Sequence[float],
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    initial_norm: float = 0.0,
    initial_square: float = 0.0,
    bias_correction: bool = False,
    weight_decay: float = 0.0,
    observed: Sequence[tuple[float, float] | None] | None = None,
) -> list[Step]:
    W = copy(weights)
    K_1, K_2 = initial_norm, initial_square  # line 1
    S, V = zeros_like(W), zeros_like(W)
    averaged = 0
    steps = []
    for t, g in enumerate(gradients, start=1):  # lines 2, 3
        for n, i in places(W):
            V[n][i] = beta_1 * V[n][i] + (1 - beta_1) * g[n][i]  # line 4
            S[n][i] = beta_2 * S[n][i] + (1 - beta_2) * g[n][i] * g[n][i]  # line 5
        if observed is None:
            pair = largest_norm(g), largest_norm([square(each) for each in g])
        else:
            pair = without_cross_term(observed[t - 1])
        if pair is not None:
            K_1 = beta_1 * K_1 + (1 - beta_1) * pair[0]  # line 7
            K_2 = beta_2 * K_2 + (1 - beta_2) * pair[1]  # line 8
            averaged += 1
        # Section 6.4: every average by its own 1 - beta^t.
        v_weight = s_weight = k_1_weight = k_2_weight = 1.0
        if bias_correction:
            v_weight, s_weight = 1 - beta_1**t, 1 - beta_2**t
            k_1_weight, k_2_weight = 1 - beta_1**averaged, 1 - beta_2**averaged
        rate = 0.0
        if K_1 > 0:
            root = math.sqrt(K_2 / k_2_weight)
            rate = multipliers[t - 1] * (root + epsilon) / (K_1 / k_1_weight)
        for n, i in places(W):  # line 10
            step = V[n][i] / v_weight / math.sqrt(S[n][i] / s_weight + epsilon)
            W[n][i] = W[n][i] - rate * (step + weight_decay * W[n][i])
        steps.append(Step(rate, (K_1, K_2), copy(V) + copy(S), copy(W)))
    return steps


def supremum(
    weights: Sequence[Tensor],
    gradients: Sequence[Sequence[Tensor]],
    multipliers: Sequence[float],
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
    observed: Sequence[tuple[float, float] | None] | None = None,
) -> list[Step]:
    W = copy(weights)
    K_1, K_2 = 0.0, 0.0
    S, V = zeros_like(W), zeros_like(W)
    averaged = 0
    steps = []
    for t, g in enumerate(gradients, start=1):
        if observed is None:
            pair = norm(joined(g)), mean_square(g)
        else:
            pair = spread_over(observed[t - 1], len(joined(W)))
        if pair is not None:
            K_1 = max(K_1, pair[0])
            K_2 = beta_1 * K_2 + (1 - beta_1) * pair[1]
            averaged += 1
        rate = 0.0
        if K_1 > 0:
            root = math.sqrt(K_2 / (1 - beta_1**averaged))
            rate = multipliers[t - 1] * root / K_1
        for n, i in places(W):
            V[n][i] = beta_1 * V[n][i] + (1 - beta_1) * g[n][i]
            S[n][i] = beta_2 * S[n][i] + (1 - beta_2) * g[n][i] * g[n][i]
            v, s = V[n][i] / (1 - beta_1**t), S[n][i] / (1 - beta_2**t)
            step = v / (math.sqrt(s) + epsilon)
            W[n][i] = W[n][i] - rate * (step + weight_decay * W[n][i])
        steps.append(Step(rate, (K_1, K_2), copy(V) + copy(S), copy(W)))
    return steps


def without_cross_term(
    observed: tuple[float, float] | None,
) -> tuple[float, float] | None:
    """L, and L^2 for L = l + w as l^2 + w^2: the last lines of section 6.3."""
    if observed is None:
        return None
    L, w = observed
    return L, (L - w) * (L - w) + w * w


def spread_over(
    observed: tuple[float, float] | None, number_of_weights: int
) -> tuple[float, float] | None:
    """L, and the mean square of that many numbers whose norm is L."""
    if observed is None:
        return None
    L, _ = observed
    return L, L * L / number_of_weights
