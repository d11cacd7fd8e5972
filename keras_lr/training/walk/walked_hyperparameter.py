"""A hyperparameter that walks, and the state of its walk."""

import dataclasses
import math
from typing import NamedTuple

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.rules import walk
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


class Decision(NamedTuple):
    """What a trial says: scalars.

    Attributes:
        direction: 1 for upwards, -1 for downwards.
        is_far: Whether the goal is far.
        before: Slope before the step has any effect; NaN if it is not used.
        after: Slope after the step.
    """

    direction: Tensor
    is_far: Tensor
    before: Tensor
    after: Tensor


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
            self._square, self._trials = (
                replicas.shared_scalar(f"{name}_{scalar}", dtype)
                for scalar in ("square", "trials")
            )

    def start(self) -> None:
        """Set the state, except the value, to what it is before the first step."""
        self.step.assign(self._rule.sizes["smallest"])
        self._direction.assign(0.0)
        self._climbs.assign(float(self.can_climb))
        self._square.assign(0.0)
        self._trials.assign(0.0)

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        value = self._hyperparameter.value
        state = value, self.step, self._direction, self._climbs
        named = {f"{self.name}_{index}": each for index, each in enumerate(state)}
        return named | self.added_variables()

    def added_variables(self) -> dict[str, keras.Variable]:
        """Return those of `variables` that version 0.1.0 did not have, by names."""
        added = {"square": self._square, "trials": self._trials}
        return {f"{self.name}_{key}": variable for key, variable in added.items()}

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

    def by_slope(self, start: Tensor, slope: Tensor) -> Decision:
        """Return where it moves.

        Args:
            start: Slope before the step has any effect.
            slope: Slope after the step.
        """
        share = self._rule.share
        direction = walk.direction_of_slopes(start, slope, share)
        is_far = walk.is_far(start, slope, share)
        return Decision(direction, is_far, start, slope)

    def by_loss(self, start: Tensor, raised: Tensor, after: Tensor) -> Decision:
        """Return where it moves.

        Args:
            start: Loss before the step.
            raised: Loss after a step at the raised value.
            after: Loss after the step.
        """
        factor = ops.exp(self.step.value)
        slopes = walk.slopes_of_losses(start, after, raised, factor)
        share = self._rule.share
        if share == 1.0:
            direction = walk.direction_of_losses(raised, after)
        else:
            direction = walk.direction_of_slopes(*slopes, share)
        # They are in units of the present value, which itself moves.
        value = ops.cast(self._hyperparameter.value.value, after.dtype)
        before, slope = (each / value for each in slopes)
        return Decision(direction, walk.is_far(*slopes, share), before, slope)

    def update(self, decision: Decision, is_due: Tensor) -> None:
        """Move, where a move is due.

        Args:
            decision: Where it moves.
            is_due: Whether a move is due; if not, nothing changes.
        """
        hyperparameter = self._hyperparameter
        direction, is_far, before, after = decision
        step = walk.step_size(
            self.step.value, direction, self._direction.value, **self._rule.sizes
        )
        trials = self._trials.value + 1.0
        square = walk.mean_square(self._square.value, before, trials)
        vote = ops.ones_like(step)
        if self.can_climb:
            vote = walk.weight_of_vote(before, after, square, self._rule.share)
        moved = self._walk(hyperparameter.value.value, direction * vote * step)
        value = hyperparameter.clipped(moved)
        climbs = ops.logical_and(is_far, value == moved)
        climbs = ops.logical_and(climbs, self.can_climb)
        for variable, updated in (
            (hyperparameter.value, value),
            (self.step, step),
            (self._direction, direction),
            (self._climbs, ops.cast(climbs, self._climbs.dtype)),
            (self._square, square),
            (self._trials, trials),
        ):
            variable.assign(ops.where(is_due, updated, variable.value))
