"""An optimizer's own step, as a function of its state that changes nothing."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops
from keras.src.optimizers import base_optimizer

from keras_lr._keras import replicas
from keras_lr._keras.hyperparameters import (
    require_float_attribute,
    with_hyperparameters,
)
from keras_lr._keras.models import build_optimizer
from keras_lr._keras.optimizers import leaf_optimizers
from keras_lr._typing import Tensor

# Operations that a step leaves in its graph if it writes to other variables than
# Keras's.
_WRITES = ("Assign", "ResourceApply", "ResourceScatter", "ResourceSparse", "Scatter")
_NO_WRITES = ("ScatterNd", "ScatterNdNonAliasingAdd")
_HOST_CALLS = ("PyFunc", "EagerPyFunc", "PyFuncStateless")

# It saves `slot.value` as the old value, which on TensorFlow is the variable itself:
# its step is neither the one that its code says nor the one of other backends.
_READS_LATE = ("ScheduleFreeAdamW",)


class StepState(NamedTuple):
    """What a step of an optimizer depends on and changes: tensors in lists.

    Attributes:
        weights: Trained weights of the model.
        slots: Floats of the optimizer: momenta, averages, scalars.
    """

    weights: list[Any]
    slots: list[Any]

    def read(self) -> "StepState":
        """Return the values of the variables that are in its lists, as tensors."""
        return StepState(
            *([ops.convert_to_tensor(each.value) for each in part] for part in self)
        )


class PureStep:
    """Runs the step of any optimizer on tensors in place of its variables.

    The optimizer's own code runs, weight decay, clipping and constraints included, so
    that whatever a subclass does is right. Gradients must be summed over the replicas
    beforehand.

    Args:
        optimizer: A built optimizer that owns a learning rate.
        variables: Trained weights.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        variables: Sequence[keras.Variable],
    ) -> None:
        self._optimizer = optimizer
        self._rate = optimizer._learning_rate
        self.variables = StepState(
            list(variables),
            [each for each in optimizer.variables if self._is_slot(each)],
        )
        self.counters = [
            each
            for each in optimizer.variables
            if not keras.backend.is_float_dtype(each.dtype)
        ]
        """Variables that a step changes and that have no derivatives: its count."""

    @property
    def is_compilable(self) -> bool:
        """Whether XLA is known to compile the step: on one device, in known code."""
        module = type(self._optimizer).__module__
        is_known = module.partition(".")[0] in ("keras", "keras_lr")
        return is_known and replicas.number_of_replicas() == 1

    @property
    def is_plain_descent(self) -> bool:
        """Whether all that a step adds to the weights is -eta times the gradients."""
        optimizer, weights = self._optimizer, self.variables.weights
        changing = ("weight_decay", "clipnorm", "global_clipnorm", "clipvalue")
        return (
            type(optimizer) is keras.optimizers.SGD
            and "update_step" not in vars(optimizer)
            and not self.variables.slots
            and not any(getattr(optimizer, n) for n in (*changing, "loss_scale_factor"))
            and not any(each.constraint for each in weights)
            and not any(map(_is_overwritten, weights))
        )

    @property
    def divides_entries(self) -> bool:
        """Whether it divides each entry of a gradient by its size, as Adam does.

        Where one entry is twice as large as another, a first step then moves both by
        nearly the same. `update_step` is asked, for the smallest weight of two entries
        or more: without clipping and constraints, and whatever `apply` may do besides.
        In a model without such a weight, or where that fails, the answer is no.
        """

        def number_of_entries(variable: keras.Variable) -> int:
            return math.prod(variable.shape)

        weights = [v for v in self.variables.weights if not _is_overwritten(v)]
        weights = [v for v in weights if number_of_entries(v) > 1]
        if not weights:
            return False
        weight = min(weights, key=number_of_entries)
        largest = number_of_entries(weight)
        slots = [v for v in self.variables.slots if len(v.shape) > 0]
        # Its own, and others that play no part.
        cleared = [weight, *(v for v in slots if number_of_entries(v) <= largest)]
        mapping = [(each, ops.zeros(each.shape, each.dtype)) for each in cleared]
        rate = ops.ones((), self._rate.dtype)
        sizes = ops.linspace(1.0, 2.0, largest, dtype="float32")
        gradient = ops.cast(ops.reshape(sizes, weight.shape), weight.dtype)
        twin = _pure_twin(self._optimizer)
        scope = keras.StatelessScope([*mapping, (self._rate, rate)])
        # Code of any author, which is not called by its `apply` here.
        with scope, contextlib.suppress(Exception):
            twin._backend_update_step([gradient], [weight], rate)
        moved = ops.reshape(scope.get_current_value(weight), (-1,))
        first, last = (abs(float(moved[i])) for i in (0, -1))
        return last < math.sqrt(2.0) * first

    def _is_slot(self, variable: keras.Variable) -> bool:
        is_float = keras.backend.is_float_dtype(variable.dtype)
        return is_float and variable is not self._rate

    def __call__(
        self,
        state: StepState,
        gradients: Sequence[Tensor | None],
        learning_rate: Tensor,
        hyperparameters: Mapping[str, Tensor] | None = None,
    ) -> StepState:
        """Return the state after a step.

        Args:
            state: State before the step, in the order of `variables`.
            gradients: Dense gradients; `None` where there is none.
            learning_rate: Scalar.
            hyperparameters: Values that replace attributes of the optimizer.
        """
        after, _ = self._run(state, gradients, learning_rate, hyperparameters)
        return after

    def counted(
        self,
        state: StepState,
        gradients: Sequence[Tensor | None],
        learning_rate: Tensor,
        counters: Sequence[Tensor],
    ) -> tuple[StepState, list[Any]]:
        """Return the state and the counters after a step with given counters.

        Args:
            state: State before the step, in the order of `variables`.
            gradients: Dense gradients; `None` where there is none.
            learning_rate: Scalar.
            counters: Counters before the step, in the order of the attribute; bias
                corrections follow them.
        """
        return self._run(state, gradients, learning_rate, None, counters)

    def _run(
        self,
        state: StepState,
        gradients: Sequence[Tensor | None],
        learning_rate: Tensor,
        hyperparameters: Mapping[str, Tensor] | None,
        counters: Sequence[Tensor] | None = None,
    ) -> tuple[StepState, list[Any]]:
        mapping = [
            *zip(self.variables.weights, state.weights, strict=True),
            *zip(self.variables.slots, state.slots, strict=True),
            (self._rate, learning_rate),
        ]
        if counters is not None:
            mapping += zip(self.counters, counters, strict=True)
        twin = _pure_twin(self._optimizer)
        scope = keras.StatelessScope(state_mapping=mapping)
        with scope, with_hyperparameters(twin, hyperparameters or {}):
            twin.apply(list(gradients), self.variables.weights)
        if counters is not None:
            known = {id(variable) for variable, _ in mapping}
            are_known = known.issuperset(scope.state_mapping)
            _require_known_variables(self._optimizer, are_known)
        after = StepState(
            *([scope.get_current_value(v) for v in part] for part in self.variables)
        )
        return after, [scope.get_current_value(each) for each in self.counters]

    def require_pure(self, owner: str) -> None:
        """Raise a `ValueError` unless the step leaves every variable alone.

        Args:
            owner: Name of the caller, for the message.
        """
        import tensorflow as tf

        def step() -> StepState:
            values = StepState(
                *([v.value + 0 for v in part] for part in self.variables)
            )
            gradients = [tf.zeros_like(each) for each in values.weights]
            return self(values, gradients, self._rate.value + 0)

        name = type(self._optimizer).__name__
        if any(each.__name__ in _READS_LATE for each in type(self._optimizer).__mro__):
            reason = "it reads on TensorFlow what it has overwritten already"
            raise ValueError(_REFUSAL.format(owner, name, reason))
        try:
            graph = tf.function(step, autograph=False).get_concrete_function().graph
        except Exception as error:
            raise ValueError(_REFUSAL.format(owner, name, error)) from error
        definition = graph.as_graph_def()
        nodes = [*definition.node]
        for function in definition.library.function:
            nodes += function.node_def
        kinds = {node.op for node in nodes}.difference(_NO_WRITES)
        writes = sorted(k for k in kinds if k.startswith(_WRITES) or k in _HOST_CALLS)
        if writes:
            reason = f"it runs {', '.join(writes)}"
            raise ValueError(_REFUSAL.format(owner, name, reason))


