"""A hyperparameter, its tangent, and the rule that moves it by its hypergradient."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
from keras import ops

from keras_lr._keras import PureStep, StepState, replicas
from keras_lr._typing import Tensor
from keras_lr.rules import marthe
from keras_lr.training.derivatives.optimizer_tangent import OptimizerTangent


@dataclasses.dataclass(frozen=True)
class HypergradientRule:
    """How a hyperparameter moves; the arguments of `keras_lr.MARTHE`.

    Attributes:
        update: Key of `rules.marthe.UPDATES`.
        hyper_learning_rate: beta_0.
        adaptation: kappa, the step size of beta; 0 for a fixed one.
        discount: mu; `None` for the adaptive one.
        minimum: Lower limit of the hyperparameter.
        maximum: Upper limit.
    """

    update: str
    hyper_learning_rate: float
    adaptation: float
    discount: float | None
    minimum: float
    maximum: float


# Below it the numbers kept for Z would grow out of range.
SMALLEST_SCALE = 1e-4


class Observation(NamedTuple):
    """What is seen after a step, of one hyperparameter: scalars.

    Attributes:
        hypergradient: Delta = <Z, grad E>.
        one_step: <B, grad E>, 0 where it is not needed.
        cosine: Of the angle between Z and grad E, 0 where it is not needed.
        tangent_square: ||Z||^2 of the weights, 0 where it is not needed.
    """

    hypergradient: Tensor
    one_step: Tensor
    cosine: Tensor
    tangent_square: Tensor


class TunedHyperparameter:
    """A hyperparameter, its tangent, and the state of the rule that moves it.

    Args:
        model: A built, compiled model.
        step: The step of its optimizer.
        name: `"learning_rate"` or an attribute of the optimizer.
        rule: How it moves.
        dtype: Of the scalars.
    """

    def __init__(
        self,
        model: keras.Model,
        step: PureStep,
        name: str,
        rule: HypergradientRule,
        dtype: str,
    ) -> None:
        self.name = name
        self.rule = rule
        self.dtype = dtype
        looks_back = rule.discount != 0.0
        self._tangent = OptimizerTangent(model, step, name, keeps_slots=looks_back)
        # B_t, without a past.
        self._last_part = None
        if rule.discount is None:
            self._last_part = OptimizerTangent(model, step, name, keeps_slots=False)
        with model.distribute_strategy.scope():
            scalars = [
                replicas.shared_scalar(f"{name}_{scalar}", dtype)
                for scalar in ("value", "beta", "mu", "horizon", "last")
            ]
            self._scale = replicas.shared_scalar(f"{name}_scale", dtype)
            self._is_lost = replicas.shared_scalar(f"{name}_is_lost", dtype)
        self.value, self.beta, self.mu, self._horizon, self._last = scalars

    def start(self, value: float, hyper_learning_rate: float | None = None) -> None:
        """Set the state to what it is before the first step, on the host."""
        self.value.assign(min(max(value, self.rule.minimum), self.rule.maximum))
        beta = hyper_learning_rate
        self.beta.assign(self.rule.hyper_learning_rate if beta is None else beta)
        self.mu.assign(self.rule.discount or 0.0)
        self._scale.assign(1.0)
        for scalar in (self._horizon, self._last, self._is_lost):
            scalar.assign(0.0)
        for tangent in self.tangents:
            tangent.clear()

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        scalars = (
            self.value,
            self.beta,
            self.mu,
            self._horizon,
            self._last,
            self._scale,
            self._is_lost,
        )
        tangents = [
            v for each in self.tangents for part in each.variables for v in part
        ]
        both = [*scalars, *tangents]
        return {f"{self.name}_{index}": each for index, each in enumerate(both)}

    @property
    def tangents(self) -> list[OptimizerTangent]:
        """Z, and B where it is needed."""
        both = (self._tangent, self._last_part)
        return [each for each in both if each is not None]

    def carried(self) -> StepState:
        """Return mu Z_t but for the factor `scale`, which is set for the step.

        Z is not multiplied by mu in each step, a pass over memory, but kept as Y with
        Z = scale Y. After a hypergradient that was not finite it is 0.
        """
        import tensorflow as tf

        values = self._tangent.values()
        flat = [*values.weights, *values.slots]
        is_lost = self._is_lost.value > 0.0
        scale = self._scale.value * self.mu.value
        is_small = scale < SMALLEST_SCALE

        def rescaled() -> list[Tensor]:
            return [
                tf.where(is_lost, tf.zeros_like(y), y * tf.cast(scale, y.dtype))
                for y in flat
            ]

        begins_anew = ops.logical_or(is_lost, is_small)
        flat = tf.cond(begins_anew, rescaled, lambda: [tf.identity(y) for y in flat])
        self._scale.assign(ops.where(begins_anew, ops.ones_like(scale), scale))
        self._is_lost.assign(0.0)
        number = len(values.weights)
        return StepState(flat[:number], flat[number:])

    def advanced(
        self,
        state: StepState,
        gradients: Sequence[Tensor | None],
        hyperparameters: Mapping[str, Tensor],
        seed: Tensor,
        carried: tuple[StepState, Sequence[Tensor]] | None,
    ) -> list[StepState]:
        """Return the new values of `tangents`, for a step that is about to be taken.

        The arguments are those of `OptimizerTangent.advanced`.
        """
        given = (state, gradients, hyperparameters)
        scale = ops.cast(self._scale.value, seed.dtype)
        new = [self._tangent.advanced(*given, seed / scale, carried)]
        if self._last_part is not None:
            new.append(self._last_part.advanced(*given, seed))
        return new

    def assign(self, values: Sequence[StepState]) -> None:
        """Set `tangents`."""
        for tangent, value in zip(self.tangents, values, strict=True):
            tangent.assign(value)

    @property
    def needs_norms(self) -> bool:
        """Whether the rule asks for the cosine: each norm is a pass over memory."""
        return self.rule.update != "additive"

    def observe(
        self, gradients: Sequence[Tensor], square: Tensor | None
    ) -> Observation:
        """Return what Z and B say of the gradient of E at the weights.

        Args:
            gradients: grad E.
            square: ||grad E||^2; may be `None` if this one does not need it.
        """
        weights = self._tangent.values().weights
        hypergradient = inner_product(weights, gradients, self.dtype)
        cosine = tangent_square = ops.zeros_like(hypergradient)
        if self.needs_norms:
            tangent_square = inner_product(weights, weights, self.dtype)
            cosine = marthe.cosine(hypergradient, tangent_square, square)
        hypergradient = hypergradient * self._scale.value
        one_step = ops.zeros_like(hypergradient)
        if self._last_part is not None:
            part = self._last_part.values().weights
            one_step = inner_product(part, gradients, self.dtype)
        return Observation(hypergradient, one_step, cosine, tangent_square)

    def update(self, seen: Observation, is_due: Tensor) -> tuple[Tensor, ...]:
        """Move beta, then mu, then the hyperparameter, by what was seen after a step.

        Args:
            seen: What was seen.
            is_due: Whether it counts.

        Returns:
            What the update was made with: Delta, mu and beta.
        """
        rule, delta = self.rule, seen.hypergradient
        used = self.mu.value + 0.0
        beta, mu, horizon = self.beta.value, self.mu.value, self._horizon.value
        if rule.adaptation:
            last = self._last.value
            beta = marthe.adapted_hyper_learning_rate(
                beta, delta, last, rule.adaptation
            )
        if rule.discount is None:
            mu, horizon = marthe.adapted_discount(mu, horizon, delta, seen.one_step)
        direction = delta if rule.update == "additive" else seen.cosine
        value = marthe.UPDATES[rule.update](self.value.value, direction, beta)
        value = ops.clip(value, rule.minimum, rule.maximum)
        # Of a norm that overflows nothing is known either: Z begins anew.
        is_finite = ops.isfinite(delta + seen.tangent_square)
        horizon = ops.where(is_finite, horizon, ops.zeros_like(horizon))
        is_lost = ops.cast(ops.logical_not(is_finite), delta.dtype)
        last = ops.where(is_finite, delta, self._last.value)
        for variable, new in (
            (self.beta, beta),
            (self.mu, mu),
            (self._horizon, horizon),
            (self.value, value),
            (self._last, last),
            (self._is_lost, is_lost),
        ):
            variable.assign(ops.where(is_due, new, variable.value))
        return delta, used, self.beta.value + 0.0


def inner_product(
    first: Sequence[Tensor], second: Sequence[Tensor], dtype: str
) -> Tensor:
    """Return the sum of the products of all entries, a scalar."""
    parts = [_product(a, b) for a, b in zip(first, second, strict=True)]
    return ops.sum(ops.stack([ops.cast(each, dtype) for each in parts]))


def norm_of(tensors: Sequence[Tensor], dtype: str) -> Tensor:
    """Return the norm over all entries, 1 if it is 0."""
    norm = ops.sqrt(inner_product(tensors, tensors, dtype))
    return ops.where(norm > 0.0, norm, ops.ones_like(norm))


def scaled(tensors: Sequence[Tensor], factor: Tensor) -> list[Tensor]:
    """Return the tensors times a scalar, each in its own dtype."""
    return [each * ops.cast(factor, each.dtype) for each in tensors]


def _product(first: Tensor, second: Tensor) -> Tensor:
    import tensorflow as tf

    if first is second:
        # One pass over memory, where a sum of squares makes two.
        return 2.0 * tf.nn.l2_loss(first)
    if tf.config.list_logical_devices("GPU"):
        # There a product of matrices may round its factors to ten bits.
        return tf.reduce_sum(first * second)
    # One pass, where a sum of products makes two. As two rows: a column is slower.
    rows = (tf.reshape(each, (1, -1)) for each in (first, second))
    return tf.reshape(tf.matmul(*rows, transpose_b=True), ())
