"""Models: their layers, their graph, how they are built, how Keras prints."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras.src import backend
from keras.src.utils import io_utils

from keras_lr._keras import replicas
from keras_lr._keras.optimizers import leaf_optimizers, to_float
from keras_lr._keras.scopes import outside_of_trace
from keras_lr._typing import Tensor


def restored_epoch(model: keras.Model) -> int:
    """Return the epoch that `BackupAndRestore` resumed at, 0 if it did not."""
    return model._initial_epoch or 0


def all_layers(model: keras.Model) -> list[Any]:
    """Return the layers of a model and of all its layers, at any depth."""
    return list(model._flatten_layers(include_self=False))


def compile_arguments(model: keras.Model) -> dict[str, Any]:
    """Return the arguments of `compile`, as they were given, where they are known."""
    config = getattr(model, "_compile_config", None)
    return {} if config is None else dict(config.config)


def parts_that_train(model: keras.Model) -> list[Any]:
    """Return a model, the weights that are trained, and the optimizers, if any.

    Weights that are not trained may be shared by models, as those of a frozen network.
    """
    optimizer = getattr(model, "optimizer", None)
    optimizers = [] if optimizer is None else leaf_optimizers(optimizer)
    return [model, *model.trainable_variables, *optimizers]


def require_new_model(name: str, model: keras.Model, earlier: Sequence[Any]) -> None:
    """Raise unless a model has weights and an optimizer of its own.

    Args:
        name: Name of the function that returned both models.
        model: The later model.
        earlier: `parts_that_train` of the model before.
    """
    known = {id(each) for each in earlier}
    kept = [each for each in parts_that_train(model) if id(each) in known]
    if not kept:
        return
    if kept[0] is model:
        shared = "the same model twice"
    elif isinstance(kept[0], keras.Variable):
        shared = "two models with the same trainable weights"
    else:
        shared = "two models with the same optimizer"
    raise ValueError(
        f"`{name}` must return a new model with each call, so that each training "
        f"starts anew. Received: {shared}. Make layers and optimizer inside of it."
    )


def metric_mode(model: keras.Model, name: str) -> str | None:
    """Return `"max"` or `"min"` for a metric, as Keras knows it, `None` if not.

    Args:
        model: A compiled model that has been evaluated once.
        name: Name in the logs, without `val_`; with several outputs, after theirs.
    """
    if name == "loss" or name.endswith("_loss"):
        return "min"
    metrics = [*model.metrics]
    metrics += [part for each in metrics for part in getattr(each, "metrics", ())]
    directions = {
        metric._direction
        for metric in metrics
        if hasattr(metric, "_direction")
        and (name == metric.name or name.endswith(f"_{metric.name}"))
    }
    modes = {"up": "max", "down": "min"}
    return modes[directions.pop()] if len(directions) == 1 else None


def keras_mask(tensor: Tensor) -> Tensor | None:
    """Return the mask that Keras attached to a tensor, if any."""
    return backend.get_keras_mask(tensor)


def input_shapes(model: keras.Model) -> Any:
    """Return the input shape, or shapes, that the model was built with, if known."""
    config = model.get_build_config() or {}
    return config.get("input_shape", config.get("shapes_dict"))


def producing_operation(tensor: Tensor) -> Any | None:
    """Return the operation that made a symbolic Keras tensor."""
    history = getattr(tensor, "_keras_history", None)
    return None if history is None else history.operation


def output_position(tensor: Tensor) -> int:
    """Return which output of its operation a symbolic Keras tensor is."""
    return tensor._keras_history.tensor_index


def operation_inputs(tensor: Tensor) -> list[Tensor]:
    """Return the symbolic inputs of the call that made a symbolic Keras tensor."""
    history = tensor._keras_history
    return list(history.operation._inbound_nodes[history.node_index].input_tensors)


def activation_name(activation: Any) -> str:
    """Return the name of a layer's activation function."""
    return getattr(activation, "__name__", type(activation).__name__)


