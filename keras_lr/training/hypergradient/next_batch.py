"""The loss of the next training batch, whose gradient is computed anyway."""

import math

import keras

from keras_lr._typing import Tensor
from keras_lr.training.fit.around_step import OptimizerStep
from keras_lr.training.hypergradient.objective import Observe


class NextBatch:
    """Uses the loss of the next batch as E: it costs nothing.

    The gradient of a training step is that of E at the weights which the step before it
    left. So E is known one step late, and not at all after the last step.
    """

    def variables(self) -> dict[str, keras.Variable]:
        """Return nothing: there is no state."""
        return {}

    def before_step(self, step: OptimizerStep, observe: Observe) -> dict[str, Tensor]:
        """Observe the gradients of the step. The value of E is not needed."""
        return observe(lambda is_due: (math.nan, step.batch_gradients()))

    def after_step(self, observe: Observe) -> dict[str, Tensor]:
        """Do nothing: E is not known yet."""
        return {}
