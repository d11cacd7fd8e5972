"""A policy: what sets the learning rate during one training.

It is data: a starting rate, perhaps a Keras schedule, perhaps callbacks, perhaps an
optimizer in place of the model's own, perhaps a search for the rate. It holds no model
and no state, so one policy serves any number of runs.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras

from keras_lr._checks import optional, positive_number
from keras_lr._repr import constructor_call

Kind = Literal[
    "default", "constant", "baseline", "callback", "optimizer", "search", "other"
]
"""What a policy is: the compiled rate, one of a grid of rates, another baseline, one of
our methods (a callback, an optimizer or a search), or none of ours."""
Schedule = keras.optimizers.schedules.LearningRateSchedule
ScheduleFactory = Callable[[float, int], Schedule]
CallbackFactory = Callable[..., Sequence[keras.callbacks.Callback]]
OptimizerFactory = Callable[[], keras.optimizers.Optimizer]
ModelFactory = Callable[[], keras.Model]
# Returns the rate or the schedule that it found, and the steps of all its trainings.
Search = Callable[[ModelFactory, "RunContext"], tuple[float | Schedule, int]]


@dataclass(frozen=True)
class RunContext:
    """What callbacks and searches may need to know of their run.

    Attributes:
        train: Training inputs and targets, and weights of the rows if there are any.
        validation: Validation inputs and targets.
        epochs: Number of epochs of the run.
        batch_size: Number of examples in a batch.
        total_steps: Number of optimizer steps of the whole run.
        seed: Seed of the run.
        monitor: Name of the metric that the run is judged by, without `val_`.
        mode: `"max"` or `"min"`: its direction.
    """

    train: tuple[Any, ...]
    validation: tuple[Any, Any]
    epochs: int
    batch_size: int
    total_steps: int
    seed: int
    monitor: str = "loss"
    mode: str = "min"


@dataclass(frozen=True)
class Policy:
    """A named way of setting the learning rate in one training.

    Args:
        name: Name in tables and plots.
        learning_rate: Rate to start from. Defaults to `None`, which keeps the one
            that the model was compiled with.
        schedule: Function of the starting rate and the number of steps of the run
            which returns a `keras.optimizers.schedules.LearningRateSchedule`.
        callbacks: Function which returns a list of fresh callbacks; it takes
            nothing, or one `RunContext`.
        optimizer: Function which returns a fresh optimizer. Defaults to `None`: the
            one that the model was compiled with.
        gradient_evaluations_per_step: Cost of one step, in gradients of a batch.
            Defaults to `1.0`.
        search: Function of `build_model` and the `RunContext` which finds a rate or a
            schedule in other trainings, and returns it with the number of their
            steps. The run is then trained with it. Defaults to `None`.
        code: The line which does the same in another training, for reports. The line
            for a rate or a schedule is added.

    Example:
        >>> policy = Policy("constant", learning_rate=0.1)
        >>> policy.label
        'constant 0.1'
    """

    name: str
    learning_rate: float | None = None
    schedule: ScheduleFactory | None = None
    callbacks: CallbackFactory | None = None
    optimizer: OptimizerFactory | None = None
    gradient_evaluations_per_step: float = 1.0
    search: Search | None = None
    code: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(
                f"A policy needs a name, a non-empty string. Received: name={self.name}"
            )
        optional(positive_number, "learning_rate", self.learning_rate)

    def __repr__(self) -> str:
        return constructor_call(self)

    @property
    def label(self) -> str:
        """The name, and the starting rate if there is one; unique in a comparison."""
        if self.learning_rate is None:
            return self.name
        return f"{self.name} {self.learning_rate:.3g}"

    def make_callbacks(self, context: RunContext) -> list[keras.callbacks.Callback]:
        """Return fresh callbacks for one run."""
        if self.callbacks is None:
            return []
        if inspect.signature(self.callbacks).parameters:
            return list(self.callbacks(context))
        return list(self.callbacks())
