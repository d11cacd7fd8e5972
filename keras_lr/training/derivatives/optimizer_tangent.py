"""The tangent of an optimizer's state with respect to one of its hyperparameters.

    Z_{t+1} = mu A_t Z_t + B_t

where A_t and B_t are the derivatives of the optimizer's own step, along one direction:
with respect to the state, the gradient included, and to the hyperparameter.
"""

import contextvars
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_lr._checks import LEARNING_RATE
from keras_lr._keras import PureStep, StepState, replicas, root
from keras_lr._typing import Gradients, Tensor
from keras_lr.training.derivatives.tensors import dense, masked

# From this number of weights on, what is done beside Keras's own step is compiled by
# XLA, where the optimizer is known to allow it: dozens of passes over memory become
# one, for a second of compiling.
COMPILED_FROM = 100_000
_IS_PART = contextvars.ContextVar("is_part_of_compiled", default=False)


def compiled_if_large(
    function: Callable[..., Any], step: PureStep, variables: Sequence[keras.Variable]
) -> Callable[..., Any]:
    """Return a function around a step, compiled by XLA where that pays and is safe.

    Args:
        function: Function of tensors in nested lists.
        step: The step that is called in it.
        variables: Variables over which it passes.
    """
    import tensorflow as tf

    entries = sum(math.prod(each.shape) for each in variables)
    if not step.is_compilable or entries < COMPILED_FROM:
        return function

    @functools.wraps(function)
    def part(*args: Any) -> Any:
        token = _IS_PART.set(True)
        try:
            return function(*args)
        finally:
            _IS_PART.reset(token)

    compiled = tf.function(part, jit_compile=True, autograph=False)

    def run(*args: Any) -> Any:
        # A compiled function in another one takes TensorFlow constants of full size.
        return function(*args) if _IS_PART.get() else compiled(*args)

    return run


def assigning_if_large(
    function: Callable[..., None], step: PureStep, variables: Sequence[keras.Variable]
) -> Callable[..., None]:
    """Return a function that assigns variables, compiled as `compiled_if_large` does.

    XLA writes to a variable where it lies if nothing else holds its value: no second
    copy of it, at no time. The variables of a strategy cannot be assigned in it.
    """
    import tensorflow as tf

    if tf.distribute.has_strategy():
        return function
    return compiled_if_large(function, step, variables)


class Carried(NamedTuple):
    """What a step carries over from the steps before it.

    Attributes:
        tangent: mu Z_t, of weights and slots.
        curvature: H_t mu Z_t for each gradient; `None` where there is none.
    """

    tangent: StepState
    curvature: Sequence[Tensor | None]


class StepDerivative:
    """Differentiates the optimizer's step in one direction.

    Args:
        step: The optimizer's step.
        name: The hyperparameter: `"learning_rate"` or an attribute of the optimizer.
        keeps_slots: Whether the derivative of the new slots is needed.
    """

    def __init__(self, step: PureStep, name: str, *, keeps_slots: bool = True) -> None:
        self._name = name
        self._step = step
        self._keeps_slots = keeps_slots
        self._derivative = compiled_if_large(
            self._plain_derivative, step, step.variables.weights
        )

    def __call__(
        self,
        state: StepState,
        gradients: Gradients,
        hyperparameters: Mapping[str, Tensor],
        seed: Tensor,
        carried: Carried | None = None,
    ) -> StepState:
        """Return A_t (mu Z_t) + B_t of the weights and, if asked for, of the slots.

        Args:
            state: Weights and slots before the step.
            gradients: Gradients of the step.
            hyperparameters: Values of all that are tuned, including the learning rate.
            seed: Derivative of this hyperparameter, as the optimizer reads it, with
                respect to what is tuned.
            carried: mu Z_t and H_t mu Z_t. Without it, B_t alone.
        """
        values = dict(hyperparameters)
        return self._derivative(state, list(gradients), values, seed, carried)

    def _plain_derivative(
        self,
        state: StepState,
        gradients: list[Tensor | None],
        hyperparameters: dict[str, Tensor],
        seed: Tensor,
        carried: Carried | None,
    ) -> StepState:
        # Tensors are told apart by their identity, and one may occur twice.
        gradients = [None if each is None else ops.copy(each) for each in gradients]
        primals, tangents = [hyperparameters[self._name]], [seed]
        if carried is not None:
            primals += [*state.weights, *state.slots, *gradients]
            tangents += [*carried.tangent.weights, *carried.tangent.slots]
            tangents += carried.curvature
        pairs = [
            (p, t) for p, t in zip(primals, tangents, strict=True) if p is not None
        ]

        def after() -> StepState:
            others = dict(hyperparameters)
            rate = others.pop(LEARNING_RATE)
            new_state = self._step(state, gradients, rate, others)
            return new_state if self._keeps_slots else StepState(new_state.weights, [])

        return _forward_derivative(after, pairs)


