"""Losses: what a model was compiled with, and the loss of a batch."""

from typing import Any

import keras
from keras import ops

from keras_lr._keras.models import has_call
from keras_lr._keras.scopes import keeping_attributes
from keras_lr._typing import Tensor


def compiled_losses(model: keras.Model) -> list[tuple[Any, float]]:
    """Return (loss, loss weight) for each output, in the order of the outputs.

    A loss is what the user gave to `compile`: a name, a function or a `keras.Loss`.
    A single loss for several outputs is repeated.
    """
    compile_loss = getattr(model, "_compile_loss", None)
    weights = None if compile_loss is None else compile_loss._user_loss_weights
    losses = []
    for index, keys in enumerate(output_keys(model)):
        weight = output_entry(weights, index, keys)
        losses.append(
            (
                output_entry(model.loss, index, keys),
                1.0 if weight is None else float(weight),
            )
        )
    return losses


def output_keys(model: keras.Model) -> list[tuple[str, ...]]:
    """Return the keys by which a dict may name each of the model's outputs.

    Losses, targets and weights may be given under the names of the output layers or,
    where the model returns a dict, under its keys.
    """
    names = getattr(model, "output_names", None) or [None]
    structure = getattr(model, "_outputs_struct", None)
    # Keras flattens a dict of outputs in the order of its keys.
    keys = sorted(structure) if isinstance(structure, dict) else names
    return [
        tuple(key for key in pair if key is not None)
        for pair in zip(names, keys, strict=True)
    ]


def output_entry(value: Any, index: int, keys: tuple[str, ...]) -> Any:
    """Return one output's entry of losses, targets or weights; one alone serves all."""
    if isinstance(value, dict):
        if len(value) == 1:
            return next(iter(value.values()))
        return next((value[key] for key in keys if key in value), None)
    if isinstance(value, list | tuple):
        return value[index]
    return value


def loss_arguments(loss: Any) -> dict[str, Any]:
    """Return the arguments that a Keras loss was constructed with.

    Its `get_config` leaves some out, such as Huber's `delta`.
    """
    config = loss.get_config() if isinstance(loss, keras.Loss) else {}
    return config | getattr(loss, "_fn_kwargs", {})


def training_loss(model: keras.Model, data: Any) -> Tensor:
    """Return the loss of a batch as Keras's training step computes and scales it.

    The layers' attributes are left alone, as the training step needs them.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    with keeping_attributes(model):
        y_pred = _prediction(model, x, training=True)
        _require_loss(model)
        loss = model._compute_loss(
            x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
        )
    return model.optimizer.scale_loss(total(loss))


def data_loss(model: keras.Model, data: Any) -> Tensor:
    """Return the loss of a batch in inference mode, without the regularizers' part.

    A user's own `compute_loss` is used as it is. The layers' attributes are left alone.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    with keeping_attributes(model):
        y_pred = _prediction(model, x, training=False)
        if _has_standard_loss(model) and model._compile_loss is not None:
            loss = model._compile_loss(y, y_pred, sample_weight)
        else:
            _require_loss(model)
            loss = model._compute_loss(
                x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False
            )
    return model.optimizer.scale_loss(total(loss))


def total(loss: Tensor) -> Tensor:
    """Return the scalar whose gradient Keras takes of a loss.

    A loss that is not reduced has an entry for each row, and a tape sums them.
    """
    return loss if len(loss.shape) == 0 else ops.sum(loss)


def _prediction(model: keras.Model, x: Any, *, training: bool) -> Any:
    if not has_call(model):
        raise ValueError(_STEP_ONLY.format(model.name, "without a `call`"))
    import tensorflow as tf

    arguments = {"training": training} if model._call_has_training_arg else {}
    try:
        return model(x, **arguments)
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        # A user's own training step may call it with something else.
        lines = [each.strip() for each in str(error).splitlines()]
        reason = next((each for each in lines[1:] if each), lines[0] if lines else "")
        detail = f"whose `call` fails on the data: {reason}"
        raise ValueError(_STEP_ONLY.format(model.name, detail)) from error


def _has_standard_loss(model: keras.Model) -> bool:
    return type(model).compute_loss is keras.Model.compute_loss


def _require_loss(model: keras.Model) -> None:
    """Raise if only the training step knows the loss of a batch."""
    is_known = model._compile_loss is not None or model.losses
    if _has_standard_loss(model) and not is_known:
        raise ValueError(_STEP_ONLY.format(model.name, "compiled without a loss"))


_STEP_ONLY = (
    "The loss of a batch must be `compute_loss(x, y, model(x))`, so that it can be "
    "evaluated outside of the training step. Received: model {!r}, {}. Define `call` "
    "and `compute_loss`, or use `keras_lr.MARTHE()` without `validation_data`, which "
    "needs nothing but the training step."
)