def symbolic_call(model: keras.Model) -> Tensor | None:
    """Run a built model once on symbolic inputs, in inference mode.

    Returns:
        The output as the model's own code returned it, so that it can be compared by
        identity with what its layers returned; `None` where the build configuration
        does not describe the model's inputs.
    """
    shapes = input_shapes(model)
    if not _is_shape_tree(shapes):
        return None
    outputs: list[Tensor] = []

    def call(inputs: Tensor) -> Tensor:
        outputs.append(model(inputs))
        return outputs[-1]

    backend.compute_output_spec(call, _symbolic_inputs(shapes))
    output = outputs[-1]
    return output if hasattr(output, "shape") else None


def _is_shape_tree(shapes: Any) -> bool:
    if isinstance(shapes, dict):
        return all(_is_shape_tree(each) for each in shapes.values())
    return isinstance(shapes, list | tuple) and len(shapes) > 0


def _symbolic_inputs(shapes: Any) -> Any:
    if isinstance(shapes, dict):
        return {name: _symbolic_inputs(each) for name, each in shapes.items()}
    if all(size is None or isinstance(size, int) for size in shapes):
        return keras.KerasTensor(tuple(shapes))
    return [_symbolic_inputs(each) for each in shapes]


def print_message(message: str) -> None:
    """Print as Keras's own callbacks do, so that one switch silences them all."""
    io_utils.print_msg(message)


def has_call(model: keras.Model) -> bool:
    """Return whether the model can be called, or has nothing but a training step."""
    return type(model).call not in (keras.Model.call, keras.Layer.call)


def is_built(model: keras.Model) -> bool:
    """Return whether the model and all its layers have their weights.

    A model that nobody calls is never built itself. It has its weights if its layers
    have theirs.
    """
    is_called = has_call(model) and not _has_been_trained(model)
    layers = model._flatten_layers(include_self=is_called)
    return all(layer.built for layer in layers)


def _has_been_trained(model: keras.Model) -> bool:
    optimizer = getattr(model, "optimizer", None)
    leaves = [] if optimizer is None else leaf_optimizers(optimizer)
    return any(to_float(each.iterations) > 0 for each in leaves)


def build(model: keras.Model, data: Any, step: Callable[[Any], Any]) -> None:
    """Build a model from a batch, also while a training step is being traced.

    A training step of the user's own may never call the model, or call it on something
    else than the first part of the batch. Then only this step can tell how.

    Args:
        model: A compiled model.
        data: The batch, as the step gets it.
        step: Plain training step.
    """
    if has_standard_step(model) or replicas.number_of_replicas() > 1:
        with outside_of_trace():
            model._symbolic_build(data_batch=data)
    else:
        _trace(step, data)


def _trace(step: Callable[[Any], Any], data: Any) -> None:
    """Trace a step, in which its layers make their weights, without running it."""
    import tensorflow as tf

    # Not `outside_of_trace`, where no tape records.

    specs = keras.tree.map_structure(
        lambda each: None if each is None else tf.type_spec_from_value(each), data
    )
    tf.function(step, autograph=False).get_concrete_function(specs)


def has_standard_step(model: keras.Model) -> bool:
    """Return whether the model trains by Keras's own training step."""
    return type(model).train_step is keras.Model.train_step


def require_known_executions(model: keras.Model, owner: str) -> None:
    """Raise a `ValueError` unless it is known how many steps run between callbacks.

    Args:
        model: A compiled model.
        owner: Name of the callback, for the message.
    """
    steps = model.steps_per_execution
    if not isinstance(steps, numbers.Integral):
        raise ValueError(
            f"`{owner}` needs a model whose `steps_per_execution` is an integer, and "
            f"so does `fit` itself. Received: steps_per_execution={steps!r}. Pass an "
            "integer to `compile`."
        )


def build_optimizer(model: keras.Model) -> None:
    """Create the state of a compiled optimizer, as the first step would."""
    if not model.optimizer.built:
        with model.distribute_strategy.scope(), outside_of_trace():
            model.optimizer.build(model.trainable_variables)