class OptimizerTangent:
    """Holds Z, one value for each weight and slot, zero at first.

    Args:
        model: A built, compiled model, in whose strategy's scope Z lives.
        step: The step of its optimizer.
        name: The hyperparameter: `"learning_rate"` or an attribute of the optimizer.
        keeps_slots: Whether Z is carried from step to step; `False` for a discount of
            0, which needs neither the slots' part nor a curvature.
    """

    def __init__(
        self, model: keras.Model, step: PureStep, name: str, *, keeps_slots: bool = True
    ) -> None:
        self.name = name
        weights, slots = step.variables
        self._derivative = StepDerivative(step, name, keeps_slots=keeps_slots)
        with model.distribute_strategy.scope():
            self.variables = StepState(
                [replicas.shared_like(each, "tangent") for each in weights],
                [replicas.shared_like(each, "tangent") for each in slots]
                if keeps_slots
                else [],
            )

    def values(self) -> StepState:
        """Return Z_t."""
        return StepState(*([each.value for each in part] for part in self.variables))

    def assign(self, values: StepState) -> None:
        """Set Z."""
        for variables, tensors in zip(self.variables, values, strict=True):
            for variable, value in zip(variables, tensors, strict=True):
                variable.assign(value)

    def clear(self) -> None:
        """Set Z to zero, on the host or in a step."""
        for part in self.variables:
            for variable in part:
                variable.assign(ops.zeros_like(variable))

    def advanced(
        self,
        state: StepState,
        gradients: Gradients,
        hyperparameters: Mapping[str, Tensor],
        seed: Tensor,
        carried: Carried | None = None,
    ) -> StepState:
        """Return A_t (mu Z_t) + B_t.

        The arguments are those of `StepDerivative`.
        """
        return self._derivative(state, gradients, hyperparameters, seed, carried)


def _forward_derivative(
    function: Callable[[], StepState], pairs: Sequence[tuple[Tensor, Tensor]]
) -> StepState:
    """Return the derivative of a function's value along primals and their tangents.

    By two passes back. The first is linear in the gradient that it starts from, and the
    derivative with respect to that, along the tangents, is the one asked for: no value
    of the first pass is needed, and none is computed in a graph. TensorFlow's forward
    mode gives a tangent of zeros to whatever has none, and spreads that of a scalar
    over whole tensors. Before XLA would remove them, they are computed, all at once:
    ten copies of the weights for Adam.
    """
    import tensorflow as tf

    primals, tangents = zip(*pairs, strict=True)
    outer, inner = (tf.GradientTape(watch_accessed_variables=False) for _ in range(2))
    with outer, root.differentiable_at_zero():
        with inner:
            inner.watch(primals)
            values = function()
        outputs = tf.nest.flatten(values)
        # Any numbers would do. These need no memory.
        starts = [tf.identity(each) for each in outputs]
        outer.watch(starts)
        gradients = dense(inner.gradient(outputs, primals, output_gradients=starts))
    derivatives = outer.gradient(
        _present(gradients),
        starts,
        output_gradients=_present(masked(tangents, gradients)),
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return tf.nest.pack_sequence_as(values, dense(derivatives))


def _present(tensors: Gradients) -> list[Tensor]:
    return [each for each in tensors if each is not None]
