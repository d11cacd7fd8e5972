"""Copies of the state of a training, from before it diverged."""

import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.tensors import inner_product
from keras_lr.training.fit import state_file

PREFIX = "guard_"
"""How the names of arrays in a file begin."""


class Copies:
    """A good copy of weights and hyperparameters, and perhaps a candidate.

    The good copy of the weights that are trained is in variables, which the traced step
    can read.

    Args:
        model: A built, compiled model with a built optimizer.
        values: Variables of the hyperparameters that move.
        renews_optimizer: Whether the optimizer gets its initial state where the good
            copy is assigned; if not, its variables are copied too.

    Attributes:
        good_weights: Good copy of the weights that are trained.
    """

    def __init__(
        self,
        model: keras.Model,
        values: Sequence[keras.Variable] = (),
        *,
        renews_optimizer: bool = False,
    ) -> None:
        # Not the lists of the moment: a callback may freeze or compile in mid-fit.
        self._trained = model.trainable_variables
        ids = {id(each) for each in self._trained}
        self._others = [each for each in model.weights if id(each) not in ids]
        self._optimizer = model.optimizer
        self._values = values
        self._renews_optimizer = renews_optimizer
        # All but the weights that are trained.
        self._good: list[Tensor] = []
        self._candidate: list[Tensor] | None = None
        # The optimizer's initial state, `None` for zeros.
        self._initial: list[np.ndarray | None] = []
        with model.distribute_strategy.scope():
            self.good_weights = [
                replicas.shared_like(each, "good") for each in self._trained
            ]

    def start(self) -> None:
        """Take the present state for the good one, and the optimizer's initial one."""
        self._initial = []
        if self._renews_optimizer:
            variables = self._optimizer.variables
            self._initial = [_none_for_zeros(each) for each in variables]
        self._set_good(self._present())
        self._candidate = None

    def forget(self) -> None:
        """Let go of all copies, except the weights' variables."""
        self._good, self._candidate, self._initial = [], None, []

    @property
    def has_candidate(self) -> bool:
        """Whether there is a candidate."""
        return self._candidate is not None

    def make_candidate(self) -> None:
        """Copy the present state."""
        self._candidate = self._present()

    def drop_candidate(self) -> None:
        """Forget the candidate."""
        self._candidate = None

    def accept_candidate(self) -> None:
        """Take the candidate, if there is one, for the good copy."""
        if self._candidate is not None:
            self._set_good(self._candidate)
            self._candidate = None

    def accept_values(self) -> None:
        """Make the present values of the hyperparameters part of the good copy."""
        values = [ops.copy(each.value) for each in self._values]
        self._good[len(self._good) - len(values) :] = values

    def restore(self) -> None:
        """Assign the good copy, to the last bit, and forget the candidate."""
        for variable, copy in zip(self._variables(), self._all_good(), strict=True):
            variable.assign(copy)
        if self._renews_optimizer:
            variables = self._optimizer.variables
            for variable, value in zip(variables, self._initial, strict=True):
                variable.assign(ops.zeros_like(variable) if value is None else value)
        self._candidate = None

    def distance(self) -> float:
        """Return how far the weights are from the good ones, as a part of these."""
        good = [each.value for each in self.good_weights]
        pairs = zip(self._trained, good, strict=True)
        moved = [weight.value - copy for weight, copy in pairs]
        size = _keras.to_float(inner_product(good, good, "float32"))
        square = _keras.to_float(inner_product(moved, moved, "float32"))
        return math.sqrt(square / size) if size > 0.0 else 0.0

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all copies, by names."""
        named = {
            "good": self._all_good(),
            "candidate": self._candidate or [],
            "initial": self._initial,
        }
        return {
            f"{PREFIX}{name}_{index}": state_file.array(each)
            for name, tensors in named.items()
            for index, each in enumerate(tensors)
            if each is not None
        }

    def set_arrays(self, named: Mapping[str, np.ndarray]) -> None:
        """Set the copies to what `arrays` returned.

        Raises:
            KeyError: If an array is missing.
            ValueError: If an array has another shape, or the good copy holds a number
                that is not finite.
        """
        every = self._variables()
        good = _tensors(named, "good", every)
        stored = [named[f"{PREFIX}good_{index}"] for index in range(len(every))]
        if not all(np.isfinite(each).all() for each in stored):
            raise ValueError("The good copy must be finite.")
        self._set_good(good)
        self._candidate = None
        if f"{PREFIX}candidate_0" in named:
            self._candidate = _tensors(named, "candidate", every)
        self._initial = []
        if self._renews_optimizer:
            number = len(self._optimizer.variables)
            names = [f"{PREFIX}initial_{index}" for index in range(number)]
            self._initial = [named.get(name) for name in names]

    def _all_good(self) -> list[Tensor]:
        return [*(each.value for each in self.good_weights), *self._good]

    def _set_good(self, copies: Sequence[Tensor]) -> None:
        number = len(self.good_weights)
        for variable, copy in zip(self.good_weights, copies[:number], strict=True):
            variable.assign(copy)
        self._good = [*copies[number:]]

    def _present(self) -> list[Tensor]:
        return [ops.copy(each.value) for each in self._variables()]

    def _variables(self) -> list[keras.Variable]:
        """Return all that is copied, the weights that are trained first."""
        slots = [] if self._renews_optimizer else self._optimizer.variables
        return [*self._trained, *self._others, *slots, *self._values]


def _none_for_zeros(variable: keras.Variable) -> np.ndarray | None:
    values = variable.numpy()
    return values if values.any() else None


def _tensors(
    named: Mapping[str, np.ndarray], name: str, variables: Sequence[keras.Variable]
) -> list[Tensor]:
    arrays = [named[f"{PREFIX}{name}_{index}"] for index in range(len(variables))]
    if [x.shape for x in arrays] != [tuple(each.shape) for each in variables]:
        raise ValueError("The copies must have the shapes of the variables.")
    pairs = zip(arrays, variables, strict=True)
    return [ops.convert_to_tensor(array, each.dtype) for array, each in pairs]
