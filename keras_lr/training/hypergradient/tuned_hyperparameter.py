"""A hyperparameter, its tangent, and the rule that moves it by its hypergradient."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
from keras import ops

from keras_lr._keras import PureStep, StepState, replicas
from keras_lr._typing import Gradients, Tensor
from keras_lr.rules import marthe
from keras_lr.training.derivatives.gradient_scale import GradientScale
from keras_lr.training.derivatives.optimizer_tangent import (
    Carried,
    OptimizerTangent,
    assigning_if_large,
)
from keras_lr.training.derivatives.tensors import inner_product
from keras_lr.training.fit.hyperparameter import Hyperparameter
from keras_lr.training.hypergradient.tangent_average import TangentAverage


@dataclasses.dataclass(frozen=True)
class HypergradientRule:
    """How hyperparameters move, by the arguments of `keras_lr.MARTHE`.

    Attributes:
        update: `"log"` or `"additive"`.
        hyper_learning_rate: beta_0.
        adaptation: kappa, the step size of beta; 0 for a fixed one.
        discount: mu; `None` for the adaptive one.
        memory: Part of the training that Z looks back, from which mu follows; `None`
            for a mu that is given.
        average: Share of a new Z in the average of Z that moves it, and of a new norm
            of grad E, or of new votes, in their mean; 1 for the cosine of Z itself.
        has_votes: Whether each weight has a vote of its own in place of the cosine;
            needs an average.
        reach: Largest entry of the learning rate's Z, as a part of the path of the
            fastest weight; needs a brake. `None` for no limit.
        brake: Overshoot from which the learning rate may not rise; `None` for no limit.
    """

    update: str
    hyper_learning_rate: float
    adaptation: float
    discount: float | None
    memory: float | None = None
    average: float = 1.0
    has_votes: bool = False
    reach: float | None = None
    brake: float | None = None

    @property
    def is_additive(self) -> bool:
        """Whether it moves by Delta, and needs no pass over memory for a norm."""
        return self.update == "additive"

    @property
    def needs_norm(self) -> bool:
        """Whether it needs the norm of grad E, for the cosine."""
        return not (self.is_additive or self.has_votes)


# Below it, the numbers that are stored for Z would grow out of range.
SMALLEST_SCALE = 1e-4


class Observation(NamedTuple):
    """What a step shows about one hyperparameter: scalars.

    Attributes:
        hypergradient: Delta = <Z, grad E>.
        one_step: <B, grad E>, 0 where it is not needed.
        direction: What the hyperparameter moves by: Delta, the cosine of the angle
            between Z and grad E, or the agreement of the average of Z with it.
        size: ||Z||^2, or that of the average, or its votes; 0 where neither is needed.
    """

    hypergradient: Tensor
    one_step: Tensor
    direction: Tensor
    size: Tensor


class Past(NamedTuple):
    """What is carried over from the steps before, without the scale of Z.

    Attributes:
        weights: The stored tangent of the weights.
        factor: Factor on all of the stored tangent; 0 after a hypergradient that was
            not finite, where the tangent need not be finite either.
    """

    weights: list[Tensor]
    factor: Tensor


class CarriedOver(NamedTuple):
    """What Z after a step is made from, beside the step.

    Attributes:
        factor: The factor of `Past`; `None` where nothing is carried over.
        curvature: Products of the Hessian with the tensors of `Past`.
        longest: Limit of the sizes of the entries of Z; `None` for no limit.
    """

    factor: Tensor | None = None
    curvature: Gradients | None = None
    longest: Tensor | None = None


class TunedHyperparameter:
    """A hyperparameter, its tangent, and the state of the rule that moves it.

    Args:
        model: A built, compiled model.
        step: The step of its optimizer.
        hyperparameter: Hyperparameter that moves.
        rule: Rule by which it moves. For the decay of an average, its distance from 1
            moves.
    """

    def __init__(
        self,
        model: keras.Model,
        step: PureStep,
        hyperparameter: Hyperparameter,
        rule: HypergradientRule,
    ) -> None:
        self.name = name = hyperparameter.name
        self._step = step
        self._hyperparameter = hyperparameter
        self._rule = rule
        self._dtype = dtype = hyperparameter.value.dtype
        is_complement = rule.update == "log" and hyperparameter.is_average
        kind = "log_complement" if is_complement else rule.update
        self._moved = marthe.UPDATES[kind]
        looks_back = rule.discount != 0.0
        self._tangent = OptimizerTangent(model, step, name, keeps_slots=looks_back)
        self.tangents = [self._tangent]
        """Z, and B where it is needed."""
        if rule.discount is None:
            # B_t, without a past.
            self.tangents.append(OptimizerTangent(model, step, name, keeps_slots=False))
        self._average: TangentAverage | None = None
        self._usual: GradientScale | None = None
        self._advance = assigning_if_large(
            self._plainly_advance, step, step.variables.weights
        )
        with model.distribute_strategy.scope():
            self.beta, self.mu, self._horizon, self._last = (
                replicas.shared_scalar(f"{name}_{scalar}", dtype)
                for scalar in ("beta", "mu", "horizon", "last")
            )
            self._scale = replicas.shared_scalar(f"{name}_scale", dtype)
            self._is_lost = replicas.shared_scalar(f"{name}_is_lost", dtype)
        if rule.average < 1.0:
            self._average = TangentAverage(model, step, rule.average, dtype)
            self._usual = GradientScale(model, rule.average, dtype)

    def start(self) -> None:
        """Set the state, except the value, to what it is before the first step."""
        self.beta.assign(self._rule.hyper_learning_rate)
        self.mu.assign(self._rule.discount or 0.0)
        self._scale.assign(1.0)
        for scalar in (self._horizon, self._last, self._is_lost):
            scalar.assign(0.0)
        for tangent in self.tangents:
            tangent.clear()
        for each in (self._average, self._usual):
            if each is not None:
                each.clear()

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        tangents = [
            v for each in self.tangents for part in each.variables for v in part
        ]
        named = dict(enumerate([*self._scalars, *tangents]))
        average = {} if self._average is None else self._average.variables
        named |= {f"average_{i}": each for i, each in enumerate(average)}
        named |= {} if self._usual is None else self._usual.variables()
        return {f"{self.name}_{key}": variable for key, variable in named.items()}

    @property
    def _scalars(self) -> Sequence[keras.Variable]:
        return (
            self._hyperparameter.value,
            self.beta,
            self.mu,
            self._horizon,
            self._last,
            self._scale,
            self._is_lost,
        )

    def accepts(self, name: str, value: float) -> bool:
        """Return whether one of `variables` that is a scalar can have a value."""
        variable = self.variables().get(name)
        usual = {} if self._usual is None else self._usual.variables()
        if any(each is variable for each in usual.values()):
            return 0.0 <= value < math.inf
        if not any(each is variable for each in self._scalars):
            # Z begins anew where it is not finite.
            return True
        return math.isfinite(value) and (value >= 0.0 or variable is self._last)

    def set_discount(self, steps: Tensor) -> None:
        """Set mu by the steps of the training, in a step, unless it is given."""
        if self._rule.memory is not None:
            steps = ops.cast(steps, self._dtype)
            self.mu.assign(marthe.horizon_discount(steps, self._rule.memory))

    def carry(self) -> Past:
        """Set the factor `scale` for the step, and return what it carries over.

        To multiply Z by mu in each step would be a pass over memory. So Y is stored,
        with Z = scale Y.
        """
        is_lost = self._is_lost.value > 0.0
        scale = self._scale.value * self.mu.value
        one = ops.ones_like(scale)
        is_small = scale < SMALLEST_SCALE
        factor = ops.where(is_small, scale, one)
        factor = ops.where(is_lost, ops.zeros_like(scale), factor)
        begins_anew = ops.logical_or(is_lost, is_small)
        self._scale.assign(ops.where(begins_anew, one, scale))
        return Past(self._tangent.values().weights, factor)

    def advance(
        self,
        gradients: Gradients,
        hyperparameters: Mapping[str, Tensor],
        seed: Tensor,
        past: CarriedOver,
    ) -> None:
        """Advance `tangents`, and the average, over the coming step.

        Args:
            gradients: Gradients of the step.
            hyperparameters: Values of all that are tuned, including the learning rate.
            seed: Derivative of this hyperparameter, as the optimizer reads it, with
                respect to what is tuned.
            past: What is carried over from the steps before.
        """
        self._advance(list(gradients), dict(hyperparameters), seed, past)

    def _plainly_advance(
        self,
        gradients: list[Tensor | None],
        hyperparameters: dict[str, Tensor],
        seed: Tensor,
        past: CarriedOver,
    ) -> None:
        inputs = (self._step.variables.read(), gradients, hyperparameters)
        scale = ops.cast(self._scale.value, seed.dtype)
        carried = None
        if past.curvature is not None:
            lists = (*self._tangent.values(), past.curvature)
            weights, slots, curvature = (_times(past.factor, each) for each in lists)
            carried = Carried(StepState(weights, slots), curvature)
        tangent = self._tangent.advanced(*inputs, seed / scale, carried)
        if past.longest is not None:
            weights = _limited(tangent.weights, past.longest / self._scale.value)
            tangent = StepState(weights, tangent.slots)
        one_step = [each.advanced(*inputs, seed) for each in self.tangents[1:]]
        for each, value in zip(self.tangents, (tangent, *one_step), strict=True):
            each.assign(value)
        if self._average is not None:
            is_lost = self._is_lost.value > 0.0
            self._average.follow(tangent.weights, self._scale.value, is_lost)
        self._is_lost.assign(0.0)

    def observe(
        self, gradients: Gradients, square: Tensor | None, is_due: Tensor
    ) -> Observation:
        """Return the products of Z and B with the gradient of E.

        Args:
            gradients: grad E.
            square: ||grad E||^2; may be `None` if the rule does not need it.
            is_due: Whether an update is due; if not, nothing is learned.
        """
        weights = self._tangent.values().weights
        delta = inner_product(weights, gradients, self._dtype)
        direction, size = delta, ops.zeros_like(delta)
        if self._average is not None and self._usual is not None:
            counts = ops.logical_and(is_due, self._average.has_values)
            if self._rule.has_votes:
                product, size = self._average.votes(gradients)
                square, norm = ops.square(size), ops.ones_like(size)
            else:
                product, size = self._average.products(gradients)
                norm = ops.sqrt(size)
            mean = self._usual.followed_by(square, counts)
            largest, usual = (norm * ops.sqrt(each) for each in (square, mean))
            direction = marthe.agreement(product, largest, usual)
        elif not self._rule.is_additive:
            size = inner_product(weights, weights, self._dtype)
            direction = marthe.cosine(delta, size, square)
        one_step = ops.zeros_like(delta)
        for part in self.tangents[1:]:
            one_step = inner_product(part.values().weights, gradients, self._dtype)
        delta = delta * self._scale.value
        if self._rule.is_additive:
            direction = delta
        return Observation(delta, one_step, direction, size)

    def update(
        self, observation: Observation, is_due: Tensor, overshoot: Tensor
    ) -> tuple[Tensor, ...]:
        """Move beta, then mu, then the hyperparameter, by what a step showed.

        Args:
            observation: What the step showed.
            is_due: Whether an update is due; if not, nothing moves.
            overshoot: Cosine of the last step with the gradient after it, 0 where it is
                not needed.

        Returns:
            Delta, mu and beta of this update.
        """
        rule, delta = self._rule, observation.hypergradient
        hyperparameter = self._hyperparameter
        mu_of_step = self.mu.value + 0.0
        beta, mu, horizon = self.beta.value, self.mu.value, self._horizon.value
        if rule.adaptation:
            last = self._last.value
            beta = marthe.adapted_hyper_learning_rate(
                beta, delta, last, rule.adaptation
            )
        if rule.discount is None:
            mu, horizon = marthe.adapted_discount(
                mu, horizon, delta, observation.one_step
            )
        rate = hyperparameter.value.value
        moved = self._moved(rate, observation.direction, beta)
        if rule.brake is not None and hyperparameter.is_learning_rate:
            moved = marthe.braked(moved, rate, overshoot, rule.brake)
        value = hyperparameter.clipped(moved)
        # A norm that overflows says nothing either: Z starts anew.
        is_finite = ops.isfinite(delta + observation.size)
        horizon = ops.where(is_finite, horizon, ops.zeros_like(horizon))
        is_lost = ops.cast(ops.logical_not(is_finite), delta.dtype)
        last = ops.where(is_finite, delta, self._last.value)
        for variable, updated in (
            (self.beta, beta),
            (self.mu, mu),
            (self._horizon, horizon),
            (hyperparameter.value, value),
            (self._last, last),
            (self._is_lost, is_lost),
        ):
            variable.assign(ops.where(is_due, updated, variable.value))
        return delta, mu_of_step, self.beta.value + 0.0


def _limited(tensors: list[Tensor], largest: Tensor) -> list[Tensor]:
    """Return the tensors with entries of no more than a size."""

    def limited(tensor: Tensor) -> Tensor:
        limit = ops.cast(largest, tensor.dtype)
        return ops.clip(tensor, -limit, limit)

    return [limited(each) for each in tensors]


def _times(factor: Tensor, tensors: Gradients) -> list[Tensor | None]:
    """Return the tensors times a scalar; 0 times infinity is 0."""
    import tensorflow as tf

    return [
        each
        if each is None
        else tf.math.multiply_no_nan(each, tf.cast(factor, each.dtype))
        for each in tensors
    ]
