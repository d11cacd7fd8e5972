"""Zooming, step by step: Slivkins 2019, section 4.3, and the gap strategy.

A history is a list of (position, reward) in the paper's form, and of (position, reward,
signal) in the gap strategy's. Everything is recomputed from it, arm by arm.
"""

import itertools
import math
from collections.abc import Callable, Sequence

Pair = tuple[float, float]
Triple = tuple[float, float, int]


def radius(x: float, history: Sequence[Pair], T: int, scale: float) -> float:
    n = sum(1 for position, *_ in history if position == x)
    return scale * math.sqrt(2 * math.log(T) / (n + 1))


def mean(x: float, history: Sequence[Pair]) -> float:
    rewards = [reward for position, reward, *_ in history if position == x]
    return sum(rewards) / len(rewards)


def index(x: float, history: Sequence[Pair], T: int, scale: float) -> float:
    return mean(x, history) + 2 * radius(x, history, T, scale)


def largest_index(history: Sequence[Pair], T: int, scale: float) -> float:
    """The arm to play, of equal ones the largest rate."""
    arms = {position for position, *_ in history}
    return max(arms, key=lambda x: (round(index(x, history, T, scale), 9), x))


def is_covered(
    y: float, history: Sequence[Pair], T: int, scale: float, L: float
) -> bool:
    return any(
        L * abs(x - y) <= radius(x, history, T, scale)
        for x in {position for position, *_ in history}
    )


def activated(
    history: Sequence[Pair], T: int, scale: float, L: float = 1.0
) -> float | None:
    """The middle of the longest uncovered part, of the right one if two are as long."""
    ends = {0.0, 1.0}
    for x in {position for position, *_ in history}:
        r = radius(x, history, T, scale) / L
        ends |= {min(max(x - r, 0.0), 1.0), min(max(x + r, 0.0), 1.0)}
    corners = sorted(ends)
    parts = []
    for left, right in itertools.pairwise(corners):
        middle = (left + right) / 2
        if not is_covered(middle, history, T, scale, L):
            parts.append((round(right - left, 9), middle))
    return max(parts)[1] if parts else None


def paper(
    reward: Callable[[float], float], T: int, scale: float = 1.0, L: float = 1.0
) -> list[float]:
    """Play T rounds from an empty set of active arms."""
    S: dict[float, list[float]] = {}
    played = []
    for _ in range(T):
        history = [(x, value) for x, values in S.items() for value in values]
        y = activated(history, T, scale, L)
        if y is not None:
            S[y] = []  # activate
        unplayed = [x for x, values in S.items() if not values]
        x = unplayed[0] if unplayed else largest_index(history, T, scale)
        S[x].append(reward(x))
        played.append(x)
    return played


def gap(history: Sequence[Triple], T: int, sigma: float, L: float) -> float | None:
    """The position of the next training; None if the best arm is beyond doubt."""
    low, high = interval(history)
    inside = [x for x in sorted({x for x, *_ in history}) if low <= x <= high]
    bounds = {}
    for left, right in zip([None, *inside], [*inside, None], strict=True):
        a = low if left is None else left
        b = high if right is None else right
        center = (a + b) / 2
        if b - a < 1e-6 or is_covered(center, history, T, sigma, L):
            continue
        bounds[center, True] = L * (b - a) / 2 + max(
            mean(x, history) + radius(x, history, T, sigma)
            for x in (left, right)
            if x is not None
        )
    for x in inside:
        bounds[x, False] = index(x, history, T, sigma)
    top = max(inside, key=lambda x: mean(x, history))
    lowest = mean(top, history) - radius(top, history, T, sigma)
    rivals = {place for place, bound in bounds.items() if bound >= lowest}
    if rivals <= {(top, False)}:
        return None

    def key(place: tuple[float, bool]) -> tuple[float, bool, float]:
        return round(bounds[place], 9), place[1], place[0]

    return max(bounds, key=key)[0]


def interval(history: Sequence[Triple]) -> tuple[float, float]:
    signals: dict[float, int] = {}
    for x in {position for position, *_ in history}:
        of_arm = {signal for position, _, signal in history if position == x}
        signals[x] = of_arm.pop() if len(of_arm) == 1 else 0
    low, high = 0.0, 1.0
    if all(signals.values()):
        for x, signal in signals.items():
            if signal < 0:
                low = max(low, x)
            else:
                high = min(high, x)
        return (low, high) if high - low >= 0.2 else (0.0, high)
    top = max(signals, key=lambda x: (mean(x, history), x))
    for x, signal in signals.items():
        if signal and mean(x, history) < 0.7 * mean(top, history):
            if x < top:
                low = max(low, x)
            else:
                high = min(high, x)
    return low, high
