"""Find the last layer of a model: the `Dense` layer whose output the loss sees.

In a Sequential or functional model the graph is walked back from the output, through
activations and nested models. A subclassed model has no graph: it is run once on
symbolic inputs, and the `Dense` layer called last is the head.
"""

import contextlib
import dataclasses
from typing import Any

import keras

from keras_lr import _keras
from keras_lr._keras import layer_tap
from keras_lr._typing import Tensor
from keras_lr.training.lipschitz.losses import LossDescription

# Activations whose derivative is at most 1 everywhere, and softmax, whose Jacobian has
# norm at most 1/2. GELU, SiLU and SELU exceed 1.
_SLOPE_AT_MOST_ONE = frozenset(
    (
        *("linear", "identity", "relu", "relu6", "leaky_relu", "elu", "softplus"),
        *("softsign", "softmax", "sigmoid", "hard_sigmoid", "log_sigmoid", "tanh"),
        "hard_tanh",
    )
)
_ACTIVATION_LAYERS = (
    keras.layers.Activation,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    keras.layers.Softmax,
)
_LAYER_NAMES = {keras.layers.LeakyReLU: "leaky_relu"}
_LINEAR = ("", "linear", "identity")
_PROBABILITIES = {
    "binary_crossentropy": "sigmoid",
    "categorical_crossentropy": "softmax",
    "sparse_categorical_crossentropy": "softmax",
}
_ADVICE = (
    "Name the `keras.layers.Dense` layer whose output the loss sees, as in "
    '`layer="logits"`.'
)


@dataclasses.dataclass(frozen=True)
class Head:
    """The last layer, and what stands between it and the loss.

    Attributes:
        layer: The `Dense` layer.
        trailing: Parameter-free operations behind it, in order; `None` if unknown, as
            in a subclassed model that continues after its last layer.
        output_index: Index of the model's output that it feeds.
        output_keys: Keys by which a dict of targets may name that output.
    """

    layer: keras.layers.Dense
    trailing: tuple[Any, ...] | None = ()
    output_index: int = 0
    output_keys: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """Number of outputs, k."""
        return self.layer.units

    @property
    def activations(self) -> tuple[str, ...] | None:
        """Names of the nonlinear activations before the loss; `None` if unknown."""
        if self.trailing is None:
            return None
        of_layer = _keras.activation_name(self.layer.activation)
        behind = [_activation_of(operation) or "" for operation in self.trailing]
        nonlinear = (name for name in (of_layer, *behind) if name not in _LINEAR)
        return tuple(nonlinear)

    def predictions(self, outputs: Tensor) -> Tensor:
        """Return the model's output from the layer's."""
        for operation in self.trailing or ():
            outputs = operation(outputs)
        return outputs

    def require_formula(self, loss: LossDescription, owner: str) -> None:
        """Raise a `ValueError` if the activations do not fit the loss's formula."""
        names = self.activations
        probability = _PROBABILITIES.get(loss.name)
        if probability is not None and not loss.from_logits:
            if names is not None and names != (probability,):
                raise ValueError(
                    f"`{owner}` has a formula for {loss.name!r} behind a {probability} "
                    "or, with `from_logits=True`, a linear layer. Received: "
                    f"activations={names or ('linear',)} behind layer "
                    f"{self.layer.name!r}."
                )
            return
        if names is None or not _SLOPE_AT_MOST_ONE.issuperset(names):
            raise ValueError(
                f"`{owner}` has a formula for {loss.name!r} only where no activation "
                "behind the last layer is steeper than 1. Received: "
                f"activations={names or 'unknown'} behind layer {self.layer.name!r}. "
                "Use a linear last layer, or pass `constant=`."
            )


def find_head(
    model: keras.Model, layer: str | keras.Layer | None = None, *, owner: str
) -> Head:
    """Return the model's head.

    Args:
        model: A built model.
        layer: The head, or its name, where it cannot be found: models with several
            outputs, or whose last layer is hidden in another layer.
        owner: Name of the callback, for messages.

    Raises:
        ValueError: If there is no `Dense` head, or several.
    """
    wanted = None if layer is None else _named_layer(model, layer)
    outputs = getattr(model, "outputs", None)
    if not outputs and wanted is not None:
        _require_one_loss(model, wanted)
        return Head(wanted, None)
    if not outputs:
        return _last_called(model, owner)
    keys = _keras.output_keys(model)
    heads = [
        _walk_back(output, index, keys[index]) for index, output in enumerate(outputs)
    ]
    if wanted is not None:
        matching = [head for head in heads if head is not None and head.layer is wanted]
        if not matching and len(heads) > 1:
            _require_one_loss(model, wanted)
        return matching[0] if matching else Head(wanted, None)
    if len(heads) > 1:
        raise ValueError(
            f"`{owner}` needs one head. Received: a model with {len(heads)} "
            f"outputs. {_ADVICE}"
        )
    if heads[0] is None:
        raise ValueError(
            f"`{owner}` needs a `keras.layers.Dense` layer as the last one, with "
            "nothing but activations behind it (there is no formula for convolutional "
            f"heads). Received: a model that ends in {_last_operation(outputs[0])}. "
            f"{_ADVICE}"
        )
    return heads[0]


