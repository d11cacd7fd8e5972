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
    """How hyperparameters move; the arguments of `keras_lr.MARTHE`.

    Attributes:
        update: `"log"` or `"additive"`.
        hyper_learning_rate: beta_0.
        adaptation: kappa, the step size of beta; 0 for a fixed one.
        discount: mu; `None` for the adaptive one.
        memory: Part of the training that Z looks back, from which mu follows; `None`
            for a mu that is given.
        average: Share of a new Z in the average of Z whose cosine moves it; 1 for Z
            itself. The norm of grad E in the cosine is that of the same steps.
        brake: Overshoot from which the learning rate may not rise; `None` for no limit.
    """

    update: str
    hyper_learning_rate: float
    adaptation: float
    discount: float | None
    memory: float | None = None
    average: float = 1.0
    brake: float | None = None

    @property
    def needs_norms(self) -> bool:
        """Whether it needs the cosine, whose norms are each a pass over memory."""
        return self.update != "additive"


# Below it, the numbers that are stored for Z would grow out of range.
SMALLEST_SCALE = 1e-4


class Observation(NamedTuple):
    """What a step shows about one hyperparameter: scalars.

    Attributes:
        hypergradient: Delta = <Z, grad E>.
        one_step: <B, grad E>, 0 where it is not needed.
        cosine: Cosine of the angle between Z, or its average, and grad E; 0 where it is
            not needed.
        tangent_square: ||Z||^2 of the weights, or of the average, 0 where it is not
            needed.
    """

    hypergradient: Tensor
    one_step: Tensor
    cosine: Tensor
    tangent_square: Tensor


class Past(NamedTuple):
    """What is carried over from the steps before, without the scale of Z.

    Attributes:
        weights: The stored tangent of the weights.
        factor: Factor on all of the stored tangent; 0 after a hypergradient that was
            not finite, where the tangent need not be finite either.
    """

    weights: list[Tensor]
    factor: Tensor


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
        if rule.average < 1.0:
            self._average = TangentAverage(model, step, rule.average, dtype)
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

    @property
    def has_tangent(self) -> Tensor | bool:
        """Whether a step has been taken since Z was last set to zero."""
        return True if self._average is None else self._average.has_values

    def start(self) -> None:
        """Set the state, except the value, to what it is before the first step."""
        self.beta.assign(self._rule.hyper_learning_rate)
        self.mu.assign(self._rule.discount or 0.0)
        self._scale.assign(1.0)
        for scalar in (self._horizon, self._last, self._is_lost):
            scalar.assign(0.0)
        for tangent in self.tangents:
            tangent.clear()
        if self._average is not None:
            self._average.clear()

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        tangents = [
            v for each in self.tangents for part in each.variables for v in part
        ]
        named = dict(enumerate([*self._scalars, *tangents]))
        average = {} if self._average is None else self._average.variables
        named |= {f"average_{i}": each for i, each in enumerate(average)}
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
        factor: Tensor | None = None,
        curvature: Gradients | None = None,
    ) -> None:
        """Advance `tangents`, and the average, over the coming step.

        Args:
            gradients: Gradients of the step.
            hyperparameters: Values of all that are tuned, including the learning rate.
            seed: Derivative of this hyperparameter, as the optimizer reads it, with
                respect to what is tuned.
            factor: The factor of `carry`; `None` where nothing is carried over.
            curvature: Products of the Hessian with the tensors of `carry`.
        """
        self._advance(list(gradients), dict(hyperparameters), seed, factor, curvature)

    def _plainly_advance(
        self,
        gradients: list[Tensor | None],
        hyperparameters: dict[str, Tensor],
        seed: Tensor,
        factor: Tensor | None,
        curvature: list[Tensor | None] | None,
    ) -> None:
        inputs = (self._step.variables.read(), gradients, hyperparameters)
        scale = ops.cast(self._scale.value, seed.dtype)
        carried = None
        if curvature is not None:
            tangent = self._tangent.values()
            lists = (*tangent, curvature)
            weights, slots, curvature = (_times(factor, each) for each in lists)
            carried = Carried(StepState(weights, slots), curvature)
        tangent = self._tangent.advanced(*inputs, seed / scale, carried)
        one_step = [each.advanced(*inputs, seed) for each in self.tangents[1:]]
        for each, value in zip(self.tangents, (tangent, *one_step), strict=True):
            each.assign(value)
        if self._average is not None:
            is_lost = self._is_lost.value > 0.0
            self._average.follow(tangent.weights, self._scale.value, is_lost)
        self._is_lost.assign(0.0)

    def observe(
        self,
        gradients: Sequence[Tensor],
        square: Tensor | None,
        mean_square: Tensor | None = None,
    ) -> Observation:
        """Return the products of Z and B with the gradient of E.

        Args:
            gradients: grad E.
            square: ||grad E||^2; may be `None` if the rule does not need it.
            mean_square: Its mean; needed with an average of Z.
        """
        weights = self._tangent.values().weights
        hypergradient = inner_product(weights, gradients, self._dtype)
        cosine = tangent_square = ops.zeros_like(hypergradient)
        if self._average is not None:
            product, tangent_square = self._average.products(gradients)
            square = marthe.voting_square(product, square, mean_square)
            cosine = marthe.cosine(product, tangent_square, square)
        elif self._rule.needs_norms:
            tangent_square = inner_product(weights, weights, self._dtype)
            cosine = marthe.cosine(hypergradient, tangent_square, square)
        hypergradient = hypergradient * self._scale.value
        one_step = ops.zeros_like(hypergradient)
        for part in self.tangents[1:]:
            one_step = inner_product(part.values().weights, gradients, self._dtype)
        return Observation(hypergradient, one_step, cosine, tangent_square)

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
        direction = observation.cosine if rule.needs_norms else delta
        rate = hyperparameter.value.value
        moved = self._moved(rate, direction, beta)
        if rule.brake is not None and hyperparameter.is_learning_rate:
            moved = marthe.braked(moved, rate, overshoot, rule.brake)
        value = hyperparameter.clipped(moved)
        # A norm that overflows says nothing either: Z starts anew.
        is_finite = ops.isfinite(delta + observation.tangent_square)
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


def _times(factor: Tensor, tensors: Gradients) -> list[Tensor | None]:
    """Return the tensors times a scalar; 0 times infinity is 0."""
    import tensorflow as tf

    return [
        each
        if each is None
        else tf.math.multiply_no_nan(each, tf.cast(factor, each.dtype))
        for each in tensors
    ]
