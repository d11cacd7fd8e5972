"""Adaptive RMSprop, number by number: section 6.2 of arXiv:1902.07399, and the default.

The body of Algorithm 2 is missing in the paper. Here it is Algorithm 3 without the
velocity, so its lines are numbered as there. `multipliers` holds the learning rate of
each step; for `observed` see `observations`.
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

SCALE = 0.5


def paper(
    weights: Sequence[Tensor],
    gradients: Sequence[Sequence[Tensor]],
    multipliers: Sequence[float],
    *,
    rho: float = 0.9,
    epsilon: float = 1e-7,
    initial_norm: float = 0.0,
    initial_square: float = 0.0,
    bias_correction: bool = False,
    weight_decay: float = 0.0,
    observed: Observed = None,
) -> list[Step]:
    W = copy(weights)
    largest, K, S = initial_norm, initial_square, zeros_like(W)  # line 1
    averaged = 0
    steps = []
    pairs = paper_pairs(gradients, observed)
    for t, (g, pair) in enumerate(zip(gradients, pairs, strict=True), start=1):  # 2, 3
        for n, i in places(W):
            S[n][i] = rho * S[n][i] + (1 - rho) * g[n][i] * g[n][i]  # line 5
        if pair is not None:
            largest = pair[0]  # The step's own: only line 8 is an average here.
            K = rho * K + (1 - rho) * pair[1]  # line 8
            averaged += 1
        # Section 6.4: both averages by 1 - rho^t.
        k_weight = 1 - rho**averaged if bias_correction else 1.0
        s_weight = 1 - rho**t if bias_correction else 1.0
        rate = 0.0
        if largest > 0:
            root = math.sqrt(K / k_weight)
            rate = multipliers[t - 1] * (root + epsilon) / largest
        for n, i in places(W):  # line 10
            step = g[n][i] / math.sqrt(S[n][i] / s_weight + epsilon)
            W[n][i] = W[n][i] - rate * (step + weight_decay * W[n][i])
        steps.append(Step(rate, (largest, K), copy(S), copy(W)))
    return steps


def supremum(
    weights: Sequence[Tensor],
    gradients: Sequence[Sequence[Tensor]],
    multipliers: Sequence[float],
    *,
    rho: float = 0.9,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
    observed: Observed = None,
) -> list[Step]:
    W = copy(weights)
    largest, K, S = 0.0, 0.0, zeros_like(W)
    averaged = 0
    norms: list[float] = []
    steps = []
    pairs = supremum_pairs(gradients, observed)
    for t, (g, pair) in enumerate(zip(gradients, pairs, strict=True), start=1):
        if pair is not None:
            norms.append(pair[0])
            largest = aged_largest(norms)
            K = rho * K + (1 - rho) * pair[1]
            averaged += 1
        rate = 0.0
        if largest > 0:
            root = math.sqrt(K / (1 - rho**averaged))
            rate = multipliers[t - 1] * SCALE * root / largest
        for n, i in places(W):
            S[n][i] = rho * S[n][i] + (1 - rho) * g[n][i] * g[n][i]
            step = g[n][i] / (math.sqrt(S[n][i] / (1 - rho**t)) + epsilon)
            W[n][i] = W[n][i] - rate * (step + weight_decay * W[n][i])
        steps.append(Step(rate, (largest, K), copy(S), copy(W)))
    return steps
