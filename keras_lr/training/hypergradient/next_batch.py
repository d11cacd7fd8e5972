"""The loss of the next training batch, whose gradient is taken anyway."""

import math

import keras

from keras_lr._typing import Tensor
from keras_lr.training.fit.around_step import OptimizerStep
from keras_lr.training.hypergradient.objective import Observe


class NextBatch:
    """Takes E to be the loss of the batch after the step: it costs nothing.

    The gradient of a training step is that of E at the weights which the step before it
    left. So E is known one step late, and not at all after the last step.
    """

    def variables(self) -> dict[str, keras.Variable]:
        """Return nothing: there is no state."""
        return {}

    def before_step(self, step: OptimizerStep, observe: Observe) -> dict[str, Tensor]:
        """Let the step's own gradients be observed. The value of E is not asked for."""
        return observe(lambda is_due: (math.nan, step.batch_gradients()))

    def after_step(self, observe: Observe) -> dict[str, Tensor]:
        """Nothing is known yet."""
        return {}
