"""A hyperparameter of the optimizer that moves during a fit, within limits."""

import math

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._checks import LEARNING_RATE
from keras_lr._keras import replicas
from keras_lr._typing import Tensor

# How names of decays of averages begin, and the highest value of such a decay. Its
# distance from 1 is what moves.
AVERAGES = ("momentum", "rho", "beta_", "adam_beta_")
LARGEST_AVERAGE = 0.9999
# Relative error of a limit in float32.
ROUNDING = 1e-6


class Hyperparameter:
    """Holds the value of a hyperparameter while it moves, between two limits.

    Args:
        model: The model that is trained, in whose strategy's scope the value lives.
        name: `"learning_rate"` or an attribute of the optimizer.
        dtype: Dtype of the value.
        limits: Lowest and highest value. The decay of an average is at most
            `LARGEST_AVERAGE`.

    Attributes:
        value: The variable, to be read and assigned in a step or on the host.
        floor: A lower limit that is only known when a fit starts; 0 for none.
        minimum: The lower limit.
        maximum: The upper limit.
    """

    def __init__(
        self,
        model: keras.Model,
        name: str,
        dtype: str,
        limits: tuple[float, float] = (0.0, math.inf),
    ) -> None:
        self.name = name
        self.minimum, self.maximum = limits
        if self.is_average:
            self.maximum = min(self.maximum, LARGEST_AVERAGE)
        with model.distribute_strategy.scope():
            self.value = replicas.shared_scalar(f"{name}_value", dtype)
            self.floor = replicas.shared_scalar(f"{name}_floor", dtype)

    @property
    def is_learning_rate(self) -> bool:
        """Whether it is the learning rate."""
        return self.name == LEARNING_RATE

    @property
    def is_average(self) -> bool:
        """Whether it is the decay of an average, as a momentum is."""
        return self.name.startswith(AVERAGES)

    def start(self, value: float) -> None:
        """Set the value, within the limits, on the host."""
        self.value.assign(min(max(value, self.minimum), self.maximum))

    def accepts(self, value: float) -> bool:
        """Return whether the value is within the limits, up to its last digits."""
        lowest, highest = self.minimum * (1.0 - ROUNDING), self.maximum * (1 + ROUNDING)
        return math.isfinite(value) and lowest <= value <= highest

    def clipped(self, value: Tensor) -> Tensor:
        """Return a value within the limits."""
        lowest = ops.maximum(self.floor.value, self.minimum)
        return ops.clip(value, lowest, self.maximum)

    def read_from(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Start from the optimizer's attribute of this name."""
        self.start(getattr(optimizer, self.name))

    def write_to(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Set the optimizer's attribute of this name, on the host."""
        setattr(optimizer, self.name, _keras.to_float(self.value))
