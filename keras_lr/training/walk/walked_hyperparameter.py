"""A hyperparameter and the state of the walk that it goes on."""

import dataclasses
import math

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
        factor: The factor at first, and at least.
        max_factor: What the factor may grow to.
        share: Part of the slope that a step should take away.
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
    """Return what each velocity of an optimizer counts of the next, 0 without one."""
    leaf = _keras.leaf_optimizers(optimizer)[0]
    values = (getattr(leaf, name, None) for name in ("momentum", "beta_1"))
    return next((float(v) for v in values if isinstance(v, float) and 0 < v < 1), 0.0)


class WalkedHyperparameter:
    """A hyperparameter, the factor that it moves by, and where it last went.

    Args:
        model: A built, compiled model.
        hyperparameter: What moves.
        rule: How it moves. The decay of an average moves by its distance from 1.
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

    def start(self) -> None:
        """Set the state, except the value, to what it is before the first step."""
        self.step.assign(self._rule.sizes["smallest"])
        self._direction.assign(0.0)
        self._climbs.assign(float(self.can_climb))

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        value = self._hyperparameter.value
        state = value, self.step, self._direction, self._climbs
        return {f"{self.name}_{index}": each for index, each in enumerate(state)}

    def raised(self, value: Tensor) -> Tensor:
        """Return what a value is raised to for a trial."""
        return self._walk(value, ops.cast(self.step.value, value.dtype))

    @property
    def can_climb(self) -> bool:
        """Whether its factor is not constant, so that it matters how far it is."""
        return self._rule.max_factor > self._rule.factor

    @property
    def climbs(self) -> Tensor:
        """Whether it moves in each step: far from where it goes, and from a limit."""
        return self._climbs.value > 0.0

    def by_slope(self, start: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Return which way it goes, and whether it has far to go.

        Args:
            start: The slope where the step has done nothing yet.
            slope: The one after the step.
        """
        share = self._rule.share
        direction = walk.direction_of_slopes(start, slope, share)
        return direction, walk.is_far(start, slope, share)

    def by_loss(
        self, start: Tensor, raised: Tensor, after: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return which way it goes, and whether it has far to go.

        Args:
            start: The loss before the step.
            raised: The loss after a step at the raised value.
            after: The loss after the step.
        """
        factor = ops.exp(self.step.value)
        slopes = walk.slopes_of_losses(start, after, raised, factor)
        share = self._rule.share
        if share == 1.0:
            direction = walk.direction_of_losses(raised, after)
        else:
            direction = walk.direction_of_slopes(*slopes, share)
        return direction, walk.is_far(*slopes, share)

    def update(self, direction: Tensor, is_far: Tensor, is_due: Tensor) -> None:
        """Move, where it is time to.

        Args:
            direction: 1 for upwards, -1 for downwards.
            is_far: Whether it has a long way to go.
            is_due: Whether all of it counts.
        """
        moving = self._hyperparameter
        step = walk.step_size(
            self.step.value, direction, self._direction.value, **self._rule.sizes
        )
        moved = self._walk(moving.value.value, direction * step)
        value = moving.clipped(moved)
        climbs = ops.logical_and(is_far, value == moved)
        climbs = ops.logical_and(climbs, self.can_climb)
        for variable, new in (
            (moving.value, value),
            (self.step, step),
            (self._direction, direction),
            (self._climbs, ops.cast(climbs, self._climbs.dtype)),
        ):
            variable.assign(ops.where(is_due, new, variable.value))
