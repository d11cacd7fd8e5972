"""One whole training step, gradient and update, as a function of its state.

    s_{t+1} = Phi_t(s_t, eta_t)

with the state s of weights, slots of the optimizer, and what else the forward pass
changes, such as moving averages. Phi is Keras's own training step: the model's loss,
and then the optimizer's code. Its two derivatives,

    A_t = dPhi_t / ds,    B_t = dPhi_t / deta,

are never computed, only their products with an adjoint from the left, in reverse mode,
and with a tangent from the right, in forward mode.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_lr import _keras
from keras_lr._keras import PureStep, StepState, root, second_derivatives
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.optimizer_tangent import compiled_if_large
from keras_lr.training.derivatives.tensors import dense


class Floats(NamedTuple):
    """The part of a state that has derivatives, or a tangent or an adjoint of it.

    Attributes:
        weights: Trained weights of the model.
        slots: Floats of the optimizer: momenta, averages, scalars.
        statistics: Other floats of the model that a forward pass in training changes.
    """

    weights: list[Tensor]
    slots: list[Tensor]
    statistics: list[Tensor]


class TrainingState(NamedTuple):
    """Everything that a training step depends on and changes.

    Attributes:
        floats: The part that has derivatives.
        seeds: Whole numbers of the model that a forward pass changes: the positions of
            its random numbers.
        counters: Whole numbers of the optimizer: its count of steps.
    """

    floats: Floats
    seeds: list[Tensor]
    counters: list[Tensor]


class TrainingStep:
    """Runs and differentiates the training step of a model, which stays as it is.

    Args:
        model: A built, compiled model, whose optimizer is built and whose step is
            Keras's own.
        batch: Any batch, to learn what a forward pass changes.
        owner: Name of the caller, for messages.

    Raises:
        ValueError: If the step cannot be differentiated or repeated.
    """

    def __init__(self, model: keras.Model, batch: Any, owner: str) -> None:
        import tensorflow as tf

        self.model = model
        leaf = _keras.leaf_optimizers(model.optimizer)[0]
        self._rate = _keras.learning_rate_variable(leaf)
        self._pure = PureStep(leaf, model.trainable_variables)
        self._pure.require_pure(owner)
        changed = _changed_by_forward_pass(model, batch, owner)
        is_float = [keras.backend.is_float_dtype(each.dtype) for each in changed]
        pairs = list(zip(changed, is_float, strict=True))
        self.variables = TrainingState(
            Floats(*self._pure.variables, [v for v, is_one in pairs if is_one]),
            [v for v, is_one in pairs if not is_one],
            self._pure.counters,
        )
        traced = {"autograph": False, "reduce_retracing": True}
        self.advance = tf.function(self._advance, **traced)
        """Phi: takes a state, a rate and a batch, returns the next state."""
        self.pull_back = tf.function(self._pull_back, **traced)
        """Takes the same and an adjoint a of the next state; returns A'a and <a, B>."""
        self.push_forward = tf.function(self._push_forward, **traced)
        """Takes the same, a tangent Z and a number c; returns A Z + c B."""
        slots = self.variables.floats.slots
        self._through_optimizer = compiled_if_large(
            self._through_optimizer, self._pure, slots
        )

    @property
    def nbytes(self) -> int:
        """Size of a state in memory."""
        import tensorflow as tf

        variables = keras.tree.flatten(self.variables)
        return sum(tf.as_dtype(v.dtype).size * math.prod(v.shape) for v in variables)

    def state(self) -> TrainingState:
        """Return the values that the variables have now."""
        floats, seeds, counters = self.variables
        return TrainingState(
            Floats(*map(_values, floats)), _values(seeds), _values(counters)
        )

    def with_other_seeds(
        self, state: TrainingState, generator: np.random.Generator
    ) -> TrainingState:
        """Return a state from which layers such as dropout draw other numbers."""
        import tensorflow as tf

        # Layers may also count in whole numbers, which are weights.
        counts = {id(each) for each in self.model.weights}
        pairs = zip(self.variables.seeds, state.seeds, strict=True)
        seeds = [
            value
            if id(variable) in counts
            else tf.constant(generator.integers(2**31, size=value.shape), value.dtype)
            for variable, value in pairs
        ]
        return state._replace(seeds=seeds)

    def rates(self, values: Any) -> list[Tensor]:
        """Return learning rates as the scalars that the optimizer computes with."""
        import tensorflow as tf

        return tf.unstack(tf.constant(values, self._rate.dtype))

    def _advance(self, state: TrainingState, rate: Tensor, batch: Any) -> TrainingState:
        gradients, statistics, seeds = self._gradient(state, batch)
        after, counters = self._pure.counted(
            StepState(*state.floats[:2]), gradients, rate, state.counters
        )
        return TrainingState(Floats(*after, statistics), seeds, counters)

    def _gradient(
        self, state: TrainingState, batch: Any
    ) -> tuple[list[Tensor | None], list[Tensor], list[Tensor]]:
        """Return the gradient of the loss, and what the forward pass changed."""
        import tensorflow as tf

        (weights, _, statistics), seeds, _ = state
        variables = self.variables
        changed = [*variables.floats.statistics, *variables.seeds]
        scope = _keras.leaving_no_trace(
            [*variables.floats.weights, *changed], [*weights, *statistics, *seeds]
        )
        with tf.GradientTape() as tape:
            tape.watch(weights)
            with scope:
                loss = _keras.training_loss(self.model, batch)
        gradients = dense(tape.gradient(loss, weights))
        after = scope.get_current_value
        new_statistics = [after(each) for each in variables.floats.statistics]
        return gradients, new_statistics, [after(each) for each in variables.seeds]

    def _pull_back(
        self, state: TrainingState, rate: Tensor, batch: Any, adjoint: Floats
    ) -> tuple[Floats, Tensor]:
        import tensorflow as tf

        weights, _, statistics = state.floats
        with second_derivatives.made_right(), tf.GradientTape() as tape:
            tape.watch([*weights, *statistics])
            gradients, new_statistics, _ = self._gradient(state, batch)
        of_weights, of_slots, of_gradients, of_rate = self._through_optimizer(
            StepState(*state.floats[:2]),
            gradients,
            rate,
            state.counters,
            StepState(*adjoint[:2]),
        )
        present = [each for each in gradients if each is not None]
        with second_derivatives.made_right(), second_derivatives.second_pass_back():
            weights_through_loss, statistics_through_loss = tape.gradient(
                [*present, *new_statistics],
                [weights, statistics],
                output_gradients=[*of_gradients, *adjoint.statistics],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
        pairs = zip(of_weights, dense(weights_through_loss), strict=True)
        before = Floats(
            [a + b for a, b in pairs], of_slots, dense(statistics_through_loss)
        )
        return before, of_rate

    def _through_optimizer(
        self,
        state: StepState,
        gradients: list[Tensor | None],
        rate: Tensor,
        counters: Sequence[Tensor],
        adjoint: StepState,
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]:
        """Return the adjoints of weights, slots, present gradients and rate."""
        import tensorflow as tf

        # Tensors are told apart by their identity, and one may occur twice.
        gradients = [None if each is None else ops.copy(each) for each in gradients]
        present = [each for each in gradients if each is not None]
        with root.differentiable_at_zero(), tf.GradientTape() as tape:
            sources = [state.weights, state.slots, present, rate]
            tape.watch(sources)
            after, _ = self._pure.counted(state, gradients, rate, counters)
        return tape.gradient(
            [*after.weights, *after.slots],
            sources,
            output_gradients=[*adjoint.weights, *adjoint.slots],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )

    def _push_forward(
        self,
        state: TrainingState,
        rate: Tensor,
        batch: Any,
        tangent: Floats,
        of_rate: Tensor,
    ) -> Floats:
        import tensorflow as tf

        accumulator = tf.autodiff.ForwardAccumulator(
            [*(each for part in state.floats for each in part), rate],
            [*(each for part in tangent for each in part), of_rate],
        )
        with (
            second_derivatives.made_right(),
            second_derivatives.second_pass_back(),
            root.differentiable_at_zero(),
            accumulator,
        ):
            after = self._advance(state, rate, batch)
        return Floats(
            *(
                accumulator.jvp(part, unconnected_gradients="zero")
                for part in after.floats
            )
        )


def zeros_like(floats: Floats) -> Floats:
    """Return a tangent or an adjoint of nothing but zeros."""
    return Floats(*([ops.zeros_like(each) for each in part] for part in floats))


def _values(variables: Sequence[keras.Variable]) -> list[Tensor]:
    import tensorflow as tf

    return [tf.identity(each.value) for each in variables]


def _changed_by_forward_pass(
    model: keras.Model, batch: Any, owner: str
) -> list[keras.Variable]:
    """Return the variables of a model that change although they are not trained."""
    import tensorflow as tf

    changed: list[keras.Variable] = []
    are_known: list[bool] = []

    def probe() -> None:
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        values = _values(variables)
        scope = _keras.leaving_no_trace(variables, values)
        with scope:
            _keras.training_loss(model, batch)
        for variable, value in zip(variables, values, strict=True):
            if scope.get_current_value(variable) is not value:
                changed.append(variable)
        known = {id(each) for each in [*variables, *model.metrics_variables]}
        are_known.append(known.issuperset(scope.state_mapping))

    tf.function(probe, autograph=False).get_concrete_function()
    if not all(are_known):
        raise ValueError(
            f"`{owner}` repeats training steps, so a forward pass must change nothing "
            "but the model's own variables. Received: a model that draws random "
            "numbers without a `keras.random.SeedGenerator` of its own, or that "
            "changes a variable of another object. Make it an attribute of the layer."
        )
    return changed
