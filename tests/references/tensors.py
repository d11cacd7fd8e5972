"""Norms of tensors, number by number; a tensor is the list of its numbers."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

Tensor = Sequence[float]


@dataclasses.dataclass(frozen=True)
class Step:
    """What an optimizer holds after a step.

    `slots` are the averages, all tensors of the first before those of the second.
    """

    rate: float
    constants: tuple[float, ...]
    slots: list[list[float]]
    weights: list[list[float]]


def copy(tensors: Sequence[Tensor]) -> list[list[float]]:
    return [list(tensor) for tensor in tensors]


def zeros_like(tensors: Sequence[Tensor]) -> list[list[float]]:
    return [[0.0 for _ in tensor] for tensor in tensors]


def places(tensors: Sequence[Tensor]) -> Iterator[tuple[int, int]]:
    """Yield the tensor and the place in it of every number."""
    for layer, tensor in enumerate(tensors):
        for i in range(len(tensor)):
            yield layer, i


def norm(tensor: Tensor) -> float:
    total = 0.0
    for number in tensor:
        total += number * number
    return math.sqrt(total)


def square(tensor: Tensor) -> list[float]:
    return [number * number for number in tensor]


def largest_norm(tensors: Sequence[Tensor]) -> float:
    return max(norm(tensor) for tensor in tensors)


def joined(tensors: Sequence[Tensor]) -> list[float]:
    return [tensors[layer][i] for layer, i in places(tensors)]


def mean_square(tensors: Sequence[Tensor]) -> float:
    numbers = joined(tensors)
    return sum(square(numbers)) / len(numbers)
