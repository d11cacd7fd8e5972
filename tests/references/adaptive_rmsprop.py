"""Adaptive RMSprop, number by number: section 6.2 of arXiv:1902.07399, and the default.

The body of Algorithm 2 is missing in the paper. Here it is Algorithm 3 without the
velocity, so its lines are numbered as there. `multipliers` holds the learning rate of
each step, and `observed` the pair (constant, part of the weights in it) given before
each step, or None; without `observed` the constants are the gradients' own.
"""

import math
from collections.abc import Sequence

from tests.references.auto_adam import spread_over, without_cross_term
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
    observed: Sequence[tuple[float, float] | None] | None = None,
) -> list[Step]:
    W = copy(weights)
    largest, K, S = initial_norm, initial_square, zeros_like(W)  # line 1
    averaged = 0
    steps = []
    for t, g in enumerate(gradients, start=1):  # lines 2, 3
        for n, i in places(W):
            S[n][i] = rho * S[n][i] + (1 - rho) * g[n][i] * g[n][i]  # line 5
        if observed is None:
            pair = largest_norm(g), largest_norm([square(each) for each in g])
        else:
            pair = without_cross_term(observed[t - 1])
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
    observed: Sequence[tuple[float, float] | None] | None = None,
) -> list[Step]:
    W = copy(weights)
    largest, K, S = 0.0, 0.0, zeros_like(W)
    averaged = 0
    steps = []
    for t, g in enumerate(gradients, start=1):
        if observed is None:
            pair = norm(joined(g)), mean_square(g)
        else:
            pair = spread_over(observed[t - 1], len(joined(W)))
        if pair is not None:
            largest = max(largest, pair[0])
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
