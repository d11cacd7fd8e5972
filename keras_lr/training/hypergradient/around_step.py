"""Hypergradients around each training step: the tangents of the optimizer's state."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lr import _keras
from keras_lr._checks import LEARNING_RATE
from keras_lr._keras import PureStep, replicas
from keras_lr._typing import Gradients, Tensor
from keras_lr.training.derivatives.curvature import Curvature, Recording
from keras_lr.training.derivatives.last_step import LastStep
from keras_lr.training.derivatives.tensors import (
    inner_product,
    masked,
    norm_of,
    on_present,
    scaled,
)
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.fit.around_step import (
    CUT,
    AroundStep,
    OptimizerStep,
    summed,
    unknown,
)
from keras_lr.training.fit.hyperparameter import Hyperparameter
from keras_lr.training.hypergradient.fastest_path import FastestPath
from keras_lr.training.hypergradient.objective import Evaluate, Objective
from keras_lr.training.hypergradient.tuned_hyperparameter import (
    CarriedOver,
    HypergradientRule,
    Observation,
    TunedHyperparameter,
)

# Hypergradients that are not finite, and no fewer than those that are, after which the
# rate does not wait any longer for a tangent with a past.
PATIENCE = 10
# Part of the hyper-learning rate that is left after any number of divergences.
LEAST_STEP = 0.125
RULE_COLUMNS = ("hypergradient", "discount", "hyper_learning_rate")
"""Columns that a step records for the learning rate's rule."""


def hypergradient_of(name: str) -> str:
    """Return the column of Delta of a hyperparameter."""
    return RULE_COLUMNS[0] if name == LEARNING_RATE else f"{name}_{RULE_COLUMNS[0]}"


