"""Hypergradients of the loss after each training step, taken inside of it."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import PureStep, StepState
from keras_lr._typing import Tensor
from keras_lr.training import moments, replicas
from keras_lr.training.curvature import Curvature, Products, Recording, dense
from keras_lr.training.optimizer_tangent import LEARNING_RATE
from keras_lr.training.tuned_hyperparameter import (
    HypergradientRule,
    Observation,
    TunedHyperparameter,
    inner_product,
    norm_of,
    scaled,
)
from keras_lr.training.validation_loss import ValidationLoss

Gradients = list[Tensor | None]

RULE_COLUMNS = ("hypergradient", "discount", "hyper_learning_rate")
"""What a step says of the learning rate's rule."""


def hypergradient_of(name: str) -> str:
    """Return under what name a step says Delta of another hyperparameter."""
    return f"{name}_hypergradient"


class OnlineHypergradient:
    """Differentiates the training steps of a fit, and moves hyperparameters by it.

    Args:
        model: A built, compiled model.
        rules: For each hyperparameter, the learning rate first.
        validation: E; `None` for the loss of the next training batch.
        curvature_batch_size: Of `Curvature`.
        every: Steps from one update to the next.
    """

    def __init__(
        self,
        model: keras.Model,
        rules: Mapping[str, HypergradientRule],
        *,
        validation: ValidationLoss | None,
        curvature_batch_size: float | None,
        every: int = 1,
    ) -> None:
        self._model = model
        self._variables = model.trainable_variables
        self._leaf = _keras.leaf_optimizers(model.optimizer)[0]
        self._rate = _keras.learning_rate_variable(self._leaf)
        self._step = PureStep(self._leaf, self._variables)
        self._curvature = Curvature(model, curvature_batch_size)
        self._validation = validation
        self._every = every
        is_double = any(each.dtype == "float64" for each in self._variables)
        self.dtype = "float64" if is_double else "float32"
        self.tuned = [
            TunedHyperparameter(model, self._step, name, rule, self.dtype)
            for name, rule in rules.items()
        ]
        self._looks_back = self.tuned[0].rule.discount != 0.0
        self.sees_loss = False
        """Whether the traced step says its loss."""
        with model.distribute_strategy.scope():
            self._count = replicas.shared_scalar("count", "int32")
            self._written = replicas.shared_scalar("written", self._rate.dtype)

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        named = {"count": self._count}
        if self._validation is not None:
            named["position"] = self._validation.position
        for each in self.tuned:
            named |= each.variables()
        return named

    @contextlib.contextmanager
    def watching(self, data: Any, factor: Tensor) -> Iterator[dict[str, Tensor]]:
        """Take part in the training step that is called in this context.

        Args:
            data: Its batch.
            factor: What the learning rate is multiplied by in this step.

        Yields:
            A dict that says afterwards, in scalars, what the step was like.
        """
        row: dict[str, Tensor] = {}

        def scale_loss(plain: Callable[..., Any], loss: Tensor) -> Tensor:
            # The step's own comes first; those of further passes follow.
            if not row:
                row["loss"] = replicas.sum_over_replicas(loss)
            return plain(loss)

        def apply(
            plain: Callable[..., Any], grads: Any, trainable_variables: Any = None
        ) -> None:
            _require_one_call(1 + ("hypergradient" in row))
            self.sees_loss = "loss" in row
            row.setdefault("loss", ops.full((), math.nan, self.dtype))
            gradients = self._aligned(grads, trainable_variables)
            take_step = functools.partial(plain, grads, trainable_variables)
            with recording.paused() if recording else contextlib.nullcontext():
                row.update(self._around(take_step, gradients, recording, factor))

        optimizer = self._model.optimizer
        with (
            moments.twice_differentiable(),
            self._recorded(data) as recording,
            _keras.intercepted(optimizer, apply=apply, scale_loss=scale_loss),
        ):
            yield row
        _require_one_call(int("hypergradient" in row))

    def _recorded(self, data: Any) -> Any:
        if not self._looks_back:
            return contextlib.nullcontext()
        return self._curvature.recording(data)

    def _aligned(self, grads: Any, variables: Any) -> Gradients:
        """Return a dense gradient, or `None`, for each of the weights."""
        pairs = zip(variables or self._variables, grads, strict=True)
        found = {id(variable): grad for variable, grad in pairs}
        return dense([found.get(id(each)) for each in self._variables])

    def _around(
        self,
        take_step: Callable[[], None],
        gradients: Gradients,
        recording: Recording | None,
        factor: Tensor,
    ) -> dict[str, Tensor]:
        """Take the optimizer's step, and the tangents' beside it."""
        scale = _keras.loss_scale(self._model.optimizer)
        summed = _summed(gradients, scale)
        row: dict[str, Tensor] = {}
        if self._validation is None:
            row |= self._observe(lambda _: (math.nan, self._plain(summed)))
        used = self._set_hyperparameters(factor)
        carried: list[Any] = [None] * len(self.tuned)
        if recording is not None:
            carried = self._carried(gradients, recording.products, scale)
        new = self._advanced(summed, used, factor, carried)
        others = {name: v for name, v in used.items() if name != LEARNING_RATE}
        with _keras.with_hyperparameters(self._leaf, others):
            take_step()
        for each, values in zip(self.tuned, new, strict=True):
            each.assign(values)
        if self._validation is not None:
            validation = self._validation
            row |= self._observe(
                lambda is_due: validation.gradient(self._variables, is_due)
            )
        return row | used

    def write_rate(self, factor: Tensor) -> None:
        """Set the optimizer's learning rate, in a step or on the host."""
        value = self.tuned[0].value.value
        value = value * ops.cast(factor, value.dtype)
        self._rate.assign(ops.cast(value, self._rate.dtype))
        self._written.assign(self._rate.value)

    def wrote_last(self) -> bool:
        """Return whether the optimizer's rate is the one that was written here."""
        return _keras.to_float(self._rate) == _keras.to_float(self._written)

    def _set_hyperparameters(self, factor: Tensor) -> dict[str, Tensor]:
        """Set the optimizer's for the step; return them as it will read them."""
        self.write_rate(factor)
        used = {each.name: each.value.value + 0.0 for each in self.tuned}
        return used | {LEARNING_RATE: self._rate.value + 0.0}

    def _carried(
        self, gradients: Gradients, products: Products, scale: Tensor | None
    ) -> list[tuple[StepState, list[Tensor]]]:
        """Return mu Z and H mu Z of each hyperparameter, up to the scale of Z."""
        tangents = [each.carried() for each in self.tuned]
        # A vector of length 1 passes through layers of half precision.
        norms = [
            1.0 if scale is None else norm_of(each.weights, self.dtype)
            for each in tangents
        ]
        vectors = [
            each.weights if scale is None else scaled(each.weights, 1.0 / norm)
            for each, norm in zip(tangents, norms, strict=True)
        ]
        curvatures = products(gradients, self._variables, vectors)
        carried = []
        for tangent, norm, curvature in zip(tangents, norms, curvatures, strict=True):
            product = _present(_summed(curvature, scale), gradients)
            product = product if scale is None else scaled(product, norm)
            carried.append((tangent, product))
        return carried

    def _advanced(
        self,
        gradients: Gradients,
        used: Mapping[str, Tensor],
        factor: Tensor,
        carried: Sequence[Any],
    ) -> list[list[StepState]]:
        """Return the new tangents of each hyperparameter, for the step to be taken."""
        parts = self._step.variables
        state = StepState(
            *([ops.convert_to_tensor(each.value) for each in part] for part in parts)
        )
        new = []
        for each, pair in zip(self.tuned, carried, strict=True):
            value = used[each.name]
            seed = factor if each.name == LEARNING_RATE else ops.ones_like(value)
            seed = ops.cast(seed, value.dtype)
            new.append(each.advanced(state, gradients, used, seed, pair))
        return new

    def _observe(
        self, evaluate: Callable[[Tensor], tuple[Tensor, Sequence[Tensor]]]
    ) -> dict[str, Tensor]:
        """Look at E, where it is time to, and move the hyperparameters by it."""
        self._count.assign(self._count.value + 1)
        is_due = self._count.value % self._every == 0

        def look() -> list[Tensor]:
            loss, gradients = evaluate(is_due)
            square = None
            if any(each.needs_norms for each in self.tuned):
                square = inner_product(gradients, gradients, self.dtype)
            seen = [each.observe(gradients, square) for each in self.tuned]
            flat = [scalar for each in seen for scalar in each]
            return [ops.cast(scalar, self.dtype) for scalar in (loss, *flat)]

        loss, *flat = self._now_or_not(look, is_due)
        row = {"validation_loss": loss}
        size = len(Observation._fields)
        for index, each in enumerate(self.tuned):
            observation = Observation(*flat[size * index : size * (index + 1)])
            delta, mu, beta = each.update(observation, is_due)
            if each.name == LEARNING_RATE:
                row |= dict(zip(RULE_COLUMNS, (delta, mu, beta), strict=True))
            else:
                row[hypergradient_of(each.name)] = delta
        return row

    def _now_or_not(
        self, look: Callable[[], list[Tensor]], is_due: Tensor
    ) -> list[Tensor]:
        import tensorflow as tf

        if self._every == 1:
            return look()
        number = 1 + len(Observation._fields) * len(self.tuned)
        nothing = [ops.full((), math.nan, self.dtype)] * number
        if replicas.number_of_replicas() == 1:
            return tf.cond(is_due, look, lambda: nothing)
        # Replicas cannot meet inside a branch.
        return [ops.where(is_due, seen, nothing[0]) for seen in look()]

    def _plain(self, gradients: Gradients) -> list[Tensor]:
        """Return a gradient for each weight, without the optimizer's own factor."""
        plain = [
            ops.zeros(variable.shape, variable.dtype) if gradient is None else gradient
            for gradient, variable in zip(gradients, self._variables, strict=True)
        ]
        factor = getattr(self._leaf, "loss_scale_factor", None)
        return plain if factor is None else [each / factor for each in plain]


def _summed(gradients: Sequence[Tensor | None], scale: Tensor | None) -> Gradients:
    """Return gradients summed over the replicas, without the scale of the loss."""
    present = [each for each in gradients if each is not None]
    if scale is not None:
        present = [each / ops.cast(scale, each.dtype) for each in present]
    sums = iter(replicas.sum_over_replicas(present))
    return [None if each is None else next(sums) for each in gradients]


def _present(values: Gradients, gradients: Gradients) -> list[Tensor]:
    pairs = zip(values, gradients, strict=True)
    return [value for value, gradient in pairs if gradient is not None]


def _require_one_call(number: int) -> None:
    if number != 1:
        raise ValueError(
            "Hypergradients need a training step that calls its optimizer's `apply` "
            f"once. Received: a `train_step` that calls it {number} times."
        )