def require_single_update(
    optimizer: keras.optimizers.Optimizer, owner: str
) -> keras.optimizers.Optimizer:
    """Return the optimizer that owns the rate if it takes the same step each time.

    Args:
        optimizer: Compiled optimizer, with its wrappers.
        owner: Name of the caller, for the message.

    Raises:
        ValueError: For several optimizers, and for one whose steps are not all alike.
    """
    leaves = leaf_optimizers(optimizer)
    if len(leaves) > 1:
        raise ValueError(
            f"`{owner}` needs one optimizer for all weights. Received: optimizer="
            f"<{type(optimizer).__name__}> of {len(leaves)}. Compile the model with a "
            "single one."
        )
    leaf = leaves[0]
    for name in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
        value = getattr(leaf, name, None)
        if value:
            raise ValueError(
                f"`{owner}` needs an optimizer that takes the same step at each batch. "
                f"Received: {name}={value} in {leaf.name!r}. Drop this argument."
            )
    return leaf


def require_trainable_weights(model: keras.Model, owner: str) -> None:
    """Raise a `ValueError` if all weights are frozen.

    Args:
        model: A built model.
        owner: Name of the caller, for the message.
    """
    if not model.trainable_variables:
        raise ValueError(
            f"`{owner}` needs a model with trainable weights. Received: model "
            f"{model.name!r} with none among its {len(model.weights)} weights. Set "
            "`trainable=True` in what shall be trained, and compile again."
        )


