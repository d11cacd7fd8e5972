"""Read what a Lipschitz constant needs to know of a Keras loss."""

import dataclasses
from typing import Any

import keras

from keras_lr import _keras
from keras_lr.rules import lipschitz


@dataclasses.dataclass(frozen=True)
class LossDescription:
    """A Keras loss in the terms of `keras_lr.rules.lipschitz`.

    Attributes:
        name: Name of the loss function, as `"categorical_crossentropy"`.
        reduction: Keras's `reduction`, how the rows become one number.
        from_logits: Whether a cross-entropy takes logits.
        delta: Where Huber's loss turns linear.
        weight: The output's entry of `compile(loss_weights=...)`.
        ignore_class: Label whose rows do not count; `None` for none.
    """

    name: str
    reduction: str = "sum_over_batch_size"
    from_logits: bool = False
    delta: float = 1.0
    weight: float = 1.0
    ignore_class: int | None = None


def describe_loss(loss: Any, *, weight: float = 1.0) -> LossDescription:
    """Describe a loss given as a name, a function or a `keras.Loss`.

    Raises:
        ValueError: If the loss is `None`, or reduces to no single number.
    """
    if loss is None:
        raise ValueError(
            "The loss must be given to `compile(loss=...)`, so that its Lipschitz "
            "constant is known. Received: loss=None."
        )
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    function = getattr(loss, "fn", loss)
    # A user's own function of the same name is not Keras's loss.
    is_keras = getattr(function, "__module__", "").startswith("keras.")
    name = getattr(function, "__name__", type(loss).__name__)
    arguments = _keras.loss_arguments(loss)
    reduction = getattr(loss, "reduction", "sum_over_batch_size")
    if reduction in (None, "none"):
        raise ValueError(
            "The loss must be reduced to one number. Received: a loss with "
            f"reduction={reduction!r}. Use 'sum_over_batch_size', 'sum' or "
            "'mean_with_sample_weight'."
        )
    return LossDescription(
        name=name if is_keras else f"{name} (not one of Keras's)",
        reduction=reduction,
        from_logits=bool(arguments.get("from_logits", False)),
        delta=float(arguments.get("delta", 1.0)),
        weight=weight,
        ignore_class=arguments.get("ignore_class"),
    )


def constants_of(
    loss: LossDescription, outputs: int, *, row_bound: float | None = None
) -> lipschitz.LossConstants:
    """Return the loss's constants, scaled by its weight in the total loss.

    Args:
        loss: The loss.
        outputs: Units of the last layer.
        row_bound: The user's own bound D on the gradient of one example's loss with
            respect to the last layer's output, for a loss without a formula.

    Raises:
        ValueError: If there is no formula for the loss and no `row_bound`.
    """
    if row_bound is not None:
        constants = lipschitz.LossConstants(None, row_bound)
    else:
        constants = lipschitz.loss_constants(loss.name, outputs, delta=loss.delta)
    factor = constants.paper_factor
    return dataclasses.replace(
        constants,
        paper_factor=None if factor is None else abs(loss.weight) * factor,
        row_bound=abs(loss.weight) * constants.row_bound,
    )