class HypergradientStep(AroundStep):
    """Carries tangents through the training steps, and moves hyperparameters by them.

    Args:
        model: A built, compiled model.
        step: The pure step of its optimizer.
        rate: Owner of the learning rate.
        others: The other hyperparameters that are tuned.
        rule: Rule by which they move.
        objective: Source of E.
        curvature_batch_size: Rows of the batch whose Hessian is used, or the part of
            the batch as a float; `None` for the whole of it.
        every: Steps from one update to the next.

    Attributes:
        tuned: The hyperparameters with their tangents, the learning rate first.
    """

    name = "hypergradient"

    def __init__(
        self,
        model: keras.Model,
        step: PureStep,
        rate: AnnealedRate,
        others: Sequence[Hyperparameter],
        *,
        rule: HypergradientRule,
        objective: Objective,
        curvature_batch_size: float | None,
        every: int = 1,
    ) -> None:
        super().__init__(rate, others)
        self._step = step
        self._rule = rule
        self._objective = objective
        self._curvature = Curvature(model, curvature_batch_size)
        self._every = every
        self.tuned = [
            TunedHyperparameter(model, step, each, rule)
            for each in (rate.rate, *others)
        ]
        self._last_step = None if rule.brake is None else LastStep(model, step)
        self._path: FastestPath | None = None
        if rule.reach is not None:
            self._path = FastestPath(model, rule.reach, rate.dtype)
        self._looks_back = rule.discount != 0.0
        self.renews_optimizer = rule.update == "log"
        with model.distribute_strategy.scope():
            self._count = replicas.shared_scalar("count", "int32")

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        named = {"count": self._count} | self._objective.variables()
        for each in self.tuned:
            named |= each.variables()
        if self._path is not None:
            named |= self._path.variables()
        previous = [] if self._last_step is None else self._last_step.variables
        return named | {f"previous_{i}": each for i, each in enumerate(previous)}

    def added_variables(self) -> list[str]:
        """Return the names of `variables` that version 0.1.0 did not write."""
        averages = {f"{each.name}_average" for each in self.tuned}
        votes = {f"{each.name}_square" for each in self.tuned}
        parts = {"previous", *averages, *votes}
        named = self.variables()
        path = [] if self._path is None else self._path.variables()
        return [*path, *(name for name in named if name.rpartition("_")[0] in parts)]

    def accepts(self, name: str, array: np.ndarray) -> bool:
        """Return whether the rules can work with what a file holds for a variable."""
        if array.size != 1:
            return True
        value = float(array.item())
        if self._path is not None and name in self._path.variables():
            return 0.0 <= value < np.inf
        return all(each.accepts(name, value) for each in self.tuned)

    def start(self) -> None:
        """Forget the tangents, and what the rules have learned, on the host."""
        for each in self.tuned:
            each.start()
        if self._path is not None:
            self._path.clear()
        self._finite = self._unknown = 0
        self._has_said = False
        self._remember_weights()

    def look_at(self, rows: Mapping[str, Sequence[float]]) -> str | None:
        """Return to the compiled rate if as good as no hypergradient is finite.

        After one that is not, the next is that of a tangent without a past: it may be
        finite where a Hessian never is.
        """
        is_finite = np.isfinite(rows[RULE_COLUMNS[0]])
        self._finite += int(is_finite.sum())
        self._unknown += int(np.sum(~is_finite & (np.asarray(rows["failed"]) == 0.0)))
        steps = self._finite + self._unknown
        # Between two updates there is none either.
        unknown = self._unknown - steps * (1.0 - 1.0 / self._every)
        if self._has_said or unknown < max(PATIENCE, self._finite - 1):
            return None
        self._has_said = True
        self.rate.undo_reduction()
        rate = _keras.to_float(self.rate.value)
        return (
            f"has had {unknown:.0f} hypergradients that are not finite in the "
            f"first {steps} steps: something in the model has no second derivative "
            f"where it is evaluated. The training continues at the rate {rate:.3g}, by "
            "what hypergradients there are. "
            "`keras_lr.HypergradientDescent` needs no second derivatives."
        )

    def restart(self, factor: float) -> str:
        """Begin anew with a lower rate, or a lower hyper-learning rate."""
        beta = _keras.to_float(self.tuned[0].beta)
        if self._rule.update == "log":
            beta = max(0.5 * beta, LEAST_STEP * self._rule.hyper_learning_rate)
            outcome = super().restart(factor)
        else:
            beta *= CUT
            self.start()
            outcome = f"a hyper-learning rate of {beta:.3g}"
        for each in self.tuned:
            each.beta.assign(beta)
        return outcome

    @contextlib.contextmanager
    def recording(self, data: Any) -> Iterator[Recording | None]:
        """Record the training step, unless the tangents have no past."""
        if not self._looks_back:
            yield None
            return
        with self._curvature.recording(data) as recording:
            yield recording

    def around(self, step: OptimizerStep) -> dict[str, Tensor]:
        """Take the optimizer's step, and the tangents' beside it."""
        recording: Recording | None = step.recording
        with recording.paused() if recording else contextlib.nullcontext():
            gradients = step.summed_gradients()
            observe = functools.partial(self._observe, self._last_overshoot(gradients))
            row = self._objective.before_step(step, observe)
            values = step.set_hyperparameters()
            carried = self._carried(step, recording)
            longest = self._longest(values[LEARNING_RATE])
            carried[0] = carried[0]._replace(longest=longest)
            self._where_needed(
                lambda: self._advance(gradients, values, step.factor, carried)
            )
            self._remember_weights()
            step.take()
            return row | self._objective.after_step(observe)

    def _carried(
        self, step: OptimizerStep, recording: Recording | None
    ) -> list[CarriedOver]:
        """Return what `TunedHyperparameter.advance` gets of the steps before this."""
        if recording is None:
            return [CarriedOver() for _ in self.tuned]
        for each in self.tuned:
            each.set_discount(self.rate.steps())
        pasts = [each.carry() for each in self.tuned]
        scale = step.loss_scale
        # A vector of length 1 passes through layers of half precision.
        norms = [
            1.0 if scale is None else norm_of(each.weights, self.rate.dtype)
            for each in pasts
        ]
        vectors = [
            each.weights if scale is None else scaled(each.weights, 1.0 / norm)
            for each, norm in zip(pasts, norms, strict=True)
        ]
        weights = self._step.variables.weights
        products = recording.products(step.gradients, weights, vectors)
        carried = []
        for past, norm, product in zip(pasts, norms, products, strict=True):
            curvature = summed(masked(product, step.gradients), scale)
            if scale is not None:
                curvature = on_present(lambda each, n=norm: scaled(each, n), curvature)
            carried.append(CarriedOver(past.factor, curvature))
        return carried

    def _advance(
        self,
        gradients: Gradients,
        values: Mapping[str, Tensor],
        factor: Tensor,
        carried: Sequence[CarriedOver],
    ) -> None:
        """Advance the tangents of each hyperparameter over the coming step."""
        for tuned, past in zip(self.tuned, carried, strict=True):
            value = values[tuned.name]
            seed = factor if tuned.name == LEARNING_RATE else ops.ones_like(value)
            tuned.advance(gradients, values, ops.cast(seed, value.dtype), past)

    def _longest(self, rate: Tensor) -> Tensor | None:
        """Return the largest size that entries of the learning rate's Z may have."""
        if self._path is None or self._last_step is None:
            return None
        largest = self._last_step.largest(self.rate.dtype)
        return self._path.limit(largest, self.tuned[0].mu.value, rate)

    def _where_needed(self, advance: Callable[[], None]) -> None:
        """Advance the tangents, unless they are forgotten before the next update."""
        import tensorflow as tf

        is_every = self._looks_back or self._every == 1
        if is_every or replicas.number_of_replicas() > 1:
            advance()
            return
        # The next count is that of the update after this step or, without validation
        # data, in the next step: in both cases of the one that uses this tangent.
        is_needed = (self._count.value + 1) % self._every == 0
        tf.cond(is_needed, advance, lambda: None)

    def _last_overshoot(self, gradients: Gradients) -> Tensor:
        if self._last_step is None:
            return ops.zeros((), self.rate.dtype)
        return self._last_step.cosine(gradients, self.rate.dtype)

    def _observe(self, overshoot: Tensor, evaluate: Evaluate) -> dict[str, Tensor]:
        """Evaluate E, where it is due, and move the hyperparameters by it.

        Args:
            overshoot: Cosine of the last step with the training gradient after it.
            evaluate: Returns E and its gradient.
        """
        self._count.assign(self._count.value + 1)
        is_due = self._count.value % self._every == 0

        def look() -> tuple[Tensor, list[Observation]]:
            loss, gradients = evaluate(is_due)
            square = None
            if self._rule.needs_norm:
                square = inner_product(gradients, gradients, self.rate.dtype)
            observations = [
                each.observe(gradients, square, is_due) for each in self.tuned
            ]
            return self._cast((loss, observations))

        loss, observations = self._when_due(look, is_due)
        row = {"validation_loss": loss}
        for tuned, observation in zip(self.tuned, observations, strict=True):
            delta, mu, beta = tuned.update(observation, is_due, overshoot)
            row[hypergradient_of(tuned.name)] = delta
            if tuned.name == LEARNING_RATE:
                row |= {"discount": mu, "hyper_learning_rate": beta}
        return row

    def _remember_weights(self) -> None:
        if self._last_step is not None:
            self._last_step.remember()

    def _when_due(self, look: Callable[[], Any], is_due: Tensor) -> Any:
        import tensorflow as tf

        if self._every == 1:
            return look()
        nothing = unknown(self.rate.dtype)
        if replicas.number_of_replicas() == 1:
            names = Observation._fields
            observations = [Observation(*[nothing] * len(names)) for _ in self.tuned]
            return tf.cond(is_due, look, lambda: (nothing, observations))
        # Replicas cannot communicate inside a branch.
        return tf.nest.map_structure(lambda x: ops.where(is_due, x, nothing), look())

    def _cast(self, scalars: Any) -> Any:
        import tensorflow as tf

        return tf.nest.map_structure(lambda x: ops.cast(x, self.rate.dtype), scalars)
