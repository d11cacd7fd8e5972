"""Arms of a search in learning rates and scores, and their summary in words."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from keras_lr.rules.bandit import SAME_POSITION, Arm
from keras_lr.tuners.axis import Axis

NEAR_BEST = 0.98
"""Arms whose mean reward is at least this part of the best one's are as good."""
SIGNALS = {1: "the loss blew up", -1: "the loss never left its start", 0: ""}


@dataclasses.dataclass(frozen=True)
class Training:
    """One trial of a search.

    Attributes:
        trial_id: Name of the trial in KerasTuner.
        learning_rate: Learning rate of the training.
        score: Value of the objective; `None` while it runs, infinite if it diverged,
            NaN if it failed.
        signal: 1 if the loss blew up, -1 if it never left its initial value, else 0.
    """

    trial_id: str
    learning_rate: float
    score: float | None
    signal: int


@dataclasses.dataclass(frozen=True)
class LearningRateArm:
    """All trials at one learning rate.

    Attributes:
        learning_rate: The rate.
        scores: Values of the objective, in the order of the trials; infinite for those
            that diverged, NaN for those that failed.
        mean_score: Mean of the scores, without failed ones if others did not fail.
        reward: Mean reward, from 0 (worst) to 1; NaN if no trial has finished.
        signal: 1 if the loss blew up, -1 if it never left its initial value, else 0.
        low: Smallest rate of the arm's ball.
        high: Largest rate of the arm's ball.
        index: Upper bound of the reward, by which the search chooses.
        trial_ids: Names of its trials, also of those that run.
    """

    learning_rate: float
    scores: tuple[float, ...]
    mean_score: float
    reward: float
    signal: int
    low: float
    high: float
    index: float
    trial_ids: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """Return the arm as a row of a table."""
        row = dataclasses.asdict(self)
        del row["scores"], row["trial_ids"]
        row["trials"] = len(self.scores)
        row["scores"] = " ".join(f"{score:.6g}" for score in self.scores)
        row["trial_ids"] = " ".join(self.trial_ids)
        return row


def describe_arms(
    arms: Sequence[Arm], trainings: Sequence[Training], axis: Axis, lipschitz: float
) -> list[LearningRateArm]:
    """Return the arms of a rule in learning rates, from the smallest rate up.

    Args:
        arms: Arms on the axis.
        trainings: All trials at a known learning rate, in order.
        axis: Axis of the learning rate.
        lipschitz: L: a ball reaches as far as the radius of its arm divided by L.
    """
    return [_describe(arm, trainings, axis, lipschitz) for arm in arms]


def _describe(
    arm: Arm, trainings: Sequence[Training], axis: Axis, lipschitz: float
) -> LearningRateArm:
    at_arm = [
        training
        for training in trainings
        if abs(axis.position(training.learning_rate) - arm.position) <= SAME_POSITION
    ]
    scores = tuple(each.score for each in at_arm if each.score is not None)
    reach = arm.radius / lipschitz
    counted = [score for score in scores if not math.isnan(score)]
    return LearningRateArm(
        learning_rate=at_arm[0].learning_rate,
        scores=scores,
        mean_score=math.fsum(counted) / len(counted) if counted else math.nan,
        reward=arm.mean,
        signal=arm.signal,
        low=axis.learning_rate(arm.position - reach),
        high=axis.learning_rate(arm.position + reach),
        index=arm.index,
        trial_ids=tuple(each.trial_id for each in at_arm),
    )


def near_best(
    arms: Sequence[LearningRateArm], best: LearningRateArm
) -> tuple[float, float]:
    """Return the range of rates around the best arm that are as good within 2 %.

    It reaches from arm to arm as long as their mean reward is at least 0.98 of the best
    arm's.
    """
    is_near = [arm.reward >= NEAR_BEST * best.reward for arm in arms]
    # Not the arm itself: it may have been made anew, and a NaN equals nothing.
    first = last = [arm.learning_rate for arm in arms].index(best.learning_rate)
    while first > 0 and is_near[first - 1]:
        first -= 1
    while last + 1 < len(arms) and is_near[last + 1]:
        last += 1
    return arms[first].learning_rate, arms[last].learning_rate


def summary_lines(
    arms: Sequence[LearningRateArm], best: LearningRateArm | None, objective: str
) -> list[str]:
    """Return the result of a search, in sentences.

    Args:
        arms: All arms, by rate.
        best: The recommended arm, `None` if no trial has finished.
        objective: Name of the objective.
    """
    finished = [arm for arm in arms if arm.scores]
    if best is None or not is_recommended(best):
        return [_without_recommendation(finished, best, objective), *_signals(arms)]
    lines = [
        f"Recommended learning rate: {best.learning_rate:.3g} "
        f"({objective} {_finite_mean(best):.4g}, {_trials(best)})."
    ]
    low, high = near_best(finished, best)
    if low < high:
        lines.append(f"Rates from {low:.3g} to {high:.3g} are as good within 2 %.")
    else:
        lines.append("No other rate that was tried is as good within 2 %.")
    lines += _signals(arms)
    smallest, largest = finished[0].learning_rate, finished[-1].learning_rate
    if best.learning_rate in (smallest, largest) and smallest < largest:
        side = "smallest" if best.learning_rate == smallest else "largest"
        lines.append(
            f"This is the {side} rate that was tried: more trials, or a wider range, "
            "may find a better one."
        )
    return lines


def is_recommended(best: LearningRateArm) -> bool:
    """Return whether the best arm is good: it has a score, and its loss moved."""
    return best.signal == 0 and any(map(math.isfinite, best.scores))


def _without_recommendation(
    finished: Sequence[LearningRateArm], best: LearningRateArm | None, objective: str
) -> str:
    said = "No learning rate is recommended: "
    scores = [score for arm in finished for score in arm.scores]
    if best is None or not scores:
        return f"{said}no trial has finished."
    if any(map(math.isfinite, best.scores)):
        return (
            f"{said}the best {objective}, {_finite_mean(best):.4g}, is at "
            f"{best.learning_rate:.3g}, where {SIGNALS[best.signal]}."
        )
    failed = sum(map(math.isnan, scores))
    rest = len(scores) - failed
    parts = [f"{failed} failed"] if failed else []
    parts += [f"{rest} had no finite {objective}"] if rest else []
    return f"{said}of {len(scores)} trials, {' and '.join(parts)}."


def _signals(arms: Sequence[LearningRateArm]) -> list[str]:
    """Say at which rates the loss blew up, or never left its start."""
    rates = {
        signal: [f"{arm.learning_rate:.3g}" for arm in arms if arm.signal == signal]
        for signal in (-1, 1)
    }
    return [
        f"At {', '.join(rates[signal])} {SIGNALS[signal]}."
        for signal in rates
        if rates[signal]
    ]


def _finite_mean(arm: LearningRateArm) -> float:
    finite = [score for score in arm.scores if math.isfinite(score)]
    return math.fsum(finite) / len(finite)


def _trials(arm: LearningRateArm) -> str:
    """Return how many trials a mean is of, and how many it leaves out."""
    finite = sum(map(math.isfinite, arm.scores))
    failed = sum(map(math.isnan, arm.scores))
    diverged = len(arm.scores) - finite - failed
    said = "one trial" if finite == 1 else f"mean of {finite} trials"
    said += f", {diverged} more diverged" if diverged else ""
    return said + (f", {failed} more failed" if failed else "")
