"""AdaMo, number by number: Algorithm 1 of arXiv:1902.07399, and the default variant.

`multipliers` holds the learning rate of each step; for `observed` see `observations`.
"""

import math
from collections.abc import Sequence

from tests.references.observations import Observed, largest_norms
from tests.references.tensors import (
    Step,
    Tensor,
    copy,
    joined,
    norm,
    places,
    zeros_like,
)

SCALE = 3.0
POWER = 0.75


def paper(
    weights: Sequence[Tensor],
    gradients: Sequence[Sequence[Tensor]],
    multipliers: Sequence[float],
    *,
    momentum: float = 0.9,
    initial_constant: float = 0.0,
    bias_correction: bool = False,
    weight_decay: float = 0.0,
    observed: Observed = None,
) -> list[Step]:
    beta, W = momentum, copy(weights)
    K, V = initial_constant, zeros_like(W)  # line 1
    averaged = 0
    steps = []
    norms = largest_norms(gradients, observed)
    for t, (g, L) in enumerate(zip(gradients, norms, strict=True), start=1):  # 2, 3
        for n, i in places(W):
            V[n][i] = beta * V[n][i] + (1 - beta) * g[n][i]  # line 4
        if L is not None:
            K = beta * K + (1 - beta) * L  # line 6
            averaged += 1
        # Section 6.4: both averages by 1 - beta^t.
        k_weight = 1 - beta**averaged if bias_correction else 1.0
        v_weight = 1 - beta**t if bias_correction else 1.0
        rate = multipliers[t - 1] * _inverse(K / k_weight)
        for n, i in places(W):  # line 8
            step = V[n][i] / v_weight
            W[n][i] = W[n][i] - rate * (step + weight_decay * W[n][i])
        steps.append(Step(rate, (K,), _stored(V, beta), copy(W)))
    return steps


def supremum(
    weights: Sequence[Tensor],
    gradients: Sequence[Sequence[Tensor]],
    multipliers: Sequence[float],
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    observed: Observed = None,
) -> list[Step]:
    beta, W = momentum, copy(weights)
    K, V = 0.0, zeros_like(W)
    mean_square = 0.0
    steps = []
    norms = largest_norms(gradients, observed)
    for t, (g, L) in enumerate(zip(gradients, norms, strict=True), start=1):
        for n, i in places(W):
            V[n][i] = beta * V[n][i] + (1 - beta) * g[n][i]
        mean_square = beta * mean_square + (1 - beta) * norm(joined(g)) ** 2
        r = 0.0
        if mean_square > 0:
            corrected = norm(joined(V)) / (1 - beta**t)
            r = min(1.0, corrected / math.sqrt(mean_square / (1 - beta**t)))
        if L is not None:
            K = max(K, L)
        rate = multipliers[t - 1] * SCALE * r**POWER * _inverse(K)
        for n, i in places(W):
            step = beta * V[n][i] + (1 - beta) * g[n][i]  # Nesterov's velocity
            W[n][i] = W[n][i] - rate * (step + weight_decay * W[n][i])
        steps.append(Step(rate, (K,), _stored(V, beta), copy(W)))
    return steps


def _inverse(K: float) -> float:
    """1 / K; 0, no step, as long as all gradients were 0."""
    return 1 / K if K > 0 else 0.0


def _stored(V: Sequence[Tensor], beta: float) -> list[list[float]]:
    """What the optimizer stores in place of V."""
    return [[beta * v / (1 - beta) for v in tensor] for tensor in V]
