"""Hypergradients of the loss after each training step, taken inside of it."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import StepState, moments, replicas
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.curvature import Curvature, Products, Recording
from keras_lr.training.fit.online_tuning import (
    CUT,
    LEARNING_RATE,
    Gradients,
    OnlineTuning,
    TakeStep,
    summed,
)
from keras_lr.training.hypergradient.tuned_hyperparameter import (
    HypergradientRule,
    Observation,
    TunedHyperparameter,
    inner_product,
    norm_of,
    scaled,
)
from keras_lr.training.hypergradient.validation_loss import ValidationLoss

RULE_COLUMNS = ("hypergradient", "discount", "hyper_learning_rate")
"""What a step says of the learning rate's rule."""


def hypergradient_of(name: str) -> str:
    """Return under what name a step says Delta of another hyperparameter."""
    return f"{name}_hypergradient"


class OnlineHypergradient(OnlineTuning):
    """Differentiates the training steps of a fit, and moves hyperparameters by it.

    Args:
        model: A built, compiled model whose optimizer has a pure step.
        rules: For each hyperparameter, the learning rate first.
        validation: E; `None` for the loss of the next training batch.
        curvature_batch_size: Of `Curvature`.
        every: Steps from one update to the next.
    """

    signal = "hypergradient"

    def __init__(
        self,
        model: keras.Model,
        rules: Mapping[str, HypergradientRule],
        *,
        validation: ValidationLoss | None,
        curvature_batch_size: float | None,
        every: int = 1,
    ) -> None:
        super().__init__(model)
        self._curvature = Curvature(model, curvature_batch_size)
        self._validation = validation
        self._every = every
        self.tuned: list[TunedHyperparameter] = [
            TunedHyperparameter(model, self.step, name, rule, self.dtype)
            for name, rule in rules.items()
        ]
        self._looks_back = self.tuned[0].rule.discount != 0.0
        self.renews_optimizer = self.tuned[0].rule.update == "log"
        with model.distribute_strategy.scope():
            self._count = replicas.shared_scalar("count", "int32")

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        named = {"count": self._count}
        if self._validation is not None:
            named["position"] = self._validation.position
        return named | super().variables()

    def restart(self, values: Sequence[float]) -> tuple[list[float], str]:
        """Begin anew with a lower rate, or a lower hyper-learning rate."""
        beta = _keras.to_float(self.tuned[0].beta)
        is_log = self.tuned[0].rule.update == "log"
        if is_log:
            kept, text = super().restart(values)
            beta *= 0.5
        else:
            self.start(values)
            beta *= CUT
            kept, text = [*values], f"a hyper-learning rate of {beta:.3g}"
        for each in self.tuned:
            each.beta.assign(beta)
        return kept, text

    @contextlib.contextmanager
    def _recorded(self, data: Any) -> Iterator[Recording | None]:
        with moments.twice_differentiable():
            if not self._looks_back:
                yield None
                return
            with self._curvature.recording(data) as recording:
                yield recording

    def _around(
        self,
        take_step: TakeStep,
        gradients: Gradients,
        recorded: Recording | None,
        factor: Tensor,
        loss: Tensor,
    ) -> dict[str, Tensor]:
        with recorded.paused() if recorded else contextlib.nullcontext():
            return self._differentiated(take_step, gradients, recorded, factor)

    def _differentiated(
        self,
        take_step: TakeStep,
        gradients: Gradients,
        recording: Recording | None,
        factor: Tensor,
    ) -> dict[str, Tensor]:
        """Take the optimizer's step, and the tangents' beside it."""
        scale = _keras.loss_scale(self.model.optimizer)
        sums = summed(gradients, scale)
        row: dict[str, Tensor] = {}
        if self._validation is None:
            row |= self._observe(lambda _: (math.nan, self._plain(sums)))
        used = self._set_hyperparameters(factor)
        carried: list[Any] = [None] * len(self.tuned)
        if recording is not None:
            carried = self._carried(gradients, recording.products, scale)
        self._where_needed(lambda: self._advance(sums, used, factor, carried))
        with self._taking(used):
            take_step()
        if self._validation is not None:
            validation = self._validation
            row |= self._observe(
                lambda is_due: validation.gradient(self.weights, is_due)
            )
        return row | used

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
        curvatures = products(gradients, self.weights, vectors)
        carried = []
        for tangent, norm, curvature in zip(tangents, norms, curvatures, strict=True):
            product = _present(summed(curvature, scale), gradients)
            product = product if scale is None else scaled(product, norm)
            carried.append((tangent, product))
        return carried

    def _advance(
        self,
        gradients: Gradients,
        used: Mapping[str, Tensor],
        factor: Tensor,
        carried: Sequence[Any],
    ) -> None:
        """Move the tangents of each hyperparameter over the step to be taken."""
        state = self._state()
        for each, pair in zip(self.tuned, carried, strict=True):
            value = used[each.name]
            seed = factor if each.name == LEARNING_RATE else ops.ones_like(value)
            seed = ops.cast(seed, value.dtype)
            each.assign(each.advanced(state, gradients, used, seed, pair))

    def _where_needed(self, advance: Callable[[], None]) -> None:
        """Advance the tangents, unless they are forgotten before the next update."""
        import tensorflow as tf

        is_every = self._looks_back or self._every == 1
        if is_every or replicas.number_of_replicas() > 1:
            advance()
            return
        # Counted next is the update after this step, or, without validation data, the
        # one in the step after it: in both cases that of this step's tangent.
        is_needed = (self._count.value + 1) % self._every == 0
        tf.cond(is_needed, advance, lambda: None)

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
            for gradient, variable in zip(gradients, self.weights, strict=True)
        ]
        factor = getattr(self.leaf, "loss_scale_factor", None)
        return plain if factor is None else [each / factor for each in plain]


def _present(values: Gradients, gradients: Gradients) -> list[Tensor]:
    pairs = zip(values, gradients, strict=True)
    return [value for value, gradient in pairs if gradient is not None]
