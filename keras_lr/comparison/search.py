"""A rate or a schedule found in whole trainings, before the run that counts."""

import math
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_lr._keras import set_learning_rate
from keras_lr.comparison.batches import shuffled_batches
from keras_lr.comparison.policy import ModelFactory, RunContext, Schedule
from keras_lr.comparison.step_count import StepCount

# Plain trainings that an outer step takes the time of: one, and the sweep back.
_OUTER_STEP = 4
# The search has other initial weights and batches than the run: what it learned of them
# by heart is of no use to the run.
_SEED_DISTANCE = 1000
# How many seeds there are to draw one from.
_SEEDS = 2**31 - 1


def bandit_search(
    tuner_class: Callable[..., Any],
    build_model: ModelFactory,
    context: RunContext,
    rates_of: Callable[[keras.optimizers.Optimizer], Sequence[float]],
    max_trials: int,
) -> tuple[float, int]:
    """Return the rate that a tuner recommends, and the number of steps it trained.

    Args:
        tuner_class: `keras_lr.Zooming` or `keras_lr.BLiE`.
        build_model: Function without arguments which returns a compiled model.
        context: The run that is to be trained at the rate.
        rates_of: Function of the optimizer which returns rates, from the smallest to
            the largest; the search is between these two.
        max_trials: Number of trainings.
    """
    import keras_tuner

    class Training(keras_tuner.HyperModel):
        def build(self, hp: Any) -> keras.Model:
            model = build_model()
            rates = rates_of(model.optimizer)
            rate = hp.Float("learning_rate", rates[0], rates[-1], sampling="log")
            set_learning_rate(model.optimizer, rate)
            return model

        def fit(self, hp: Any, model: keras.Model, *data: Any, **arguments: Any) -> Any:
            # The tuner has set the seed of the trial.
            seed = int(np.random.randint(_SEEDS))  # noqa: NPY002
            batches = shuffled_batches(data, context.batch_size, seed)
            return model.fit(batches, shuffle=False, **arguments)

    count = StepCount()
    with tempfile.TemporaryDirectory() as folder:
        tuner = tuner_class(
            Training(),
            keras_tuner.Objective(f"val_{context.monitor}", context.mode),
            max_trials=max_trials,
            seed=context.seed,
            directory=folder,
            checkpoint="none",
        )
        tuner.search(
            *context.train,
            validation_data=context.validation,
            validation_batch_size=context.batch_size,
            epochs=context.epochs,
            callbacks=[count],
            verbose=0,
        )
        best = tuner.best_arm()
    if best is None or not any(map(math.isfinite, best.scores)):
        raise ValueError("No training of the search came to a score.")
    return best.learning_rate, count.steps


def schedule_search(
    build_model: ModelFactory, context: RunContext, outer_steps: int
) -> tuple[Schedule, int]:
    """Return the schedule that `keras_lr.optimize_schedule` finds, and its steps.

    Args:
        build_model: Function without arguments which returns a compiled model.
        context: The run that is to be trained with the schedule.
        outer_steps: Number of updates of the schedule.
    """
    from keras_lr.schedules.lrs_opt import optimize_schedule
    from keras_lr.schedules.search import MOST_JUDGMENTS

    result = optimize_schedule(
        build_model,
        context.train,
        context.validation,
        steps=context.total_steps,
        batch_size=context.batch_size,
        outer_steps=outer_steps,
        seed=context.seed + _SEED_DISTANCE,
        verbose=0,
    )
    trainings = _OUTER_STEP * outer_steps + MOST_JUDGMENTS
    return result.schedule, trainings * context.total_steps