def _require_one_loss(model: keras.Model, layer: keras.layers.Dense) -> None:
    several = isinstance(model.loss, dict | list | tuple) and len(model.loss) > 1
    if several or len(getattr(model, "outputs", None) or []) > 1:
        raise ValueError(
            "`layer` must lead to one of the outputs by nothing but activations, so "
            f"that its loss is known among several. Received: layer={layer.name!r}."
        )


def _named_layer(model: keras.Model, layer: str | keras.Layer) -> keras.layers.Dense:
    layers = {each.name: each for each in _keras.all_layers(model)}
    named = layers.get(layer if isinstance(layer, str) else layer.name)
    if named is None or (not isinstance(layer, str) and named is not layer):
        raise ValueError(
            "`layer` must be a layer of the model, or the name of one. Received: "
            f"layer={layer!r}, in a model with layers {sorted(layers)}."
        )
    if not isinstance(named, keras.layers.Dense):
        raise ValueError(
            "`layer` must be a `keras.layers.Dense` layer: there is no formula for "
            f"others. Received: layer={named.name!r} of type {type(named).__name__}."
        )
    return named


def _walk_back(
    tensor: Tensor, output_index: int, output_keys: tuple[str, ...]
) -> Head | None:
    trailing: list[Any] = []
    while True:
        operation = _keras.producing_operation(tensor)
        if isinstance(operation, keras.layers.Dense):
            return Head(operation, tuple(reversed(trailing)), output_index, output_keys)
        outputs = getattr(operation, "outputs", None)
        if isinstance(operation, keras.Model) and outputs:
            tensor = outputs[_keras.output_position(tensor)]
            continue
        if operation is None or _activation_of(operation) is None:
            return None
        trailing.append(operation)
        tensor = _keras.operation_inputs(tensor)[0]


def _activation_of(operation: Any) -> str | None:
    """Return the name of a parameter-free activation; `None` if it is not one."""
    if isinstance(operation, keras.layers.Activation):
        return _keras.activation_name(operation.activation)
    if isinstance(operation, _ACTIVATION_LAYERS):
        name = _LAYER_NAMES.get(type(operation), type(operation).__name__.lower())
        slope = getattr(operation, "negative_slope", getattr(operation, "alpha", 0.0))
        is_gentle = abs(slope) <= 1.0 and getattr(operation, "axis", -1) in (-1, None)
        return name if is_gentle else f"{name} with {operation.get_config()}"
    if isinstance(operation, keras.layers.Identity):
        return "identity"
    # `keras.ops` functions are operations named after the function.
    name = type(operation).__name__.lower()
    is_layer = isinstance(operation, keras.Layer)
    return name if name in _SLOPE_AT_MOST_ONE and not is_layer else None


def _last_operation(tensor: Tensor) -> str:
    operation = _keras.producing_operation(tensor)
    return f"{getattr(operation, 'name', operation)!r} ({type(operation).__name__})"


def _last_called(model: keras.Model, owner: str) -> Head:
    calls: list[tuple[keras.layers.Dense, Tensor]] = []
    output: Tensor | None = None
    denses = [x for x in _keras.all_layers(model) if isinstance(x, keras.layers.Dense)]
    with contextlib.ExitStack() as stack:
        for dense in denses:
            stack.enter_context(
                layer_tap.tapped(dense, lambda _, z, d=dense: calls.append((d, z)))
            )
        # A model may fail on symbolic inputs although it runs on its data.
        with contextlib.suppress(Exception):
            output = _keras.symbolic_call(model)
    if output is None or not calls:
        raise ValueError(
            f"`{owner}` found no `keras.layers.Dense` layer at the end of the "
            f"subclassed model {model.name!r}. {_ADVICE}"
        )
    dense, outputs = calls[-1]
    if outputs is output:
        return Head(dense)
    if output.shape[-1] != dense.units:
        raise ValueError(
            "The `keras.layers.Dense` layer called last must give the model's output. "
            f"Received: {dense.name!r} with {dense.units} units, in a model with "
            f"{output.shape[-1]} outputs. {_ADVICE}"
        )
    return Head(dense, None)
