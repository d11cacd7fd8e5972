"""Replays of searches on tables, with the rules of this package, a grid and chance.

A table of `rate_tables.py` is asked in place of trainings.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from rate_tables import Table

from keras_lr.rules.bandit import Pull
from keras_lr.rules.blie import BLiE
from keras_lr.rules.zooming import Zooming

Strategy = Zooming | BLiE
Search = Callable[["Replay", int, int], None]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training of a replay.

    Attributes:
        position: Position of its rate on the log axis, from 0 to 1.
        score: Score that the searcher is told.
        has_diverged: Whether its loss blew up.
        spent: Trainings up to its end, this one included.
    """

    position: float
    score: float
    has_diverged: bool
    spent: float


class Replay:
    """A table that is asked in place of trainings.

    Rates are rounded to the nearest of the table. Each training at a rate has another
    of the table's seeds, in random order, until all were used.

    Args:
        table: Table to ask.
        seed: Seed of that order.
    """

    def __init__(self, table: Table, seed: int):
        self.table = table
        self.trials: list[Trial] = []
        self.recommended: float | None = None
        # Another stream for each task, so that their errors are independent.
        self._random = np.random.default_rng((seed, *table.name.encode()))
        self._orders: dict[int, list[int]] = {}
        self._started: dict[float, int] = {}

    @property
    def epochs(self) -> int:
        """Return the epochs of a whole training."""
        return self.table.scores.shape[2]

    def place(self, position: float) -> int:
        """Return the index of the nearest rate."""
        return round(position * (len(self.table.rates) - 1))

    def pull(self, position: float) -> Pull:
        """Train once, and return what a strategy of ours sees."""
        place, seed = self.place(position), self._next_seed(position)
        score = float(self.table.scores[place, seed, -1])
        self._record(position, score, seed, cost=1.0)
        return Pull(position, score, int(self.table.signals[place, seed]))

    def evaluate(
        self, position: float, start: int = 0, stop: int | None = None
    ) -> float:
        """Train from one epoch to another, and return a score that is finite.

        A training that does not start at epoch 0 continues where the last one at the
        same position ended.
        """
        stop = self.epochs if stop is None else stop
        seed = self._started[position] if start else self._next_seed(position)
        self._started[position] = seed
        score = float(self.table.scores[self.place(position), seed, stop - 1])
        return self._record(position, score, seed, cost=(stop - start) / self.epochs)

    def _next_seed(self, position: float) -> int:
        order = self._orders.setdefault(self.place(position), [])
        if not order:
            order.extend(self._random.permutation(self.table.scores.shape[1]).tolist())
        return order.pop()

    def _record(self, position: float, score: float, seed: int, cost: float) -> float:
        if self.table.direction == "min":
            cap = 2 * self.table.chance
            score = min(score, cap) if math.isfinite(score) else cap
        elif not math.isfinite(score):
            score = 0.0
        spent = cost + (self.trials[-1].spent if self.trials else 0.0)
        has_diverged = bool(self.table.signals[self.place(position), seed] > 0)
        self.trials.append(Trial(position, score, has_diverged, spent))
        return score

    def best(self, budget: int) -> float:
        """Return the position with the best score within a budget of trainings."""
        if self.recommended is not None:
            return self.recommended
        pick = max if self.table.direction == "max" else min
        return pick(self._within(budget), key=lambda trial: trial.score).position

    def diverged(self, budget: int) -> int:
        """Return how many trainings within a budget diverged."""
        return sum(trial.has_diverged for trial in self._within(budget))

    def _within(self, budget: int) -> list[Trial]:
        inside = [trial for trial in self.trials if trial.spent <= budget + 1e-9]
        return inside or self.trials[:1]


def ours(
    make: Callable[[int, str], Strategy], replay: Replay, budget: int, _: int
) -> None:
    """Search with a rule of this package, and recommend by the mean of an arm."""
    strategy = make(budget, replay.table.direction)
    pulls: list[Pull] = []
    while len(pulls) < budget:
        position = strategy.propose(pulls)
        if position is None:
            break
        pulls.append(replay.pull(position))
    best = strategy.best(pulls)
    replay.recommended = None if best is None else best.position


def grid(replay: Replay, budget: int, _: int) -> None:
    """Train at the centers of `budget` equal parts of the axis."""
    for place in range(budget):
        replay.evaluate((place + 0.5) / budget)


def random(replay: Replay, budget: int, seed: int) -> None:
    """Train at random positions."""
    for position in np.random.default_rng((seed, 1)).uniform(size=budget):
        replay.evaluate(float(position))


def zooming(**options: Any) -> Search:
    """Return a search with `Zooming`."""
    make = lambda budget, direction: Zooming(budget, direction, **options)  # noqa: E731
    return functools.partial(ours, make)


def blie(**options: Any) -> Search:
    """Return a search with `BLiE`."""
    make = lambda budget, direction: BLiE(budget, direction, **options)  # noqa: E731
    return functools.partial(ours, make)


# The searches that need to know their budget; the others are read at each on their way.
OF_BUDGET: dict[str, Search] = {
    "log grid": grid,
    "Zooming": zooming(),
    "Zooming, r as printed": zooming(strategy="paper"),
    "Zooming, r/10": zooming(strategy="paper", radius_scale=0.1),
    "BLiE": blie(),
}

ANYTIME: dict[str, Search] = {"random": random}
