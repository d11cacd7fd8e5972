"""Scores and ranks of methods on the suite, with intervals by a bootstrap.

A score is a metric minus that of the best constant rate of the same problem, optimizer
and seed, at least -100: one training that breaks down must not decide a mean. In each
draw of the bootstrap the problems are drawn with replacement, and for each of them the
seeds, the same ones for all methods, which share their weights and batches. The best
constant and the best cosine keep the rates that they have on all seeds.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt
from results import (
    GRIDS,
    LOWEST,
    Cell,
    Policies,
    Table,
    best,
    by_seed,
    default_or_best,
    methods,
)

MARGIN = 0.5
"""Points within which two scores are a tie."""
ROUNDING = 1e-9
"""Points within which two scores have one rank."""
DRAWS = 2000
LEVEL = 0.95
BEST = {"constant": "best constant", "cosine_decay": "best cosine"}
"""What the best rate of a grid is called in the ranking."""
AS_IN_PAPERS = {
    *(f"{name}_paper" for name in ("lipschitz", "marthe", "adamo")),
    *("adaptive_rmsprop_paper", "auto_adam_paper", "marthe_constant_discount"),
}
"""Policies in the forms of the papers, none of which is a default of this package."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Scores of all methods that were run in all cases of some optimizers.

    Attributes:
        names: Names of the methods.
        values: `(methods, problems, optimizers, seeds)`.
    """

    names: tuple[str, ...]
    values: Floats

    def of(self, name: str) -> Floats:
        """Return the means over seeds of one method, `(problems, optimizers)`."""
        return self.values[self.names.index(name)].mean(-1)


@dataclass(frozen=True)
class Ranked:
    """One method in a ranking.

    Attributes:
        name: Name of the method.
        rank: Mean over the cases, from 1.
        rank_interval: Ends of its interval.
        score: Mean over the cases.
        score_interval: Ends of its interval.
    """

    name: str
    rank: float
    rank_interval: tuple[float, float]
    score: float
    score_interval: tuple[float, float]


def scores(table: Table, optimizers: Sequence[str]) -> Scores:
    """Return the scores of every method that has a run in every case."""
    problems = list(dict.fromkeys(problem for problem, _ in table))
    cases = [[table[p, o] for o in optimizers] for p in problems]
    flat = [policies for row in cases for policies in row]
    names = [name for name in (*GRIDS, *methods(table)) if all(map(_has(name), flat))]
    seeds = baseline_seeds(flat)
    values = [
        [[_case_scores(p[name], p["constant"], seeds) for p in row] for row in cases]
        for name in names
    ]
    return Scores(tuple(BEST.get(name, name) for name in names), np.array(values))


def baseline_seeds(cases: Iterable[Policies]) -> list[int]:
    """Return the seeds of the best constant rates."""
    return sorted({seed for case in cases for seed in best(case["constant"]).seeds})


def _has(name: str) -> Callable[[Mapping[str, Sequence[Cell]]], bool]:
    return lambda policies: any(cell.metrics for cell in policies.get(name, ()))


def _case_scores(
    cells: Sequence[Cell], constant: Sequence[Cell], seeds: Sequence[int]
) -> list[float]:
    """Return the score of each seed; the mean of the others for one that is missing."""
    by_seeds = seed_scores(by_seed(default_or_best(cells)), constant)
    return [by_seeds.get(seed, fmean(by_seeds.values())) for seed in seeds]


def seed_scores(
    metrics: Mapping[int, float], constant: Sequence[Cell]
) -> dict[int, float]:
    """Return the score of each seed of a method."""
    reference = by_seed(best(constant))
    return {
        seed: floor(metrics[seed] - reference[seed])
        for seed in metrics
        if seed in reference
    }


def floor(score: float) -> float:
    """Return a score that is finite and at least -100."""
    return max(score, float(LOWEST)) if math.isfinite(score) else float(LOWEST)


def rank(scores: Scores, draws: int = DRAWS) -> list[Ranked]:
    """Return the methods with their intervals, those with the best mean rank first."""
    sampled = resample(scores.values, draws)
    means = scores.values.mean(-1)
    columns = zip(
        scores.names,
        ranks(means).mean((1, 2)),
        map(interval, ranks(sampled).mean((2, 3)).T),
        means.mean((1, 2)),
        map(interval, sampled.mean((2, 3)).T),
        strict=True,
    )
    return sorted((Ranked(*column) for column in columns), key=lambda each: each.rank)


def resample(values: Floats, draws: int, seed: int = 0) -> Floats:
    """Return means over seeds, `(draws, methods, problems, optimizers)`.

    Args:
        values: `(methods, problems, optimizers, seeds)`.
        draws: How often problems, and the seeds of each, are drawn.
        seed: Seed of the draws.
    """
    _, problems, _, seeds = values.shape
    rng = np.random.default_rng(seed)
    drawn = rng.integers(problems, size=(draws, problems))
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), (draws, problems))
    # (draws, problems) picks of a (problems, methods, optimizers, seeds) array.
    picked = np.moveaxis(values, 1, 0)[drawn]
    means = np.einsum("dpmos,dps->dmpo", picked, weights / seeds)
    return np.asarray(means)


def ranks(means: Floats) -> Floats:
    """Return the rank of each method in each case, from 1, ties sharing a mean rank.

    Args:
        means: `(..., methods, problems, optimizers)`.
    """
    ranked = np.empty_like(means)
    for place in range(means.shape[-3]):
        ahead = means - means[..., place : place + 1, :, :]
        better, equal = (ahead > ROUNDING).sum(-3), (abs(ahead) <= ROUNDING).sum(-3)
        ranked[..., place, :, :] = 1 + better + (equal - 1) / 2
    return ranked


def interval(draws: Floats) -> tuple[float, float]:
    """Return the ends of the 95 % interval of some draws."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def compare(scores: Scores, name: str, other: str) -> tuple[int, int, int]:
    """Return in how many cases a method wins, ties and loses, by half a point."""
    difference = scores.of(name) - scores.of(other)
    wins = int((difference > MARGIN).sum())
    losses = int((difference < -MARGIN).sum())
    return wins, difference.size - wins - losses, losses
