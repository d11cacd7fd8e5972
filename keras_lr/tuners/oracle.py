"""`LearningRateOracle`: what the searches over learning rates share."""

import copy
import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_lr import _warnings
from keras_lr._keras.models import print_message
from keras_lr._keras_tuner.oracle import FINISHED, DurableOracle, trial_order
from keras_lr.rules.bandit import EQUAL_DIGITS, Bandit, Pull
from keras_lr.tuners import axis as axes
from keras_lr.tuners import trial_keys
from keras_lr.tuners.arms import LearningRateArm, Training, describe_arms


class LearningRateOracle(DurableOracle):
    """Base of `ZoomingOracle` and `BLiEOracle`: everything except the rule.

    Args:
        make_rule: Function of the horizon and the direction that returns the rule.
        objective: Metric to optimize, or a `keras_tuner.Objective`.
        max_trials: Number of trainings, the horizon of the rule.
        hyperparameter: Name of the learning rate in the search space.
        **kwargs: More arguments of `keras_tuner.Oracle`.
    """

    def __init__(
        self,
        make_rule: Callable[[int, str], Bandit],
        objective: Any,
        max_trials: int,
        *,
        hyperparameter: str,
        **kwargs: Any,
    ) -> None:
        is_integer = isinstance(max_trials, numbers.Integral)
        if isinstance(max_trials, bool) or not is_integer or max_trials < 1:
            raise ValueError(
                "`max_trials` must be a positive integer: how far an arm is trusted "
                f"depends on it. Received: max_trials={max_trials!r}."
            )
        max_trials = int(max_trials)
        super().__init__(objective, max_trials, **kwargs)
        self.hyperparameter = hyperparameter
        self._is_in_trial = False
        self._make_rule = make_rule
        # Raises if an argument is wrong.
        make_rule(max_trials, self.objective.direction)

    def rule(self) -> Bandit:
        """Return the rule that chooses learning rates."""
        return self._make_rule(self.max_trials, self.objective.direction)

    @property
    def space(self) -> axes.SearchSpace:
        """What is active of the search space."""
        return axes.read_space(self.hyperparameters, self.hyperparameter)

    def update_space(self, hyperparameters: Any) -> None:
        """Add hyperparameters to the search space, and check that it can be searched.

        Raises:
            ValueError: If there is another hyperparameter to tune than the learning
                rate, or if the learning rate is not a range of floats.
        """
        problem = self._problem_with(hyperparameters)
        if problem is not None and not self._is_in_trial:
            raise ValueError(problem)
        super().update_space(hyperparameters)
        if problem is None:
            return
        # An exception would leave a chief without workers. The default is used.
        _warnings.warn(problem)

    def _problem_with(self, hyperparameters: Any) -> str | None:
        """Return what would be wrong with hyperparameters, which are not added."""
        space = self.hyperparameters
        self.hyperparameters = space.copy()
        try:
            super().update_space(hyperparameters)
            return self.problem()
        finally:
            self.hyperparameters = space

    def problem(self) -> str | None:
        """Return what is wrong with the search space, `None` if nothing is."""
        problem = axes.problem_with(self.space, self.hyperparameter)
        if problem is not None:
            return problem
        try:
            self.rule()
        except ValueError as error:
            return str(error)
        return None

    def axis(self) -> axes.Axis:
        """Return the axis of the learning rate.

        Raises:
            ValueError: If there is no learning rate in the search space.
        """
        axis = self.space.axis
        if axis is None:
            raise ValueError(axes.missing(self.hyperparameters, self.hyperparameter))
        return axis

    def end_trial(self, trial: Any) -> None:
        """End a trial; new hyperparameters that turned up in it keep their defaults."""
        self._is_in_trial = True
        try:
            super().end_trial(trial)
        finally:
            self._is_in_trial = False

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Choose the learning rate of the next trial, and its seed."""
        if self.stop_reason is not None:
            return self._stop(f"The search stops: {self.stop_reason}")
        space = self.space
        if space.axis is None:
            # A tuner without a hypermodel declares its space in its first trial.
            if self.end_order:
                name = self.hyperparameter
                reason = axes.missing(self.hyperparameters, name)
                return self._stop(self.problem() or reason)
            return {"status": "RUNNING", "values": dict(space.others)}
        try:
            rule = self.rule()
        except ValueError as error:
            return self._stop(str(error))
        position = rule.propose(self.pulls())
        if position is None:
            self._say_end()
            return {"status": "STOPPED"}
        tried = [training.learning_rate for training in self.trainings()]
        rate = space.axis.learning_rate_among(tried, position)
        values = dict(space.others) | {
            self.hyperparameter: rate,
            trial_keys.PULL: tried.count(rate),
            trial_keys.SEED: training_seed(self.seed, len(self.trials)),
        }
        return {"status": "RUNNING", "values": values}

    def _say_end(self) -> None:
        if self.verbose:
            print_message(
                f"The search ends after {len(self.trials)} of {self.max_trials} "
                "trials: nothing that is left can be better by more than the noise. "
                "With a larger `lipschitz` or a smaller `noise` it would continue."
            )

    def _stop(self, reason: str) -> dict[str, Any]:
        _warnings.warn(reason)
        return {"status": "STOPPED"}

    def as_shown(self, trial: Any) -> Any:
        """Return a trial with what is searched among its values, and nothing else."""
        shown = copy.copy(trial)
        shown.hyperparameters = trial.hyperparameters.copy()
        hidden = (trial_keys.PULL, trial_keys.SEED)
        shown.hyperparameters.values = {
            name: value
            for name, value in trial.hyperparameters.values.items()
            if name not in hidden
        }
        return shown

    def remark(self, trial: Any) -> str:
        """Return which training at its rate a trial is, if it is not the first one."""
        pull = trial.hyperparameters.values.get(trial_keys.PULL, 0)
        return f"This is seed {pull + 1} of this rate." if pull else ""

    def score_trial(self, trial: Any) -> None:
        """Score a trial; the worst score if its loss or its objective is not finite."""
        name = self.objective.name
        metrics = trial.metrics
        value = metrics.get_best_value(name) if metrics.exists(name) else None
        loss = _last(metrics, trial_keys.FINAL_LOSS, default=0.0)
        trial.score, trial.best_step = self.worst(name), 0
        if value is not None and math.isfinite(value) and math.isfinite(loss):
            trial.score = float(value)
            trial.best_step = metrics.get_best_step(name) or 0

    def trainings(self) -> list[Training]:
        """Return the trials at a known learning rate, in the order of their start."""
        return [
            _training(self.trials[trial_id], self.hyperparameter)
            for trial_id in sorted(self.trials, key=trial_order)
            if self.hyperparameter in self.trials[trial_id].hyperparameters.values
        ]

    def pulls(self) -> list[Pull]:
        """Return the history of the search, as its rule sees it."""
        axis = self.axis()
        return [
            Pull(axis.position(each.learning_rate), each.score, each.signal)
            for each in self.trainings()
        ]

    def arms(self) -> list[LearningRateArm]:
        """Return the learning rates that have been tried, from the smallest up."""
        rule, axis = self.rule(), self.axis()
        arms = rule.arms(self.pulls())
        return describe_arms(arms, self.trainings(), axis, rule.lipschitz)

    def best_arm(self) -> LearningRateArm | None:
        """Return the recommended learning rate: that with the best mean reward.

        Returns:
            `None` if no trial has finished.
        """
        best = self.rule().best(self.pulls())
        if best is None:
            return None
        rate = self.axis().learning_rate(best.position)
        return min(self.arms(), key=lambda arm: abs(arm.learning_rate - rate))

    def live_interval(self) -> tuple[float, float]:
        """Return the smallest and the largest rate that are still searched."""
        axis = self.axis()
        low, high = self.rule().live_interval(self.pulls())
        return axis.learning_rate(low), axis.learning_rate(high)

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """Return the best trials: by the mean of their arms, not by single scores.

        Within an arm they are sorted by score. Trials that have not finished, or that
        failed, come last.
        """
        rank = self._ranks()
        sign = -1.0 if self.objective.direction == "max" else 1.0
        finished = [trial for trial in self.trials.values() if trial.score is not None]
        finished = [trial for trial in finished if trial.status in FINISHED]
        finished.sort(
            key=lambda trial: (
                rank.get(trial.trial_id, len(rank)),
                sign * trial.score,
                trial_order(trial.trial_id),
            )
        )
        rest = [trial for trial in self.trials.values() if trial not in finished]
        missing = num_trials > len(finished)
        return (finished + rest if missing else finished)[:num_trials]

    def _ranks(self) -> dict[str, int]:
        """Return the rank of the arm of each trial, by the name of the trial."""
        if self.space.axis is None:
            return {}
        best = self.best_arm()
        rate = None if best is None else best.learning_rate
        arms = sorted(
            (arm for arm in self.arms() if arm.scores),
            # The rule breaks ties.
            key=lambda arm: (
                arm.learning_rate != rate,
                -round(arm.reward, EQUAL_DIGITS),
            ),
        )
        return {i: place for place, arm in enumerate(arms) for i in arm.trial_ids}


def training_seed(seed: int, number: int) -> int:
    """Return the seed of a training, from that of the search and its number."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)


def _training(trial: Any, name: str) -> Training:
    score = None
    # A tuner in another thread may have completed it, and not yet reported it.
    if trial.status == "COMPLETED" and trial.score is not None:
        score = float(trial.score)
    elif trial.status == "FAILED":
        score = math.nan
    # The mean over executions; those that do not agree say nothing.
    signal = _last(trial.metrics, trial_keys.SIGNAL, default=0.0)
    return Training(
        trial_id=trial.trial_id,
        learning_rate=float(trial.hyperparameters.values[name]),
        score=score,
        signal=int(signal) if abs(signal) == 1 else 0,
    )


def _last(metrics: Any, name: str, default: float) -> float:
    return float(metrics.get_last_value(name)) if metrics.exists(name) else default
