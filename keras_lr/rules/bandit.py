"""Bandits over learning rates: pulls, rewards, arms, and what failures cut off.

An arm is a position on the axis of the learning rate, scaled to the unit interval. A
pull is one training at it. `Bandit` is the base of the rules that choose where to train
next. Numbers on the host; every function takes the whole history, so that a search
which is stopped, replayed or run in parallel needs no state.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from keras_lr import _checks

SAME_POSITION = 1e-6
"""Positions no further apart are one arm: they are converted to rates and back."""
REWARD_DIGITS = 12
"""Digits to which scaled rewards are rounded."""
EQUAL_DIGITS = 9
"""Bounds and means that agree to so many are equal."""
HOPELESS = 0.7
"""A flagged arm cuts the axis if its mean is below this part of the best one."""
NARROW = 0.2
"""If nothing learned in an interval narrower than this, a flag was wrong."""


@dataclasses.dataclass(frozen=True)
class Pull:
    """One training, as a rule sees it.

    Attributes:
        position: Position of its learning rate on the axis, from 0 to 1.
        score: Value of the objective; `None` while the training runs. Infinite for a
            training that diverged, NaN for one that failed: that says something about
            its position only if all pulls of it fail.
        signal: 1 if the loss blew up, -1 if it never left its initial value, 0 if it
            learned.
    """

    position: float
    score: float | None = None
    signal: int = 0


@dataclasses.dataclass(frozen=True)
class Visits:
    """The pulls of one arm.

    Attributes:
        position: Position of the arm.
        rewards: Rewards of the finished pulls that count, in ascending order.
        pending: How many pulls are not finished.
        signal: Signal of the finished pulls if they agree, otherwise 0.
        estimate: Mean of the rewards, or without any the larger of the neighbors'; NaN
            if nothing at all is finished.
    """

    position: float
    rewards: tuple[float, ...]
    pending: int
    signal: int
    estimate: float = math.nan

    @property
    def count(self) -> int:
        """Return the number of pulls, finished or not."""
        return len(self.rewards) + self.pending

    @property
    def mean(self) -> float:
        """Return the mean of the rewards, NaN if there are none."""
        if not self.rewards:
            return math.nan
        return math.fsum(self.rewards) / len(self.rewards)


@dataclasses.dataclass(frozen=True)
class Arm:
    """All trainings at one position, and what a rule concludes from them.

    Attributes:
        position: Position on the axis, from 0 to 1.
        pulls: How many of its trainings are finished.
        mean: Mean of their rewards, from 0 to 1; NaN if none is finished.
        signal: Signal of its pulls if they agree, otherwise 0.
        radius: The confidence radius.
        index: The upper bound `mean + 2 * radius`. An arm without a finished training
            has the larger of its neighbors' means in place of its own.
    """

    position: float
    pulls: int
    mean: float
    signal: int
    radius: float
    index: float


@dataclasses.dataclass(frozen=True)
class Bandit:
    """Base of the rules: the arms, and which of them is the best.

    Attributes:
        horizon: T, the number of trainings of the search.
        direction: `"max"` or `"min"`: whether the highest or the lowest score is best.
        lipschitz: L, the most that the reward can change over the axis.
        noise: Scale of the confidence radius: about the standard deviation of the
            reward of one rate from seed to seed.
    """

    horizon: int
    direction: str = "max"
    lipschitz: float = 1.0
    noise: float = 0.01

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(
                f"`horizon` must be at least 1. Received: horizon={self.horizon}."
            )
        _checks.one_of("direction", self.direction, ("max", "min"))
        _checks.positive_number("lipschitz", self.lipschitz)
        _checks.positive_number("noise", self.noise)

    def propose(self, pulls: Sequence[Pull]) -> float | None:
        """Return the position of the next training, `None` if the search is over.

        Args:
            pulls: All trainings so far, in any order.
        """
        raise NotImplementedError

    def live_interval(self, pulls: Sequence[Pull]) -> tuple[float, float]:
        """Return the interval that is still searched; (0, 1) if nothing is cut off."""
        raise NotImplementedError

    def arms(self, pulls: Sequence[Pull]) -> list[Arm]:
        """Return the arms that have been pulled, from the left to the right."""
        return [self.arm(arm) for arm in visits(pulls, self.direction)]

    def best(self, pulls: Sequence[Pull]) -> Arm | None:
        """Return the arm with the largest mean, `None` if no training is finished.

        Of equal means the one with more trainings counts, then the smaller rate: an
        accuracy that cannot rise any more falls steeply on the side of the large rates.
        """
        finished = [arm for arm in self.arms(pulls) if arm.pulls]
        return max(finished, key=_rank, default=None)

    def arm(self, visits: Visits) -> Arm:
        """Return an arm with its radius and its index."""
        radius = self.radius(visits.count)
        return Arm(
            position=visits.position,
            pulls=len(visits.rewards),
            mean=visits.mean,
            signal=visits.signal,
            radius=radius,
            index=visits.estimate + 2 * radius,
        )

    def radius(self, count: int) -> float:
        """Return the confidence radius of an arm with so many pulls."""
        return confidence_radius(count, self.horizon, self.noise)


def _rank(arm: Arm) -> tuple[float, int, float]:
    return round(arm.mean, EQUAL_DIGITS), arm.pulls, -arm.position


@dataclasses.dataclass(frozen=True)
class RewardScale:
    """How the scores of a search become rewards, from 0 (worst) to 1.

    Attributes:
        worst: The score with reward 0.
        best: The score with reward 1.
    """

    worst: float
    best: float

    def reward(self, score: float) -> float:
        """Return the reward of a score; 0 if it is not finite."""
        if not math.isfinite(score):
            return 0.0
        if score == self.best:
            return 1.0
        # All trainings that did not blow up had the same score.
        if self.worst == self.best:
            return 0.0
        # Halves, because the range of two large numbers may overflow.
        share = (score / 2 - self.worst / 2) / (self.best / 2 - self.worst / 2)
        # Losses of any scale and offset have the same rewards, whatever their rounding.
        return round(min(max(share, 0.0), 1.0), REWARD_DIGITS)


def reward_scale(pulls: Sequence[Pull], direction: str) -> RewardScale:
    """Return the scale of the rewards of a history.

    Scores to be maximized that all lie between 0 and 1, such as accuracies, are their
    own rewards. All others are scaled so that the worst finite score has reward 0 and
    the best 1. Scores of trainings whose loss blew up do not count for the worst one: a
    single huge loss would make all others look the same.

    Args:
        pulls: All trainings so far.
        direction: `"max"` or `"min"`.
    """
    finite = [
        (pull.score, pull.signal)
        for pull in pulls
        if pull.score is not None and math.isfinite(pull.score)
    ]
    scores = [score for score, _ in finite]
    if not scores or (direction == "max" and all(0 <= score <= 1 for score in scores)):
        return RewardScale(worst=0.0, best=1.0)
    # If all of them blew up, there are no others.
    sane = [score for score, signal in finite if signal <= 0] or scores
    if direction == "min":
        return RewardScale(worst=max(sane), best=min(scores))
    return RewardScale(worst=min(sane), best=max(scores))


def visits(pulls: Sequence[Pull], direction: str) -> list[Visits]:
    """Return the arms of a history from the left to the right.

    The order of the pulls makes no difference.
    """
    scale = reward_scale(pulls, direction)
    groups: list[list[Pull]] = []
    for pull in sorted(pulls, key=lambda pull: pull.position):
        if groups and pull.position - groups[-1][0].position <= SAME_POSITION:
            groups[-1].append(pull)
        else:
            groups.append([pull])
    return _with_estimates([_visits_of(group, scale) for group in groups])


def _visits_of(group: Sequence[Pull], scale: RewardScale) -> Visits:
    scores = [(pull.score, pull.signal) for pull in group if pull.score is not None]
    # Out of memory, a lost machine: what other pulls do not share is no reward.
    counted = [each for each in scores if not math.isnan(each[0])] or scores
    rewards = [scale.reward(score) for score, _ in counted]
    signals = {signal for _, signal in counted}
    return Visits(
        position=group[0].position,
        rewards=tuple(sorted(rewards)),
        pending=len(group) - len(scores),
        signal=signals.pop() if len(signals) == 1 else 0,
    )


def _with_estimates(arms: Sequence[Visits]) -> list[Visits]:
    return [
        dataclasses.replace(
            arm, estimate=arm.mean if arm.rewards else _larger_neighbor(arms, place)
        )
        for place, arm in enumerate(arms)
    ]


def _larger_neighbor(arms: Sequence[Visits], place: int) -> float:
    """Return the larger mean of the nearest finished arms on both sides."""
    left = next((arm.mean for arm in reversed(arms[:place]) if arm.rewards), math.nan)
    right = next((arm.mean for arm in arms[place + 1 :] if arm.rewards), math.nan)
    return larger([left, right])


def larger(values: Iterable[float]) -> float:
    """Return the largest of the values that are not NaN, NaN if there is none."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def confidence_radius(count: int, horizon: int, scale: float = 1.0) -> float:
    """Return scale sqrt(2 ln T / (n + 1)).

    Args:
        count: n, the number of trainings of the arm.
        horizon: T, the number of trainings of the search.
        scale: 1 as printed, 0.1 for the paper's ReLU networks.
    """
    return scale * math.sqrt(2.0 * math.log(horizon) / (count + 1))


def live_interval(arms: Sequence[Visits]) -> tuple[float, float]:
    """Return the part of the axis that failures do not cut off.

    Once an arm has learned, a flagged one whose mean is below 0.7 of the best cuts off
    all that is beyond it, seen from the best arm. Before, a loss that blew up cuts off
    larger rates, and one that never moved smaller ones. A network that died at a large
    rate looks as if it never moved. So if little of the axis is left and nothing in it
    learned, or the two contradict, only what blew up counts.
    """
    finished = [arm for arm in arms if arm.rewards]
    flagged = [arm for arm in finished if arm.signal]
    if len(flagged) == len(finished):
        low = max((arm.position for arm in flagged if arm.signal < 0), default=0.0)
        high = min((arm.position for arm in flagged if arm.signal > 0), default=1.0)
        return (low, high) if high - low >= NARROW else (0.0, high)
    best = max(finished, key=lambda arm: (arm.mean, arm.position))
    hopeless = [arm.position for arm in flagged if arm.mean < HOPELESS * best.mean]
    low = max((place for place in hopeless if place < best.position), default=0.0)
    high = min((place for place in hopeless if place > best.position), default=1.0)
    return low, high
