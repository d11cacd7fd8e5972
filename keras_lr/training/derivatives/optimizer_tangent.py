"""The tangent of an optimizer's state with respect to one of its hyperparameters.

    Z_{t+1} = mu A_t Z_t + B_t

where A_t and B_t are the derivatives of the optimizer's own step, in forward mode: by
the state, the gradient included, and by the hyperparameter.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_lr._keras import PureStep, StepState, root
from keras_lr._typing import Tensor

LEARNING_RATE = "learning_rate"

# From this number of weights on, what is done beside Keras's own step is compiled by
# XLA, where the optimizer is known to allow it: dozens of passes over memory become
# one, for a second of compiling.
COMPILED_FROM = 100_000


def compiled_if_large(
    function: Callable[..., Any], step: PureStep, variables: Sequence[keras.Variable]
) -> Callable[..., Any]:
    """Return a function around a step, compiled by XLA where that pays and is safe.

    Args:
        function: Of tensors in nested lists.
        step: What is called in it.
        variables: What it passes over.
    """
    import tensorflow as tf

    entries = sum(math.prod(each.shape) for each in variables)
    if step.is_compilable and entries >= COMPILED_FROM:
        return tf.function(function, jit_compile=True, autograph=False)
    return function


class StepDerivative:
    """Differentiates the optimizer's step in one direction, in forward mode.

    Args:
        step: Of the optimizer.
        name: The hyperparameter: `"learning_rate"` or an attribute of the optimizer.
        keeps_slots: Whether the derivative of the new slots is asked for.
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
        gradients: Sequence[Tensor | None],
        hyperparameters: Mapping[str, Tensor],
        seed: Tensor,
        carried: tuple[StepState, Sequence[Tensor]] | None = None,
    ) -> list[Tensor]:
        """Return A_t (mu Z_t) + B_t of the weights and, if asked for, of the slots.

        Args:
            state: Weights and slots before the step.
            gradients: Of the step; `None` where there is none.
            hyperparameters: The values of all that are tuned, the learning rate first.
            seed: Derivative of this hyperparameter, in the optimizer, by what is tuned.
            carried: mu Z_t, and H_t mu Z_t for each gradient. Without it, B_t alone.
        """
        given = [gradient for gradient in gradients if gradient is not None]
        places = tuple(gradient is not None for gradient in gradients)
        return self._derivative(
            state, (places, given), dict(hyperparameters), seed, carried
        )

    def _plain_derivative(
        self,
        state: StepState,
        gradients: tuple[tuple[bool, ...], list[Tensor]],
        hyperparameters: dict[str, Tensor],
        seed: Tensor,
        carried: tuple[StepState, Sequence[Tensor]] | None,
    ) -> list[Tensor]:
        places, given = gradients
        # A tensor is recognized by its identity, and one may be there twice.
        given = [ops.copy(gradient) for gradient in given]
        primals, tangents = [hyperparameters[self._name]], [seed]
        if carried is not None:
            tangent, curvatures = carried
            primals += [*state.weights, *state.slots, *given]
            tangents += [*tangent.weights, *tangent.slots, *curvatures]
        rest = iter(given)
        all_gradients = [next(rest) if is_given else None for is_given in places]

        def after() -> list[Tensor]:
            others = dict(hyperparameters)
            rate = others.pop(LEARNING_RATE)
            new = self._step(state, all_gradients, rate, others)
            return [*new.weights, *new.slots] if self._keeps_slots else new.weights

        return _forward_derivative(after, primals, tangents)


class OptimizerTangent:
    """Holds Z, one value for each weight and slot, zero at first.

    Args:
        model: A built, compiled model, in whose strategy's scope Z lives.
        step: The step of its optimizer.
        name: The hyperparameter: `"learning_rate"` or an attribute of the optimizer.
        keeps_slots: Whether Z goes on from step to step; `False` for a discount of 0,
            which needs neither the slots' part nor a curvature.
    """

    def __init__(
        self, model: keras.Model, step: PureStep, name: str, *, keeps_slots: bool = True
    ) -> None:
        self.name = name
        weights, slots = step.variables
        self._derivative = StepDerivative(step, name, keeps_slots=keeps_slots)
        with model.distribute_strategy.scope():
            self.variables = StepState(
                [_zeros_like(each) for each in weights],
                [_zeros_like(each) for each in slots] if keeps_slots else [],
            )

    def values(self) -> StepState:
        """Return Z_t."""
        return StepState(*([each.value for each in part] for part in self.variables))

    def assign(self, values: StepState) -> None:
        """Set Z."""
        for part, new in zip(self.variables, values, strict=True):
            for variable, value in zip(part, new, strict=True):
                variable.assign(value)

    def clear(self) -> None:
        """Set Z to zero, on the host or in a step."""
        self.assign(
            StepState(*([ops.zeros_like(v) for v in part] for part in self.variables))
        )

    def advanced(
        self,
        state: StepState,
        gradients: Sequence[Tensor | None],
        hyperparameters: Mapping[str, Tensor],
        seed: Tensor,
        carried: tuple[StepState, Sequence[Tensor]] | None = None,
    ) -> StepState:
        """Return A_t (mu Z_t) + B_t.

        The arguments are those of `StepDerivative`.
        """
        moved = self._derivative(state, gradients, hyperparameters, seed, carried)
        number = len(state.weights)
        return StepState(moved[:number], moved[number:])


def _forward_derivative(
    function: Callable[[], list[Tensor]],
    primals: Sequence[Tensor],
    tangents: Sequence[Tensor],
) -> list[Tensor]:
    import tensorflow as tf

    accumulator = tf.autodiff.ForwardAccumulator(list(primals), list(tangents))
    with accumulator, root.differentiable_at_zero():
        values = function()
    return accumulator.jvp(values, unconnected_gradients="zero")


def _zeros_like(variable: keras.Variable) -> keras.Variable:
    return keras.Variable(
        ops.zeros(variable.shape, variable.dtype),
        dtype=variable.dtype,
        trainable=False,
        autocast=False,
        aggregation="only_first_replica",
        name=f"keras_lr_tangent_{variable.name}",
    )
