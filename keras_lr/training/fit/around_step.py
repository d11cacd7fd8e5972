"""What a method does around the optimizer's step, in each training step of a fit."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lr import _keras
from keras_lr._checks import LEARNING_RATE
from keras_lr._keras import replicas
from keras_lr._typing import Gradients, Tensor
from keras_lr.training.derivatives.tensors import on_present, zeros_for_none
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.fit.hyperparameter import Hyperparameter

# Factor on a rate that let the training diverge, and on one that did so before any
# progress: a start that is too low costs a few steps, one that is too high the model.
CUT, FIRST_CUT = 0.1, 0.01


class OptimizerStep:
    """The step that the optimizer is about to take, as an `AroundStep` sees it.

    Args:
        model: The model that is trained.
        rate: Owner of the learning rate.
        others: The other hyperparameters that move.
        gradients: Dense gradients of the weights, as Keras hands them to the optimizer:
            of this replica, and scaled as the loss is.
        loss: Loss of the global batch before the step; NaN if a user's own training
            step does not report it.
        is_finite: Whether loss and gradients were finite. If not, the gradients are
            zeros, so that the step changes next to nothing.
        recording: What the context of `AroundStep.recording` yielded.
        apply: Function that takes the step, with other gradients unless it gets `None`.
    """

    def __init__(
        self,
        model: keras.Model,
        rate: AnnealedRate,
        others: Sequence[Hyperparameter],
        *,
        gradients: Gradients,
        loss: Tensor,
        is_finite: Tensor,
        recording: Any,
        apply: Callable[[Gradients | None], None],
    ) -> None:
        self.gradients = gradients
        self.loss = loss
        self.is_finite = is_finite
        self.recording = recording
        self.factor = rate.factor()
        self._shortening: Tensor | None = None
        self.loss_scale = _keras.loss_scale(model.optimizer)
        self._weights = model.trainable_variables
        self._rate = rate
        self._others = others
        self._apply = apply
        self.values: dict[str, Tensor] = {}
        """Values of the hyperparameters in this step, once they are set."""

    def summed_gradients(self) -> Gradients:
        """Return the gradients of the global batch, as the optimizer's code gets them.

        Summed over the replicas, and without the scale of a `LossScaleOptimizer`.
        """
        return summed(self.gradients, self.loss_scale)

    def batch_gradients(self) -> list[Tensor]:
        """Return the gradients of the loss itself, with zeros where there is none."""
        plain = zeros_for_none(self.summed_gradients(), self._weights)
        factor = self._rate.optimizers[0].loss_scale_factor
        return plain if factor is None else [each / factor for each in plain]

    def shorten(self, factor: Tensor) -> None:
        """Multiply the rate of this step, and of no other, by a factor.

        Args:
            factor: At most 1. To be given before the hyperparameters are set.
        """
        self._shortening = factor

    def set_hyperparameters(self) -> dict[str, Tensor]:
        """Set the optimizer's for this step; return them as its code will read them."""
        factor = self.factor
        if self._shortening is not None:
            factor = ops.cast(factor, self._shortening.dtype) * self._shortening
        self._rate.write(factor)
        values = {each.name: each.value.value + 0.0 for each in self._others}
        self.values = {LEARNING_RATE: self._rate.in_optimizer.value + 0.0} | values
        return self.values

    def take(self, gradients: Gradients | None = None) -> None:
        """Take the step.

        Args:
            gradients: Gradients that replace those of the batch; `None` for the latter.
        """
        values = self.values or self.set_hyperparameters()
        others = {each.name: values[each.name] for each in self._others}
        with _keras.with_hyperparameters(self._rate.optimizers[0], others):
            self._apply(gradients)
        if self._shortening is not None:
            # What is saved between two steps has the rate of all others.
            self._rate.write(self.factor)


class AroundStep:
    """Base of what a method does around the optimizer's step, and of its state.

    An `OnlineFit` calls `around` in each training step, where the gradients are known
    and the optimizer's step is not yet taken. What lasts from one step to the next is
    in variables: a Python number would be frozen into the traced step.

    Args:
        rate: Owner of the learning rate, which `around` moves.
        others: The other hyperparameters that move.

    Attributes:
        name: Name of the method in the file that a fit resumes from.
        renews_optimizer: Whether the optimizer's state is cleared where a training is
            rolled back. A velocity that was gained at a high rate continues to carry
            the weights away at a low one.
    """

    name: str
    renews_optimizer = True

    def __init__(
        self, rate: AnnealedRate, others: Sequence[Hyperparameter] = ()
    ) -> None:
        self.rate = rate
        self.others = others

    def around(self, step: OptimizerStep) -> dict[str, Tensor]:
        """Move the rate and take the step, in either order.

        Returns:
            Scalars by the names of the columns that are recorded, except
            `learning_rate`, `loss` and the other hyperparameters, which are known.
        """
        raise NotImplementedError

    def recording(self, data: Any) -> contextlib.AbstractContextManager[Any]:
        """Return a context for the whole training step.

        What it yields becomes `OptimizerStep.recording`.

        Args:
            data: The batch, as the training step gets it.
        """
        return contextlib.nullcontext(data)

    def start(self) -> None:
        """Set the state to what it is before the first step, on the host.

        The values of the hyperparameters are set already.
        """

    def restart(self, factor: float) -> str:
        """Begin anew from the good state after a divergence, on the host.

        Args:
            factor: Factor on the rate, `CUT` or `FIRST_CUT`.

        Returns:
            What the training continues with, in words.
        """
        self.start()
        return f"a learning rate of {self.rate.cut(factor):.3g}"

    def look_at(self, rows: Mapping[str, Sequence[float]]) -> str | None:
        """Act on what steps recorded, on the host, between two steps.

        Args:
            rows: What is recorded of each step, by columns.

        Returns:
            What the user should know, if anything.
        """
        return None

    def added_variables(self) -> list[str]:
        """Return the names of `variables` that version 0.1.0 did not write."""
        return []

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names.

        Each fit begins with zeros in them; `start` sets what must be something else.
        """
        hyperparameters = [self.rate.rate, *self.others]
        return {each.name: each.value for each in hyperparameters}

    def accepts(self, name: str, array: np.ndarray) -> bool:
        """Return whether what a file holds for a variable can be its value.

        Hyperparameters are checked elsewhere.
        """
        return True


def summed(gradients: Gradients, scale: Tensor | None) -> Gradients:
    """Return gradients summed over the replicas, without the scale of the loss.

    Args:
        gradients: Gradients of this replica.
        scale: Scale of a `LossScaleOptimizer`, or `None`.
    """

    def total(tensors: list[Tensor]) -> list[Tensor]:
        if scale is not None:
            tensors = [each / ops.cast(scale, each.dtype) for each in tensors]
        return replicas.sum_over_replicas(tensors)

    return on_present(total, gradients)


def unknown(dtype: str) -> Tensor:
    """Return the scalar that stands for what a step does not report."""
    return ops.full((), math.nan, dtype)
