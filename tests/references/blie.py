"""BLiE, batch by batch: the axis in cells, of which the bad ones are eliminated.

Cells are (left, right) in fractions, and every cell is tried at its center.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

Cell = tuple[Fraction, Fraction]


def ace_edges(T: int, count: int, d_z: float = 0.0) -> list[float]:
    """r_1, r_2, ... of the ACE sequence for d = 1, repetitions included."""
    d = 1
    c = (d_z + 1) / ((d + 2) * (d_z + 2)) * math.log2(T / math.log(T))
    edges, total = [1.0], 0.0
    for _ in range(count):
        total += c
        c *= (d + 1 - d_z) / (d + 2)
        edges.append(min(edges[-1], 2.0 ** -math.floor(total)))
        edges.append(2.0 ** -math.ceil(total))
    return edges[1:]


def batches(
    reward: Callable[[float], float],
    parts: Sequence[int],
    limit: Callable[[Fraction], float],
) -> list[list[float]]:
    """The new centers of each batch, from the left to the right.

    Args:
        reward: Function from a position to its reward.
        parts: Number of cells that the whole axis is divided into, batch after batch.
        limit: Function from an edge to the distance from the best mean of the batch
            at which a cell is eliminated.
    """
    alive: list[Cell] = [(Fraction(0), Fraction(1))]
    known: dict[Fraction, float] = {}
    played = []
    for number in parts:
        edge = Fraction(1, number)
        cells = []
        for left, right in alive:
            count = int((right - left) / edge)
            ends = [left + place * edge for place in range(count + 1)]
            cells += list(itertools.pairwise(ends))
        centers = [(left + right) / 2 for left, right in cells]
        played.append([float(center) for center in centers if center not in known])
        for center in centers:
            known.setdefault(center, reward(float(center)))
        best = max(known[center] for center in centers)
        alive = [
            cell
            for cell, center in zip(cells, centers, strict=True)
            if best - known[center] < limit(edge)
        ]
    return played
