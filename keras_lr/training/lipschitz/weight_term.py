"""What the regularizers of a model add to the Lipschitz constant of its loss."""

import math
from typing import Any

import keras
import numpy.typing as npt
from keras import ops

from keras_lr import _keras
from keras_lr._typing import Bound, Tensor
from keras_lr.rules import lipschitz
from keras_lr.rules.penalty_lipschitz import tikhonov_norm


class WeightTerm:
    """The regularizers' part of L, as a function of the current weights.

    Paper: `lambda max ||w|| + 2 max ||w|| ||Gamma^2||`, with lambda the largest L2
    factor of any layer and the maximum over all tensors of `model.weights`. Strict: a
    bound on the gradient of the head's own penalties.

    Args:
        model: A built model.
        layer: The head.
        bound: `"paper"` or `"strict"`.
        tikhonov: Gamma of a term `||Gamma w||^2` that is added to the loss by hand:
            a float for a multiple of the identity, or a matrix that multiplies
            the head's kernel from the left.
        owner: Name of the callback, for messages.

    Raises:
        ValueError: If a regularizer of the head has no formula.
    """

    def __init__(
        self,
        model: keras.Model,
        layer: keras.layers.Dense,
        bound: Bound,
        tikhonov: npt.ArrayLike | None = None,
        *,
        owner: str,
    ) -> None:
        self._model = model
        self._layer = layer
        self._is_paper = bound == "paper"
        self._gamma = tikhonov_norm(tikhonov, layer.kernel.shape[0], bound)
        self._kernel = _l1_l2(layer.kernel_regularizer, layer, owner)
        self._bias = _l1_l2(layer.bias_regularizer, layer, owner)
        if layer.activity_regularizer is not None:
            raise ValueError(
                f"`{owner}` has no formula for a last layer with an "
                "`activity_regularizer`. Received: activity_regularizer="
                f"{layer.activity_regularizer!r} in layer {layer.name!r}."
            )
        self._weight_decay = max(
            (_l2_of(each) for each in _keras.all_layers(model)), default=0.0
        )
        factors = (*self._kernel, *self._bias, self._gamma)
        self.is_zero = not any(factors) and not (self._is_paper and self._weight_decay)

    def __call__(self) -> Tensor:
        """Return the term at the current weights, a float32 scalar."""
        if self.is_zero:
            return ops.zeros((), "float32")
        return self._paper_term() if self._is_paper else self._strict_term()

    def _paper_term(self) -> Tensor:
        norms = [_norm(variable) for variable in self._model.weights]
        return lipschitz.regularizer_bound(
            ops.max(ops.stack(norms)),
            math.prod(self._layer.kernel.shape),
            l1=self._kernel[0],
            l2=self._weight_decay,
            tikhonov=self._gamma,
            bound="paper",
        )

    def _strict_term(self) -> Tensor:
        (l1, l2), kernel = self._kernel, self._layer.kernel
        term = lipschitz.regularizer_bound(
            _norm(kernel),
            math.prod(kernel.shape),
            l1=l1,
            l2=l2,
            tikhonov=self._gamma,
        )
        if self._layer.use_bias and any(self._bias):
            (l1, l2), bias = self._bias, self._layer.bias
            term = term + lipschitz.regularizer_bound(
                _norm(bias), math.prod(bias.shape), l1=l1, l2=l2
            )
        return term


def _norm(weights: Any) -> Tensor:
    # With LoRA a layer's kernel is a tensor, the sum of its parts.
    tensor = ops.convert_to_tensor(weights)
    if not keras.backend.is_float_dtype(ops.dtype(tensor)):
        return ops.zeros((), "float32")
    return ops.norm(ops.reshape(ops.cast(tensor, "float32"), (-1,)))


def _l2_of(layer: keras.Layer) -> float:
    regularizer = getattr(layer, "kernel_regularizer", None)
    return float(getattr(regularizer, "l2", 0.0) or 0.0)


def _l1_l2(regularizer: Any, layer: keras.Layer, owner: str) -> tuple[float, float]:
    if regularizer is None:
        return 0.0, 0.0
    known = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)
    if not isinstance(regularizer, known):
        raise ValueError(
            f"`{owner}` has a formula for the regularizers L1, L2 and L1L2 of the "
            f"last layer. Received: {type(regularizer).__name__} in layer "
            f"{layer.name!r}."
        )
    l1, l2 = getattr(regularizer, "l1", 0.0), getattr(regularizer, "l2", 0.0)
    return float(l1), float(l2)
