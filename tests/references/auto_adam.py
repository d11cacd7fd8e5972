"""Auto-Adam, number by number: Algorithm 3 of arXiv:1902.07399, and the default.

`multipliers` holds the learning rate of each step; for `observed` see `observations`.
"""

import math
from collections.abc import Sequence

from tests.references.observations import (
    Observed,
    aged_largest,
    paper_pairs,
    supremum_pairs,
)
from tests.references.tensors import Step, Tensor, copy, places, zeros_like


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
    observed: Observed = None,
) -> list[Step]:
    W = copy(weights)
    K_1, K_2 = initial_norm, initial_square  # line 1
    S, V = zeros_like(W), zeros_like(W)
    averaged = 0
    steps = []
    pairs = paper_pairs(gradients, observed)
    for t, (g, pair) in enumerate(zip(gradients, pairs, strict=True), start=1):  # 2, 3
        for n, i in places(W):
            V[n][i] = beta_1 * V[n][i] + (1 - beta_1) * g[n][i]  # line 4
            S[n][i] = beta_2 * S[n][i] + (1 - beta_2) * g[n][i] * g[n][i]  # line 5
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
    observed: Observed = None,
) -> list[Step]:
    W = copy(weights)
    K_1, K_2 = 0.0, 0.0
    S, V = zeros_like(W), zeros_like(W)
    averaged = 0
    norms: list[float] = []
    steps = []
    pairs = supremum_pairs(gradients, observed)
    for t, (g, pair) in enumerate(zip(gradients, pairs, strict=True), start=1):
        if pair is not None:
            norms.append(pair[0])
            K_1 = aged_largest(norms)
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
