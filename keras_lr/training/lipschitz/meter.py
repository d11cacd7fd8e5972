"""Measure the Lipschitz constant of a compiled model's loss, regularizers included."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy.typing as npt

from keras_lr import _keras
from keras_lr._keras import layer_tap
from keras_lr._typing import Bound, Tensor
from keras_lr.training.lipschitz.head import find_head
from keras_lr.training.lipschitz.head_monitor import HeadMonitor
from keras_lr.training.lipschitz.losses import constants_of, describe_loss
from keras_lr.training.lipschitz.weight_term import WeightTerm

# Takes L of a batch, and the regularizers' part of it.
OnConstant = Callable[[Tensor, Tensor], None]


class LipschitzMeter:
    """Reads loss, head and regularizers from a model, and measures L while it runs.

    Args:
        model: A built, compiled model.
        bound: `"paper"` or `"strict"`.
        layer: The head or its name, where it cannot be found.
        row_bound: Bound D, for a loss without a formula.
        tikhonov: Gamma of a term that is added to the loss by hand.
        owner: Name of the callback, for messages.

    Raises:
        ValueError: If there is no formula for the model.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        bound: Bound,
        layer: str | keras.Layer | None = None,
        row_bound: float | None = None,
        tikhonov: npt.ArrayLike | None = None,
        owner: str,
    ) -> None:
        head = find_head(model, layer, owner=owner)
        loss, weight = _keras.compiled_losses(model)[head.output_index]
        description = describe_loss(loss, weight=weight)
        constants = constants_of(description, head.units, row_bound=row_bound)
        if row_bound is None:
            head.require_formula(description, owner)
        constants.require_form(bound, description.name, head.units)
        self._weight_term = WeightTerm(model, head.layer, bound, tikhonov, owner=owner)
        self._monitor = HeadMonitor(model, head, description, constants, bound)

    def watching(
        self, data: Any, on_constant: OnConstant = lambda constant, weight_term: None
    ) -> contextlib.AbstractContextManager[None]:
        """Measure the batch that goes through the model in this context.

        Args:
            data: The batch, as `train_step` gets it: x, (x, y) or (x, y, weights).
            on_constant: Function of L and the regularizers' part of it. It is called
                before the update, inside the head's call: with control flow in the
                model, L is unknown outside of it.
        """

        def measure(inputs: Tensor, outputs: Tensor) -> None:
            with _keras.full_precision():
                constant = self._monitor.observe(inputs, outputs, data)
                weight_term = self._weight_term()
                on_constant(constant + weight_term, weight_term)

        return layer_tap.tapped(self._monitor.layer, measure)

    def reset(self) -> None:
        """Start measuring anew."""
        self._monitor.reset()

    def read(self) -> dict[str, float]:
        """Return the largest L and K_z since the last reset, and the weight term."""
        statistics = self._monitor.read()
        weight_term = _keras.to_float(self._weight_term())
        return {
            "lipschitz_constant": statistics.constant + weight_term,
            "activation_norm": statistics.activation_norm,
            "weight_term": weight_term,
        }
