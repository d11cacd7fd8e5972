"""Steps of a Keras optimizer on the values of a schedule, projected at 0."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lr import _keras
from keras_lr._typing import FloatArray
from keras_lr.rules import lrs_opt
from keras_lr.training.schedule.inner_training import optimizer_settings


class Descent:
    """Moves values along their gradient.

    Args:
        optimizer: A Keras optimizer, of which a copy is used; `None` for Adam at
            `lrs_opt.relative_learning_rate`.
        number: Number of values.

    Raises:
        ValueError: If the optimizer's learning rate is not a float.
    """

    def __init__(
        self, optimizer: keras.optimizers.Optimizer | None, number: int
    ) -> None:
        self._is_relative = optimizer is None
        # Slopes may be of any size, even far below Keras's epsilon.
        template = optimizer or keras.optimizers.Adam(1.0, epsilon=1e-30)
        _require_float_learning_rate(template)
        self._optimizer = type(template).from_config(template.get_config())
        self._step_size = _keras.to_float(self._optimizer.learning_rate)
        self._values = keras.Variable(np.zeros(number), dtype="float64", name="values")
        self._optimizer.build([self._values])
        self.settings = (
            {"optimizer": "relative Adam"}
            if self._is_relative
            else optimizer_settings("optimizer", template)
        )
        """What distinguishes searches with different optimizers."""
        self.learning_rate = 0.0
        """Learning rate of the last step."""

    def step(self, values: FloatArray, gradient: FloatArray) -> FloatArray:
        """Return the values after a step."""
        self.learning_rate = self._step_size
        if self._is_relative:
            number = int(_keras.to_float(self._optimizer.iterations))
            self.learning_rate *= lrs_opt.relative_learning_rate(values, number)
        self._optimizer.learning_rate = self.learning_rate
        self._values.assign(values)
        slopes = ops.convert_to_tensor(gradient, "float64")
        self._optimizer.apply([slopes], [self._values])
        return lrs_opt.projected(_array(self._values))

    def halve(self) -> None:
        """Halve the steps that follow."""
        self._step_size /= 2.0

    def state(self) -> list[Any]:
        """Return what the steps that follow depend on, as arrays."""
        return [np.float64(self._step_size), *map(_array, self._optimizer.variables)]

    def restore(self, state: Sequence[Any]) -> None:
        """Go back to a state."""
        step_size, *values = state
        self._step_size = float(step_size)
        for variable, value in zip(self._optimizer.variables, values, strict=True):
            variable.assign(value)


def _array(variable: keras.Variable) -> Any:
    return np.array(ops.convert_to_numpy(variable.value))


def _require_float_learning_rate(optimizer: Any) -> None:
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ValueError(
            "`optimizer` must be a Keras optimizer or None. Received: "
            f"optimizer={optimizer!r}."
        )
    try:
        _keras.require_settable_learning_rate(optimizer, "optimize_schedule")
    except ValueError as error:
        raise ValueError(
            "`optimizer` must have a float `learning_rate`, which is halved where a "
            f"training diverges. Received: optimizer=<{type(optimizer).__name__}> "
            "with a schedule."
        ) from error