def pure_step_of(
    model: keras.Model, hyperparameters: Sequence[str], owner: str
) -> PureStep:
    """Return the step of the optimizer that owns the rate, or raise.

    Args:
        model: A built, compiled model; its optimizer is built if it was not.
        hyperparameters: Names of other hyperparameters that the optimizer must have.
        owner: Name of the caller, for the message.

    Raises:
        ValueError: If there are several optimizers, the step is not pure, or nothing
            is trained.
    """
    require_trainable_weights(model, owner)
    optimizer = require_single_update(model.optimizer, owner)
    for name in hyperparameters:
        require_float_attribute(optimizer, name, owner)
    build_optimizer(model)
    step = PureStep(optimizer, model.trainable_variables)
    step.require_pure(owner)
    return step


_REFUSAL = (
    "`{}` takes the optimizer's own step on tensors, so it must use nothing but "
    "Keras's operations on Keras's variables. Received: optimizer=<{}>: {}. Write its "
    "`update_step` with `keras.ops` and `self.assign`, or take another optimizer."
)


def _is_overwritten(variable: keras.Variable) -> bool:
    """Return whether its gradient is its next value: a scale of float8."""
    return getattr(variable, "overwrite_with_gradient", False)


def _require_known_variables(
    optimizer: keras.optimizers.Optimizer, are_known: bool
) -> None:
    if not are_known:
        raise ValueError(
            "The optimizer's step must change nothing but the weights and the "
            "optimizer's own variables, so that it can be repeated. Received: "
            f"optimizer=<{type(optimizer).__name__}>. Make what it changes by "
            "`self.add_variable`."
        )


def _pure_twin(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return an optimizer of the same state whose class writes as `_Pure` does."""
    kind = type(optimizer)
    twin = object.__new__(type(kind.__name__, (kind, _Pure), {}))
    twin.__dict__.update(optimizer.__dict__)
    # It is intercepted while a step runs, see `optimizers.intercepted`.
    twin.__dict__.pop("apply", None)
    return twin


class _Pure(keras.optimizers.Optimizer):
    """Comes between an optimizer's class and Keras's base class for TensorFlow.

    The latter writes to TensorFlow's variables, which no scope of Keras's can redirect;
    this class does what Keras does on other backends.
    """

    def assign(self, variable: keras.Variable, value: Tensor) -> None:
        variable.assign(value)

    def assign_add(self, variable: keras.Variable, value: Tensor) -> None:
        variable.assign_add(value)

    def assign_sub(self, variable: keras.Variable, value: Tensor) -> None:
        variable.assign_sub(value)

    def _var_key(self, variable: keras.Variable) -> Any:
        # Not `variable.value`, which in a scope is a tensor without an identity.
        is_keras = isinstance(variable, keras.Variable)
        return super()._var_key(variable._value if is_keras else variable)

    def _use_weight_decay(self, variable: keras.Variable) -> bool:
        # TensorFlow's variable, whose name has the layer's in it.
        return super()._use_weight_decay(variable._value)

    _apply_weight_decay = base_optimizer.BaseOptimizer._apply_weight_decay
    _backend_update_step = base_optimizer.BaseOptimizer._backend_update_step
    _overwrite_model_variables_with_average_value = (
        base_optimizer.BaseOptimizer._overwrite_model_variables_with_average_value
    )

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[Any]:
        return list(grads_and_vars)

    def _sum_over_replicas(self, gradients: Sequence[Any]) -> Sequence[Any]:
        return gradients  # In place of `WholeBatchOptimizer`'s.
