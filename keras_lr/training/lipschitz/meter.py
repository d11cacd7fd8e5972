"""Measure the Lipschitz constant of a compiled model's loss, regularizers included."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy.typing as npt

from keras_lr import _keras
from keras_lr._typing import Bound, Tensor
from keras_lr.training.lipschitz.forward_pass import ForwardPass
from keras_lr.training.lipschitz.head import find_head
from keras_lr.training.lipschitz.head_monitor import HeadMonitor
from keras_lr.training.lipschitz.losses import constants_of, describe_loss
from keras_lr.training.lipschitz.weight_term import WeightTerm


class LipschitzMeter:
    """Reads loss, head and regularizers from a model, and measures L while it runs.

    Args:
        model: A built, compiled model.
        bound: `"paper"` or `"strict"`.
        layer: The head or its name, where it cannot be found.
        row_bound: D, for a loss without a formula.
        tikhonov: Gamma of a term that the user adds to the loss.
        data: For `run`; `None` if L is measured in training steps.
        batch_size: Of `data` given as arrays.

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
        data: Any = None,
        batch_size: int = 32,
    ) -> None:
        head = find_head(model, layer)
        loss, weight = _keras.compiled_losses(model)[head.output_index]
        description = describe_loss(loss, weight=weight)
        constants = constants_of(description, head.units, row_bound=row_bound)
        if row_bound is None:
            head.require_formula(description, "LipschitzLR")
        constants.require_form(bound, description.name, head.units)
        self._weight_term = WeightTerm(model, head.layer, bound, tikhonov)
        self._monitor = HeadMonitor(model, head, description, constants, bound)
        self._forward_pass = None
        if data is not None:
            self._forward_pass = ForwardPass(model, self._monitor, data, batch_size)

    def watching(
        self, data: Any, on_constant: Callable[[Tensor, Tensor], None]
    ) -> contextlib.AbstractContextManager[None]:
        """Measure in this context.

        Before the update, `on_constant` is given L and the weights' part of it.
        """

        def add_weights(constant: Tensor) -> None:
            weight_term = self._weight_term()
            on_constant(constant + weight_term, weight_term)

        return self._monitor.watching(data, add_weights)

    def run(self) -> None:
        """Measure by a forward pass over `data`."""
        if self._forward_pass is not None:
            self._forward_pass.run()

    def reset(self) -> None:
        """Start measuring anew."""
        self._monitor.reset()

    def read(self) -> dict[str, float]:
        """Return the largest L and K_z since the last reset, and the weights' part."""
        statistics = self._monitor.read()
        weight_term = _keras.to_float(self._weight_term())
        return {
            "lipschitz_constant": statistics.constant + weight_term,
            "activation_norm": statistics.activation_norm,
            "weight_term": weight_term,
        }
