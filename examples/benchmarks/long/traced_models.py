"""Compiled models whose learning rates are set before a training, and used again.

Building and tracing a model costs as much as a training. All baselines of a case share
one traced model: the rates of all steps are in a variable that its step reads, so any
schedule is an array. Many steps run in one call, which is up to four times as fast and
changes no digit.
"""

import functools
from pathlib import Path

import keras
import numpy as np
from long_problems import problems

STEPS_PER_EXECUTION = 20


class PlannedRates(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of each step, from a variable.

    Args:
        steps: Number of steps.
    """

    def __init__(self, steps: int) -> None:
        self.rates = keras.Variable(np.zeros(steps, "float32"), trainable=False)

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """Return the rate of a step."""
        return keras.ops.take(self.rates, step)

    def get_config(self) -> dict[str, int]:
        """Return the arguments."""
        return {"steps": len(self.rates)}


def fresh_model(
    problem: str, optimizer: str, seed: int, rates: np.ndarray, data: Path | None
) -> keras.Model:
    """Return the traced model of a case as if it had just been built.

    Args:
        problem: Name of the problem.
        optimizer: Name of the optimizer.
        seed: Seed of the initial weights.
        rates: Learning rate of each step.
        data: File of the problems that need one.
    """
    model, planned = _traced_model(problem, optimizer, data)
    fresh = problems(data)[problem].build_model(
        problems(data)[problem].make_optimizer(optimizer), seed
    )
    # Schedule-Free starts from the weights, but only if it is built before `fit`.
    fresh.optimizer.build(fresh.trainable_variables)
    for variable, initial in zip(_state(model), _state(fresh), strict=True):
        variable.assign(initial)
    planned.rates.assign(rates.astype("float32"))
    return model


@functools.lru_cache(maxsize=1)
def _traced_model(
    problem: str, optimizer: str, data: Path | None
) -> tuple[keras.Model, PlannedRates]:
    keras.backend.clear_session()
    described = problems(data)[problem]
    planned = PlannedRates(described.steps)
    model = described.build_model(
        described.make_optimizer(optimizer, learning_rate=planned),
        seed=0,
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    model.optimizer.build(model.trainable_variables)
    return model, planned


def _state(model: keras.Model) -> list[keras.Variable]:
    """Return what a training changes: weights, random seeds, the optimizer's slots."""
    of_metrics = {id(variable) for variable in model.metrics_variables}
    of_model = [each for each in model.variables if id(each) not in of_metrics]
    rate = model.optimizer._learning_rate
    return of_model + [each for each in model.optimizer.variables if each is not rate]
