"""`TabulatedSchedule`: a learning rate that is read from a table."""

import csv
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_lr._checks import finite_array, positive_integer
from keras_lr._typing import Tensor

_STEP, _RATE = "step", "learning_rate"


@keras.saving.register_keras_serializable(package="keras_lr")
class TabulatedSchedule(keras.optimizers.schedules.LearningRateSchedule):
    r"""Read the learning rate of each step from a table.

    What `keras_lr.optimize_schedule` finds, or any list of rates, goes into the
    optimizer like Keras's own schedules, and into the `.keras` file with it. Step t is
    trained at

    .. math:: \eta_t = v_{\min(\lfloor t / n \rfloor, N - 1)}

    with the values v_0 ... v_{N-1} and n the steps for which each holds. Past the end
    of the table the last value holds.

    Args:
        values: Rates `(N,)`, finite and not negative.
        steps_per_value: Steps for which each of them holds. Defaults to `1`.
        name: Name of the schedule. Defaults to `"TabulatedSchedule"`.

    Raises:
        ValueError: If there are no values, or one is negative or not finite.

    Example:
        >>> import keras, keras_lr
        >>> schedule = keras_lr.TabulatedSchedule([0.5, 0.25, 0.125], 10)
        >>> [float(schedule(step)) for step in (0, 9, 10, 29, 30, 1000)]
        [0.5, 0.5, 0.25, 0.125, 0.125, 0.125]
        >>> optimizer = keras.optimizers.SGD(schedule)

    Notes:
        The rate has the type `keras.config.floatx()`, as a float learning rate of a
        Keras optimizer has.
    """

    def __init__(
        self,
        values: ArrayLike,
        steps_per_value: int = 1,
        *,
        name: str = "TabulatedSchedule",
    ) -> None:
        super().__init__()
        array = finite_array("values", values)
        if array.ndim != 1 or array.min() < 0.0:
            raise ValueError(
                "`values` must be a list of learning rates that are not negative. "
                f"Received: values of shape {array.shape}, the lowest {array.min()}."
            )
        self.values = tuple(array.tolist())
        self.steps_per_value = positive_integer("steps_per_value", steps_per_value)
        self.name = name

    def __call__(self, step: Tensor) -> Tensor:
        """Return the learning rate of a step, counted from 0."""
        table = ops.convert_to_tensor(np.array(self.values), keras.config.floatx())
        index = ops.floor_divide(ops.cast(step, "int32"), self.steps_per_value)
        return ops.take(table, ops.clip(index, 0, len(self.values) - 1))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, in types that JSON has."""
        return {
            "values": list(self.values),
            "steps_per_value": self.steps_per_value,
            "name": self.name,
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a row for each value: the first step that it holds for, and the rate.

        All digits are written: what `from_csv` reads is the same to the last bit.
        """
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow((_STEP, _RATE))
            for index, value in enumerate(self.values):
                writer.writerow((index * self.steps_per_value, repr(value)))

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> "TabulatedSchedule":
        """Read a schedule from a file.

        Args:
            path: A table with a header, and in it the columns `step` and
                `learning_rate`: the first step of each value, at equal distances from
                0 on, and the rate. Other columns are ignored.

        Raises:
            ValueError: If the file does not hold such a table.
        """
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        try:
            steps = [int(row[_STEP]) for row in rows]
            values = [float(row[_RATE]) for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise _not_a_table(path, f"{type(error).__name__}: {error}") from error
        # A single value holds for any number of steps.
        distance = steps[1] if len(steps) > 1 else 1
        if steps != [index * distance for index in range(len(steps))] or distance < 1:
            raise _not_a_table(path, f"steps {steps[:5]}")
        return cls(values, distance)


def _not_a_table(path: str | os.PathLike[str], reason: str) -> ValueError:
    return ValueError(
        f"{os.fspath(path)} must have the columns `{_STEP}`, at equal distances from 0 "
        f"on, and `{_RATE}`. Received: {reason}."
    )
