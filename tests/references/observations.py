"""What an optimizer observes before each step, number by number.

Each function takes the gradients of each step, and `observed`: the pair (constant, part
of the weights in it) given before each step, or None where none is given; `observed`
itself is None where the gradients are measured. Each returns the observation before
each step, or None.
"""

from collections.abc import Sequence

from tests.references.tensors import (
    Tensor,
    joined,
    largest_norm,
    mean_square,
    norm,
    square,
)

Gradients = Sequence[Sequence[Tensor]]
Observed = Sequence[tuple[float, float] | None] | None


def largest_norms(gradients: Gradients, observed: Observed) -> list[float | None]:
    """max ||g||, or L."""
    if observed is None:
        return [largest_norm(g) for g in gradients]
    return [None if given is None else given[0] for given in observed]


def paper_pairs(
    gradients: Gradients, observed: Observed
) -> list[tuple[float, float] | None]:
    """max ||g|| and max ||g^2||; or L, and L^2 as in the last lines of section 6.3.

    There, L = l + w, and its square l^2 + w^2.
    """
    if observed is None:
        return [
            (largest_norm(g), largest_norm([square(each) for each in g]))
            for g in gradients
        ]
    return [
        None if given is None else (given[0], _without_product(*given))
        for given in observed
    ]


def supremum_pairs(
    gradients: Gradients, observed: Observed
) -> list[tuple[float, float] | None]:
    """||g|| and the mean of g^2; or L, and the mean square of numbers of that norm."""
    if observed is None:
        return [(norm(joined(g)), mean_square(g)) for g in gradients]
    number_of_weights = len(joined(gradients[0]))
    return [
        None if given is None else (given[0], given[0] * given[0] / number_of_weights)
        for given in observed
    ]


def aged_largest(norms: Sequence[float]) -> float:
    """max_s ||g_s|| (10 + s) / (10 + t), at the last of the steps 0, 1, ..., t."""
    t = len(norms) - 1
    return max(norm * (10 + s) / (10 + t) for s, norm in enumerate(norms))


def _without_product(L: float, w: float) -> float:
    return (L - w) * (L - w) + w * w
