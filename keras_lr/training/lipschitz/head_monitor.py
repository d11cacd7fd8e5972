"""Measure the Lipschitz constant of the loss inside the training step.

The sums of `keras_lr.rules.lipschitz` are taken from the tensors that go through the
head anyway, so a measured step costs two more reductions than a plain one and no
forward pass. Their maxima over an epoch live in variables of the monitor, and are
fetched once per epoch.
"""

import dataclasses
from typing import Any

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Bound, Tensor
from keras_lr.rules import lipschitz
from keras_lr.training.lipschitz.head import Head
from keras_lr.training.lipschitz.losses import LossDescription


@dataclasses.dataclass(frozen=True)
class HeadStatistics:
    """The largest values over the batches since the last reset.

    Attributes:
        activation_norm: K_z, the largest ||A||_F of a batch.
        rows: m, the number of rows of the largest batch.
        constant: The data's part of L, without the regularizers.
    """

    activation_norm: float
    rows: int
    constant: float


class HeadMonitor:
    """Watches one head during training steps.

    Args:
        model: A built, compiled model.
        head: Last layer of the model.
        loss: Loss behind the head.
        constants: Constants of the loss.
        bound: `"paper"` or `"strict"`.
    """

    def __init__(
        self,
        model: keras.Model,
        head: Head,
        loss: LossDescription,
        constants: lipschitz.LossConstants,
        bound: Bound,
    ) -> None:
        self._head = head
        self._loss = loss
        self._constants = constants
        self._is_paper = bound == "paper"
        with model.distribute_strategy.scope():
            self._activation_norm = replicas.shared_scalar("activation_norm")
            self._rows = replicas.shared_scalar("rows")
            # In the paper's form m L: the division is by the rows of the whole epoch.
            self._constant = replicas.shared_scalar("constant")

    def reset(self) -> None:
        """Forget what was measured."""
        for variable in (self._activation_norm, self._rows, self._constant):
            variable.assign(ops.zeros((), "float32"))

    def read(self) -> HeadStatistics:
        """Fetch the maxima since the last reset."""
        norm, rows, constant = (
            _keras.to_float(variable)
            for variable in (self._activation_norm, self._rows, self._constant)
        )
        if self._is_paper and rows:
            constant /= rows if self._loss.reduction != "sum" else 1.0
        return HeadStatistics(norm, int(rows), constant)

    @property
    def layer(self) -> keras.layers.Dense:
        """The head's layer."""
        return self._head.layer

    def observe(self, inputs: Tensor, outputs: Tensor, data: Any) -> Tensor:
        """Count what goes through the head; return the data's part of the batch's L.

        It is float32, whatever the precision of the layer.

        Args:
            inputs: Inputs of the head's layer.
            outputs: Outputs of the head's layer.
            data: The batch, as `train_step` gets it: x, (x, y) or (x, y, weights).
        """
        _, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
        index, keys = self._head.output_index, self._head.output_keys
        targets = _keras.output_entry(targets, index, keys)
        weights = _keras.output_entry(weights, index, keys)
        # Keras marks the outputs only after the call that is listened to.
        mask = self._valid_rows(_keras.keras_mask(inputs), targets, inputs)
        uses_residuals = self._constants.uses_residuals
        if uses_residuals and targets is None:
            raise ValueError(
                f"Targets must be given for {self._loss.name!r}, whose gradient "
                "depends on the residuals. Received: data without targets."
            )
        sums = lipschitz.measure(
            ops.stop_gradient(inputs),
            use_bias=self._head.layer.use_bias,
            row_weights=_row_weights(weights, mask, self._loss.reduction),
            outputs=ops.stop_gradient(self._head.predictions(outputs))
            if uses_residuals
            else None,
            targets=targets if uses_residuals else None,
        )
        strict = lipschitz.strict_bound(self._constants, sums, self._loss.reduction)
        if self._loss.reduction != "sum":
            # Keras divides each replica's mean by the number of replicas.
            strict = strict / replicas.number_of_replicas()
        sums, strict = _over_replicas(sums, strict)
        divisor = 1.0 if self._loss.reduction == "sum" else sums.rows
        if self._is_paper:
            numerator = lipschitz.paper_bound(self._constants, sums)
            batch_constant = numerator / divisor
        else:
            numerator = batch_constant = strict
        _raise_to(self._activation_norm, ops.sqrt(sums.squared_inputs))
        _raise_to(self._rows, sums.rows)
        _raise_to(self._constant, numerator)
        return ops.cast(batch_constant, "float32")

    def _valid_rows(self, mask: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        ignored = self._loss.ignore_class
        if ignored is None:
            return mask
        labels = ops.cast(targets, "int32")
        valid = ops.reshape(ops.not_equal(labels, ignored), ops.shape(inputs)[:-1])
        return valid if mask is None else ops.logical_and(mask, valid)


def _raise_to(variable: keras.Variable, value: Tensor) -> None:
    """Let a variable hold the maximum; a value that is not finite does not count."""
    value = ops.cast(value, "float32")
    current = variable.value
    is_higher = ops.logical_and(ops.isfinite(value), value > current)
    variable.assign(ops.where(is_higher, value, current))


def _over_replicas(
    sums: lipschitz.HeadSums, strict: Tensor
) -> tuple[lipschitz.HeadSums, Tensor]:
    if replicas.number_of_replicas() == 1:
        return sums, strict
    # One reduction of a vector, not seven of scalars.
    values = [getattr(sums, field.name) for field in dataclasses.fields(sums)]
    total = ops.unstack(replicas.sum_over_replicas(ops.stack([*values, strict])))
    return lipschitz.HeadSums(*total[:-1]), total[-1]


def _row_weights(weights: Tensor, mask: Tensor, reduction: str) -> Tensor | None:
    """Merge a mask into the sample weights as Keras's losses do.

    Keras divides by the number of unmasked rows: its mask has the weight total / valid.
    """
    if mask is None:
        return weights
    mask = ops.cast(mask, "float32")
    if reduction in ("sum_over_batch_size", "mean"):
        mask = mask * ops.divide_no_nan(
            ops.cast(ops.size(mask), "float32"), ops.sum(mask)
        )
    if weights is None:
        return mask
    weights = ops.cast(weights, "float32")
    if weights.ndim < mask.ndim:
        weights = ops.expand_dims(weights, -1)
    elif weights.ndim > mask.ndim:
        weights = ops.squeeze(weights, -1)
    return weights * mask
