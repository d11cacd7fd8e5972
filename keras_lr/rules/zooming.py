r"""Zooming: a Lipschitz bandit whose arms are learning rates (Slivkins 2019, 4.3).

An arm x with n(x) trainings of mean reward m(x) has the confidence radius

    r(x) = scale sqrt(2 ln T / (n(x) + 1)),

and the ball of all positions y with L |x - y| <= r(x). The paper's form: where a
position is in no ball, an arm is activated there; then the arm with the largest index
m(x) + 2 r(x) is played.

With so few trainings as a search has, what is activated decides everything. The
default, `"gap"`, bounds what a gap of width w between neighboring arms could hold by

    max over its neighbors x of  m(x) + r(x) + L w / 2.

It plays the largest of these bounds and of the indices: the center of the gap, unless
that is in a ball, or the arm once more. What blew up or never learned cuts off the axis
beyond it.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

from keras_lr import _checks
from keras_lr.rules import bandit
from keras_lr.rules.bandit import Arm, Bandit, Pull, Visits

STRATEGIES = ("gap", "paper")


@dataclasses.dataclass(frozen=True)
class Zooming(Bandit):
    """Choose the position of the next training from the history of a search.

    Attributes:
        radius_scale: Scale of the confidence radius of the strategy `"paper"`, in place
            of `noise`: 1 is the radius as printed, 0.1 the paper's variant for ReLU
            networks.
        strategy: `"gap"` or `"paper"`.
        first: Position of the first arm.

    Notes:
        The strategy `"paper"` settles what the book leaves open, or what a pure
        function of the history needs:

        - The arm that is activated is the middle of the widest part outside all balls.
        - One arm is activated at a time, and played at once. The book's radius says so
          from T = 5 on; with a tenth of it, an arm whose unknown mean counted as 0
          might never be played.
        - A pending pull counts in n(x). An arm without a finished one has the larger of
          its neighbors' means.
        - Of equal indices the larger rate is played.

        The strategy `"gap"` is not from the book. It has no bound on its regret: noise
        is a guess, and the reward falls more steeply than L where a training diverges.

    References:
        - Slivkins, [Introduction to Multi-Armed
          Bandits](https://arxiv.org/abs/1904.07272), 2019, section 4.3.
        - Kleinberg, Slivkins and Upfal, [Multi-Armed Bandits in Metric
          Spaces](https://arxiv.org/abs/0809.4882), 2008.
        - [Learning Rate Optimization for Deep Neural Networks Using Lipschitz
          Bandits](https://arxiv.org/abs/2409.09783), 2024: a tenth of the radius.
    """

    radius_scale: float = 1.0
    strategy: str = "gap"
    first: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.one_of("strategy", self.strategy, STRATEGIES)
        _checks.positive_number("radius_scale", self.radius_scale)
        _checks.fraction("first", self.first)

    def propose(self, pulls: Sequence[Pull]) -> float | None:
        """Return the position of the next training.

        Pulls that are pending count as trainings, so that parallel workers get
        different positions.

        Args:
            pulls: All trainings so far, in any order.

        Returns:
            The position of a new arm, or that of an arm to train once more with another
            seed. `None` if there is nothing left to learn: every gap is covered, and
            the best arm is best beyond doubt. The strategy `"paper"` never ends.
        """
        visits = bandit.visits(pulls, self.direction)
        if not visits:
            return self.first
        if self.strategy == "paper":
            return self._paper(visits)
        return self._gap(visits)

    def live_interval(self, pulls: Sequence[Pull]) -> tuple[float, float]:
        """Return the interval that is still searched; (0, 1) if nothing is cut off."""
        if self.strategy == "paper":
            return 0.0, 1.0
        return bandit.live_interval(bandit.visits(pulls, self.direction))

    def radius(self, count: int) -> float:
        """Return the confidence radius of an arm with so many pulls."""
        scale = self.noise if self.strategy == "gap" else self.radius_scale
        return bandit.confidence_radius(count, self.horizon, scale)

    def _gap(self, visits: Sequence[Visits]) -> float | None:
        low, high = bandit.live_interval(visits)
        live = [arm for arm in visits if low <= arm.position <= high]
        gaps = [
            gap for gap in gaps_between(live, low, high) if self._is_open(gap, visits)
        ]
        if self._is_settled(live, gaps):
            return None
        options = [(self._bound(gap), True, gap.center) for gap in gaps]
        # A second training at a rate waits for the first: only its seed would be new.
        options += [
            (self.arm(arm).index, False, arm.position)
            for arm in live
            if not arm.pending
        ]
        return max(options, key=_preference)[2] if options else None

    def _is_open(self, gap: "Gap", visits: Sequence[Visits]) -> bool:
        """Tell whether the center of a gap is in no ball."""
        return not any(
            self.lipschitz * abs(gap.center - arm.position) <= self.radius(arm.count)
            for arm in visits
        )

    def _bound(self, gap: "Gap") -> float:
        """Return an upper bound of the mean reward in a gap."""
        means = [arm.estimate + self.radius(arm.count) for arm in gap.neighbors]
        mean = bandit.larger(means)
        return (0.0 if math.isnan(mean) else mean) + self.lipschitz * gap.width / 2

    def _is_settled(self, live: Sequence[Visits], gaps: "Sequence[Gap]") -> bool:
        """Tell whether no gap and no other arm can be better than the best arm."""
        known = [arm for arm in live if not math.isnan(arm.estimate)]
        if not known:
            return False
        best = max(known, key=lambda arm: arm.estimate)
        limit = best.estimate - self.radius(best.count)
        bounds = [self._bound(gap) for gap in gaps]
        bounds += [self.arm(arm).index for arm in known if arm is not best]
        return all(bound < limit for bound in bounds)

    def _paper(self, visits: Sequence[Visits]) -> float:
        point = uncovered_point(
            [(arm.position, self.radius(arm.count) / self.lipschitz) for arm in visits]
        )
        if point is not None:
            return point
        arms = [self.arm(arm) for arm in visits]
        return max(arms, key=_optimism).position


def _preference(option: tuple[float, bool, float]) -> tuple[float, bool, float]:
    bound, is_new, position = option
    return round(bound, bandit.EQUAL_DIGITS), is_new, position


def _optimism(arm: Arm) -> tuple[float, float]:
    # Without a finished training anywhere, the radii alone decide.
    index = 2 * arm.radius if math.isnan(arm.index) else arm.index
    return round(index, bandit.EQUAL_DIGITS), arm.position


@dataclasses.dataclass(frozen=True)
class Gap:
    """A part of the axis between neighboring arms, or between an arm and the end.

    Attributes:
        low: Left end.
        high: Right end.
        neighbors: Arms at the ends, one or two.
    """

    low: float
    high: float
    neighbors: tuple[Visits, ...]

    @property
    def width(self) -> float:
        """Return its length."""
        return self.high - self.low

    @property
    def center(self) -> float:
        """Return the position in the middle."""
        return (self.low + self.high) / 2


def gaps_between(visits: Sequence[Visits], low: float, high: float) -> list[Gap]:
    """Return the gaps of the interval from `low` to `high`, from the left to the right.

    Args:
        visits: Arms in that interval, in order.
        low: Left end.
        high: Right end.
    """
    ends = [low, *(arm.position for arm in visits), high]
    return [
        Gap(left, right, tuple(visits[max(place - 1, 0) : place + 1]))
        for place, (left, right) in enumerate(itertools.pairwise(ends))
        if right - left > bandit.SAME_POSITION
    ]


def uncovered_point(balls: Sequence[tuple[float, float]]) -> float | None:
    """Return the middle of the widest part of [0, 1] outside all balls.

    Of equally wide parts the one on the right counts.

    Args:
        balls: Centers and radii. The boundary belongs to a ball.

    Returns:
        The position, or `None` if everything is covered.
    """
    reached, free = 0.0, list[tuple[float, float]]()
    for low, high in sorted(
        (center - radius, center + radius) for center, radius in balls
    ):
        free.append((reached, low))
        reached = max(reached, high)
    free.append((reached, 1.0))
    wide = [(round(high - low, bandit.EQUAL_DIGITS), low, high) for low, high in free]
    width, low, high = max(wide)
    return (low + high) / 2 if width > 0 else None
