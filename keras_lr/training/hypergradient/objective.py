"""The loss E whose hypergradient moves a hyperparameter, and where it is known."""

from collections.abc import Callable
from typing import Protocol

import keras

from keras_lr._typing import Tensor
from keras_lr.training.fit.around_step import OptimizerStep

# Takes whether this step counts; returns E and its gradient at the current weights.
Evaluate = Callable[[Tensor], tuple[Tensor, list[Tensor]]]
# Moves the hyperparameters by E, and returns scalars for the record.
Observe = Callable[[Evaluate], dict[str, Tensor]]


class Objective(Protocol):
    """A source of E: the next training batch, or validation data.

    One of `before_step` and `after_step` calls `observe`, where E is known, and returns
    what it returns; the other returns nothing.
    """

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        ...

    def before_step(self, step: OptimizerStep, observe: Observe) -> dict[str, Tensor]:
        """Act before the optimizer's step, at the weights that the last one left."""
        ...

    def after_step(self, observe: Observe) -> dict[str, Tensor]:
        """Act after the optimizer's step."""
        ...
