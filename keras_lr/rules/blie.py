r"""BLiE: a Lipschitz bandit that narrows the axis batch by batch.

The axis is divided into cells of edge r_1, and all of them are tried in one batch. A
cell that falls too far behind the best is eliminated, the others are divided into cells
of edge r_2, and so on. The paper's form has the edges of the ACE sequence (appropriate
combined edge lengths), with T the number of trainings, d = 1 dimension and the zooming
dimension d_z = 0,

    c_1 = (d_z + 1) / ((d + 2) (d_z + 2)) log2(T / ln T),
    c_{i+1} = (d + 1 - d_z) / (d + 2) c_i,   s_k = c_1 + ... + c_k,
    r_{2k-1} = min(r_{2k-2}, 2^-floor(s_k)),   r_{2k} = 2^-ceil(s_k),

and eliminates a cell if max m - m(C) >= 4 L r_m. Below T = 400 these edges are
1, 1/2, 1/4, ...

The default divides by three, so that the middle of a cell is also the middle of one of
its parts and need not be tried again, and eliminates where the Lipschitz bound says so.
It does not depend on T: a longer search begins as a shorter one.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from keras_lr import _checks
from keras_lr.rules import bandit
from keras_lr.rules.bandit import Bandit, Pull, Visits

STRATEGIES = ("thirds", "paper")


@dataclasses.dataclass(frozen=True)
class Cell:
    """The part number `place` of `parts` equal parts of the axis.

    Attributes:
        place: Number of the part, from 0.
        parts: Number of parts.
        promise: Mean reward of this cell or, if it was not tried, of the last cell
            around it that was; NaN if there is none.
    """

    place: int
    parts: int
    promise: float = math.nan

    @property
    def center(self) -> float:
        """Return the position in the middle."""
        return (self.place + 0.5) / self.parts

    def divided(self, parts: int) -> "list[Cell]":
        """Return the cells that it is divided into if the axis has `parts` parts."""
        share = parts // self.parts
        first = self.place * share
        places = range(first, first + share)
        return [Cell(place, parts, self.promise) for place in places]


@dataclasses.dataclass(frozen=True)
class BLiE(Bandit):
    """Narrow the axis batch by batch.

    Attributes:
        strategy: `"thirds"` or `"paper"`: how cells are divided and eliminated.

    Notes:
        - A cell is tried once, at its center. The paper gives it r_m^-beta of a budget,
          BLiN 16 ln T / r_m^2 trainings at random positions in it: far more than a
          search of 20 trainings has.
        - The edges, and the factor 4 of the elimination, are BLiN's. Among centers, a
          difference of L r_m / 2 and of twice the confidence radius is enough: this is
          what the strategy `"thirds"` asks for.
        - The confidence radius of a cell is `noise` sqrt(ln n), with n cells of its
          edge on the whole axis to compare it with, in place of T. One that grew with
          T would end longer searches earlier.
        - The strategy `"thirds"` also leaves out cells beyond a failure, as `Zooming`
          does.
        - Where the ACE sequence ends, each edge is half of the one before.

    References:
        - Feng, Luo, Huang and Wang, [A Lipschitz Bandits Approach for Continuous
          Hyperparameter Optimization](https://arxiv.org/abs/2302.01539), 2023.
        - Feng, Huang and Wang, [Lipschitz Bandits with Batched
          Feedback](https://arxiv.org/abs/2110.09722) (BLiN), 2022.
    """

    strategy: str = "thirds"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.one_of("strategy", self.strategy, STRATEGIES)

    def propose_batch(self, pulls: Sequence[Pull]) -> list[float]:
        """Return the positions of the current batch, the most promising ones first.

        They can be trained in parallel. Positions that have been pulled already are
        included. An empty list says that noise allows no smaller cells.

        Args:
            pulls: All trainings so far, in any order.
        """
        return [cell.center for cell in self._batch(self._visits(pulls))]

    def propose(self, pulls: Sequence[Pull]) -> float | None:
        """Return the next position of the batch that has not been pulled.

        No worker waits for a batch to be finished: with all of it pulled, the next one
        begins, and a pending arm counts as much as the better of its neighbors.

        Args:
            pulls: All trainings so far, in any order.

        Returns:
            The position, or `None` if noise allows no smaller cells.
        """
        visits = self._visits(pulls)
        centers = (cell.center for cell in self._batch(visits))
        return next((each for each in centers if arm_at(each, visits) is None), None)

    def live_interval(self, pulls: Sequence[Pull]) -> tuple[float, float]:
        """Return the smallest interval that contains the cells of the current batch."""
        cells = self._batch(self._visits(pulls))
        if not cells:
            return 0.0, 1.0
        return (
            min(cell.place / cell.parts for cell in cells),
            max((cell.place + 1) / cell.parts for cell in cells),
        )

    def _visits(self, pulls: Sequence[Pull]) -> list[Visits]:
        return bandit.visits(pulls, self.direction)

    def _batch(self, visits: Sequence[Visits]) -> list[Cell]:
        """Return the cells of the first batch with new ones."""
        live = (0.0, 1.0) if self.strategy == "paper" else bandit.live_interval(visits)
        cells = [Cell(0, 1)]
        for parts in self._parts():
            if self.lipschitz / (2 * parts) <= self._doubt(parts):
                return []
            cells = [part for cell in cells for part in cell.divided(parts)]
            cells = [cell for cell in cells if live[0] <= cell.center <= live[1]]
            arms = [(cell, arm_at(cell.center, visits)) for cell in cells]
            means = {cell: arm.estimate for cell, arm in arms if arm is not None}
            if len(means) < len(cells):
                return sorted(cells, key=_by_promise)
            cells = self._survivors(means)
        return []

    def _survivors(self, means: Mapping[Cell, float]) -> list[Cell]:
        best = bandit.larger(means.values())
        return [
            dataclasses.replace(cell, promise=mean)
            for cell, mean in means.items()
            if not best - mean >= self._limit(cell)
        ]

    def _limit(self, cell: Cell) -> float:
        """Return how far behind the best mean a cell is when it is eliminated."""
        edge = 1.0 / cell.parts
        if self.strategy == "paper":
            return 4.0 * self.lipschitz * edge
        return self.lipschitz * edge / 2 + 2 * self._doubt(cell.parts)

    def _doubt(self, parts: int) -> float:
        """Return the confidence radius of a cell that was tried once."""
        return bandit.confidence_radius(1, parts, self.noise)

    def _parts(self) -> Iterator[int]:
        """Yield into how many parts the axis is divided, batch after batch."""
        if self.strategy == "thirds":
            return (3**level for level in itertools.count())
        return ace_parts(self.horizon)


def _by_promise(cell: Cell) -> tuple[float, float]:
    return -cell.promise if math.isfinite(cell.promise) else 0.0, -cell.center


def arm_at(position: float, visits: Sequence[Visits]) -> Visits | None:
    """Return the arm at a position, `None` if there is none."""
    near = (
        arm for arm in visits if abs(arm.position - position) <= bandit.SAME_POSITION
    )
    return next(near, None)


def ace_parts(horizon: int, dimension: float = 0.0) -> Iterator[int]:
    """Yield 1 / r_m of the ACE sequence, each number once, and then its doubles.

    Args:
        horizon: T, the number of trainings.
        dimension: d_z, the zooming dimension.
    """
    ratio = (2 - dimension) / 3
    quotient = horizon / math.log(horizon) if horizon > 1 else 1.0
    step = (dimension + 1) / (3 * (dimension + 2)) * math.log2(quotient)
    power, total = -1, 0.0
    # The most that the sum can still grow by.
    while step / (1 - ratio) > 1e-9:
        total += step
        step *= ratio
        for exponent in (math.floor(total), math.ceil(total)):
            if exponent > power:
                power = exponent
                yield 2**power
    yield from (2**further for further in itertools.count(power + 1))
