"""A hyperparameter and the state of the walk that it goes on."""

import dataclasses
import math

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.rules import walk
from keras_lr.training.fit.online_tuning import LARGEST_AVERAGE, moves_by_complement


@dataclasses.dataclass(frozen=True)
class WalkRule:
    """How a hyperparameter moves.

    Attributes:
        smallest: Logarithm of the factor at first, and at least.
        largest: The same at most.
        minimum: Lower limit of the hyperparameter.
        maximum: Upper limit.
        is_average: Whether it moves by its distance from 1.
        share: Of the slope that a step should take away.
    """

    smallest: float
    largest: float
    minimum: float
    maximum: float
    is_average: bool = False
    share: float = 1.0


def walk_rule(
    name: str,
    factor: float,
    max_factor: float,
    limits: tuple[float, float],
    share: float = 1.0,
) -> WalkRule:
    """Return how a hyperparameter of this name moves.

    Args:
        name: `"learning_rate"` or an attribute of the optimizer.
        factor: At first, and at least.
        max_factor: What it may grow to.
        limits: Of the hyperparameter; an average also has one of its own.
        share: Of the slope that a step should take away.
    """
    minimum, maximum = limits
    is_average = moves_by_complement(name)
    if is_average:
        maximum = min(maximum, LARGEST_AVERAGE)
    sizes = math.log(factor), math.log(max(factor, max_factor))
    return WalkRule(*sizes, minimum, maximum, is_average, share)


def memory_of(optimizer: keras.optimizers.Optimizer) -> float:
    """Return what each velocity of an optimizer counts of the next, 0 without one."""
    leaf = _keras.leaf_optimizers(optimizer)[0]
    values = (getattr(leaf, name, None) for name in ("momentum", "beta_1"))
    return next((float(v) for v in values if isinstance(v, float) and 0 < v < 1), 0.0)


class WalkedHyperparameter:
    """Holds a hyperparameter, the step that it moves by, and where it last went.

    Args:
        model: A built, compiled model.
        name: `"learning_rate"` or an attribute of the optimizer.
        rule: How it moves.
        dtype: Of the scalars.
    """

    def __init__(
        self, model: keras.Model, name: str, rule: WalkRule, dtype: str
    ) -> None:
        self.name = name
        self.rule = rule
        with model.distribute_strategy.scope():
            self.value = replicas.shared_scalar(f"{name}_value", dtype)
            self.step = replicas.shared_scalar(f"{name}_step", dtype)
            self._direction = replicas.shared_scalar(f"{name}_direction", dtype)
            self._climbs = replicas.shared_scalar(f"{name}_climbs", dtype)

    def start(self, value: float) -> None:
        """Set the state to what it is before the first step, on the host."""
        self.value.assign(min(max(value, self.rule.minimum), self.rule.maximum))
        self.step.assign(self.rule.smallest)
        self._direction.assign(0.0)
        self._climbs.assign(float(self.can_climb))

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        state = self.value, self.step, self._direction, self._climbs
        return {f"{self.name}_{index}": each for index, each in enumerate(state)}

    def raised(self, value: Tensor) -> Tensor:
        """Return what a value is raised to for a trial."""
        return self._walked(value, ops.cast(self.step.value, value.dtype))

    @property
    def can_climb(self) -> bool:
        """Whether its factor is not constant, so that it matters how far it is."""
        return self.rule.largest > self.rule.smallest

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
        share = self.rule.share
        direction = walk.direction_of_slopes(start, slope, share)
        return direction, walk.is_far(start, slope, share)

    def by_loss(
        self, start: Tensor, raised: Tensor, taken: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the same by losses.

        Args:
            start: The loss before the step.
            raised: After a step at the raised value.
            taken: After the step.
        """
        factor = ops.exp(self.step.value)
        slopes = walk.slopes_of_losses(start, taken, raised, factor)
        share = self.rule.share
        if share == 1.0:
            direction = walk.direction_of_losses(raised, taken)
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
        rule = self.rule
        sizes = {"smallest": rule.smallest, "largest": rule.largest}
        step = walk.step_size(
            self.step.value, direction, self._direction.value, **sizes
        )
        moved = self._walked(self.value.value, direction * step)
        value = ops.clip(moved, rule.minimum, rule.maximum)
        climbs = ops.logical_and(is_far, value == moved)
        climbs = ops.logical_and(climbs, self.can_climb)
        for variable, new in (
            (self.value, value),
            (self.step, step),
            (self._direction, direction),
            (self._climbs, ops.cast(climbs, self._climbs.dtype)),
        ):
            variable.assign(ops.where(is_due, new, variable.value))

    def _walked(self, value: Tensor, step: Tensor) -> Tensor:
        move = walk.walked_complement if self.rule.is_average else walk.walked
        return move(value, step)
