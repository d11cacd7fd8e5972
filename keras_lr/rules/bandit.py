"""What learning-rate bandits have in common: pulls, rewards, arms, radius and cuts.

An arm is a position on the axis of the learning rate, scaled to the unit interval. A
pull is one training at it. Numbers on the host; every function takes the whole history,
so that a search which was stopped, replayed or run in parallel needs no state of its
own.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

SAME_POSITION = 1e-6
"""Positions no further apart are one arm: they travel through a float and back."""
DIGITS = 12
"""Of scaled rewards."""
HOPELESS = 0.7
"""A flagged arm cuts the axis if its mean is below this part of the best one."""
NARROW = 0.2
"""If nothing learned in an interval narrower than this, a flag was wrong."""


@dataclasses.dataclass(frozen=True)
class Pull:
    """One training, as a strategy sees it.

    Attributes:
        position: Of its learning rate on the axis, from 0 to 1.
        score: Of the objective; `None` while the training runs. It may be NaN or
            infinite, for a training that failed or diverged.
        signal: 1 if the loss blew up, -1 if it never left its initial value, 0 if it
            learned.
    """

    position: float
    score: float | None = None
    signal: int = 0


@dataclasses.dataclass(frozen=True)
class Arm:
    """All trainings at one position, and what a strategy makes of them.

    Attributes:
        position: On the axis, from 0 to 1.
        pulls: How many of its trainings are finished.
        mean: Of their rewards, from 0 to 1; NaN if none is finished.
        signal: Of its pulls if they agree, otherwise 0.
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
class Visits:
    """The pulls of one arm.

    Attributes:
        position: Of the arm.
        rewards: Of the finished pulls, in ascending order.
        pending: How many pulls are not finished.
        signal: See `Arm`.
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


def rewards(pulls: Sequence[Pull], direction: str) -> list[float | None]:
    """Return the reward of each pull, from 0 (worst) to 1, `None` if it is pending.

    Scores to be maximized that all lie between 0 and 1, such as accuracies, are their
    own rewards. All others are scaled so that the worst finite score has reward 0 and
    the best 1. Scores of trainings whose loss blew up do not count for the worst one: a
    single huge loss would make all others look the same. A score that is not finite has
    reward 0.

    Args:
        pulls: The history.
        direction: `"max"` or `"min"`.
    """
    finite = [
        (pull.score, pull.signal)
        for pull in pulls
        if pull.score is not None and math.isfinite(pull.score)
    ]
    scores = [score for score, _ in finite]
    if not scores or (direction == "max" and all(0 <= score <= 1 for score in scores)):
        worst, best = 0.0, 1.0
    else:
        # If all of them blew up, they are all that there is.
        sane = [score for score, signal in finite if signal <= 0] or scores
        best, worst = (max(scores), min(sane))
        if direction == "min":
            best, worst = (min(scores), max(sane))
    return [_reward(pull.score, worst, best) for pull in pulls]


def _reward(score: float | None, worst: float, best: float) -> float | None:
    if score is None:
        return None
    if not math.isfinite(score):
        return 0.0
    if score == best:
        return 1.0
    # Of trainings that did not blow up, all had the same score.
    if worst == best:
        return 0.0
    # Halves, because the range of two large numbers may overflow.
    share = (score / 2 - worst / 2) / (best / 2 - worst / 2)
    # Losses of any scale and offset have the same rewards, whatever their rounding.
    return round(min(max(share, 0.0), 1.0), DIGITS)


def visits(pulls: Sequence[Pull], direction: str) -> list[Visits]:
    """Return the arms of a history from the left to the right.

    The order of the pulls makes no difference.
    """
    paired = sorted(
        zip(pulls, rewards(pulls, direction), strict=True),
        key=lambda pair: pair[0].position,
    )
    groups: list[list[tuple[Pull, float | None]]] = []
    for pull, reward in paired:
        if groups and pull.position - groups[-1][0][0].position <= SAME_POSITION:
            groups[-1].append((pull, reward))
        else:
            groups.append([(pull, reward)])
    return _with_estimates([_visits_of(group) for group in groups])


def _visits_of(group: Sequence[tuple[Pull, float | None]]) -> Visits:
    finished = sorted(reward for _, reward in group if reward is not None)
    signals = {pull.signal for pull, reward in group if reward is not None}
    return Visits(
        position=group[0][0].position,
        rewards=tuple(finished),
        pending=len(group) - len(finished),
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
        count: n, the trainings of the arm.
        horizon: T.
        scale: 1 as printed, 0.1 for the paper's ReLU networks.
    """
    return scale * math.sqrt(2.0 * math.log(horizon) / (count + 1))


def live_interval(arms: Sequence[Visits]) -> tuple[float, float]:
    """Return the part of the axis that failures leave.

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
