"""A hyperparameter that walks, and the state of its walk."""

import dataclasses
import math

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.rules import average, walk
from keras_lr.training.fit.hyperparameter import Hyperparameter


@dataclasses.dataclass(frozen=True)
class WalkRule:
    """How a hyperparameter moves.

    Attributes:
        factor: First and lowest factor.
        max_factor: Highest factor.
        share: Part of the slope that a step should remove.
    """

    factor: float
    max_factor: float
    share: float = 1.0

    @property
    def sizes(self) -> dict[str, float]:
        """The logarithms of the two factors."""
        largest = max(self.factor, self.max_factor)
        return {"smallest": math.log(self.factor), "largest": math.log(largest)}


def memory_of(optimizer: keras.optimizers.Optimizer) -> float:
    """Return the weight of each velocity of an optimizer in the next, 0 without one."""
    leaf = _keras.leaf_optimizers(optimizer)[0]
    values = (getattr(leaf, name, None) for name in ("momentum", "beta_1"))
    return next((float(v) for v in values if isinstance(v, float) and 0 < v < 1), 0.0)


class WalkedHyperparameter:
    """A hyperparameter, the factor by which it moves, and its last direction.

    Args:
        model: A built, compiled model.
        hyperparameter: Hyperparameter that moves.
        rule: Rule by which it moves. For the decay of an average, its distance from 1
            moves.
    """

    def __init__(
        self, model: keras.Model, hyperparameter: Hyperparameter, rule: WalkRule
    ) -> None:
        self.name = name = hyperparameter.name
        self._hyperparameter = hyperparameter
        self._rule = rule
        is_average = hyperparameter.is_average
        self._walk = walk.walked_complement if is_average else walk.walked
        dtype = hyperparameter.value.dtype
        with model.distribute_strategy.scope():
            self.step = replicas.shared_scalar(f"{name}_step", dtype)
            self._direction = replicas.shared_scalar(f"{name}_direction", dtype)
            self._climbs = replicas.shared_scalar(f"{name}_climbs", dtype)
            self._slopes = [
                replicas.shared_scalar(f"{name}_{each}", dtype)
                for each in ("slope_before", "slope_after", "trials")
            ]

    def start(self) -> None:
        """Set the state, except the value, to what it is before the first step."""
        self.step.assign(self._rule.sizes["smallest"])
        self._climbs.assign(float(self.can_climb))
        for each in (self._direction, *self._slopes):
            each.assign(0.0)

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        value = self._hyperparameter.value
        state = value, self.step, self._direction, self._climbs
        named = {f"{self.name}_{index}": each for index, each in enumerate(state)}
        if not self.can_climb:
            return named
        slopes = enumerate(self._slopes)
        return named | {f"{self.name}_slopes_{index}": each for index, each in slopes}

    def raised(self, value: Tensor) -> Tensor:
        """Return the raised value for a trial."""
        return self._walk(value, ops.cast(self.step.value, value.dtype))

    @property
    def can_climb(self) -> bool:
        """Whether its factor may grow, so that the distance to its goal matters."""
        return self._rule.max_factor > self._rule.factor

    @property
    def climbs(self) -> Tensor:
        """Whether it moves in each step: it is far from its goal, and at no limit."""
        return self._climbs.value > 0.0

    def by_slope(
        self, start: Tensor, slope: Tensor, is_due: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return its direction, and whether its goal is far.

        Args:
            start: Slope before the step has any effect.
            slope: Slope after the step.
            is_due: Whether a move is due.
        """
        share = self._rule.share
        is_far = walk.is_far(start, slope, share)
        if self.can_climb:
            start, slope = self._averaged(start, slope, is_due)
        return walk.direction_of_slopes(start, slope, share), is_far

    def by_loss(
        self, start: Tensor, raised: Tensor, after: Tensor, is_due: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return its direction, and whether its goal is far.

        Args:
            start: Loss before the step.
            raised: Loss after a step at the raised value.
            after: Loss after the step.
            is_due: Whether a move is due.
        """
        factor = ops.exp(self.step.value)
        slopes = walk.slopes_of_losses(start, after, raised, factor)
        if self.can_climb:
            # Per value: otherwise one that rises would outweigh the past.
            value = self._hyperparameter.value.value
            before, now = (each / value for each in slopes)
            return self.by_slope(before, now, is_due)
        is_far = walk.is_far(*slopes, self._rule.share)
        return walk.direction_of_losses(raised, after), is_far

    def _averaged(
        self, start: Tensor, slope: Tensor, is_due: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take in a trial; return the averages, and NaN for one that is not finite."""
        is_finite = ops.isfinite(start + slope)
        counts = ops.logical_and(is_due, is_finite)
        *means, trials = self._slopes
        share = average.share_of_new(trials.value, walk.TRIAL_SHARE, walk.FIRST_TRIALS)
        # A start that is not downhill counts as 0 in the average too.
        for mean, value in zip(means, (ops.minimum(start, 0.0), slope), strict=True):
            moved = average.moving_average(mean.value, value, share)
            mean.assign(ops.where(counts, moved, mean.value))
        trials.assign(ops.where(counts, trials.value + 1.0, trials.value))
        before, after = (each.value for each in means)
        return before, ops.where(is_finite, after, ops.full_like(after, math.nan))

    def update(
        self,
        direction: Tensor,
        is_far: Tensor,
        is_due: Tensor,
        may_hurry: Tensor | None = None,
    ) -> None:
        """Move, where a move is due.

        Args:
            direction: 1 for upwards, -1 for downwards.
            is_far: Whether its goal is far.
            is_due: Whether a move is due; if not, nothing changes.
            may_hurry: Whether a rise may be larger than by the smallest factor.
        """
        hyperparameter = self._hyperparameter
        sizes = self._rule.sizes
        step = walk.step_size(
            self.step.value, direction, self._direction.value, **sizes
        )
        next_direction = direction
        if may_hurry is not None:
            is_slow = ops.logical_and(direction > 0.0, ops.logical_not(may_hurry))
            step = ops.where(is_slow, sizes["smallest"], step)
            # What follows begins to hurry anew.
            next_direction = ops.where(is_slow, 0.0, direction)
            is_far = ops.logical_and(is_far, ops.logical_not(is_slow))
        moved = self._walk(hyperparameter.value.value, direction * step)
        value = hyperparameter.clipped(moved)
        climbs = ops.logical_and(is_far, value == moved)
        climbs = ops.logical_and(climbs, self.can_climb)
        for variable, updated in (
            (hyperparameter.value, value),
            (self.step, step),
            (self._direction, next_direction),
            (self._climbs, ops.cast(climbs, self._climbs.dtype)),
        ):
            variable.assign(ops.where(is_due, updated, variable.value))

    def fall(self, first: Tensor, is_due: Tensor) -> None:
        """Fall by a step of the rule's own, where that is due, and end a climb.

        Args:
            first: Value that it does not fall below.
            is_due: Whether it falls; if not, nothing changes.
        """
        value = self._hyperparameter.value
        fallen = walk.lowered(value.value, first)
        for variable, updated in (
            (value, self._hyperparameter.clipped(fallen)),
            (self.step, self._rule.sizes["smallest"]),
            (self._direction, 0.0),
            (self._climbs, 0.0),
        ):
            variable.assign(ops.where(is_due, updated, variable.value))
