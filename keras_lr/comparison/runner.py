"""Train one policy with one seed and return a record of what happened.

At one seed every policy starts from the same weights and sees the same batches in the
same order, which is a new one in each epoch: the seed is set before the model is built
and again right before `fit`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_lr._keras import (
    get_learning_rates,
    leaf_optimizers,
    replace_optimizer,
    set_learning_rate,
    set_learning_rate_schedule,
)
from keras_lr._keras.learning_rates import effective_learning_rates, last_learning_rates
from keras_lr._keras.models import metric_mode
from keras_lr.callbacks.base import LearningRateCallback
from keras_lr.comparison.batches import shuffled_batches
from keras_lr.comparison.policies import kind_of
from keras_lr.comparison.policy import ModelFactory, Policy, RunContext, Schedule
from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.step_count import StepCount
from keras_lr.comparison.usage import policy_code

# Inputs, targets, and perhaps weights of the rows.
Arrays = tuple[Any, ...]
Data = tuple[Arrays, Arrays]
# A few roundings of a mean in float32, relative to it.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class RunSettings:
    """How long and on what batches a run trains, and what it is judged by.

    Args:
        epochs: Number of epochs.
        batch_size: Number of examples in a training batch.
        validation_batch_size: Number of examples in a validation batch. Defaults to
            `None`: the same as `batch_size`.
        monitor: Name of a metric without `val_`. Defaults to `None`: the model's
            first metric, or the loss if it has none.
        mode: `"max"` or `"min"`. Defaults to `None`: the metric's own.
    """

    epochs: int
    batch_size: int = 32
    validation_batch_size: int | None = None
    monitor: str | None = None
    mode: str | None = None


class _Recorder(StepCount):
    """Record the rate of each epoch, count batches, stop at what is not finite.

    Not at the first epoch of them: a policy may roll the training back.

    It must be the first in the list: its `on_epoch_end` has to read the rate before
    another callback sets the next one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.learning_rates: list[float] = []
        self.effective_rates: list[float] = []
        self.are_finite: list[bool] = []
        """Whether the weights of each epoch were finite when they were validated."""
        self._was_finite = True

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        self.are_finite.append(_is_finite(self.model))
        loss = (logs or {}).get("loss", 0.0)
        is_finite = math.isfinite(loss) and self.are_finite[-1]
        if not (is_finite or self._was_finite):
            self.model.stop_training = True
        self._was_finite = is_finite
        first = leaf_optimizers(self.model.optimizer)[0]
        self.learning_rates.append(last_learning_rates(first)["learning_rate"])
        effective = effective_learning_rates(first).get("effective_learning_rate")
        if effective is not None:
            self.effective_rates.append(effective)


def train(
    build_model: ModelFactory,
    data: Data,
    policy: Policy,
    settings: RunSettings,
    *,
    seed: int = 0,
    on_epoch_end: Callable[[int, dict], None] | None = None,
) -> RunRecord:
    """Train a fresh model under one policy, after its search if it has one.

    Args:
        build_model: Function without arguments which returns a compiled model.
        data: `((x_train, y_train), (x_validation, y_validation))`; weights of the
            training rows may follow `y_train`.
        policy: What sets the learning rate.
        settings: Epochs, batch size, and the metric to judge by.
        seed: Seed of the initial weights, of the batch order and of dropout.
        on_epoch_end: Called with the epoch and its logs, for progress displays.

    Returns:
        The `RunRecord`. Exceptions of the model or the policy pass through.
    """
    context = _context(data, settings, seed)
    observer = keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)
    if policy.search is None:
        return _train_once(build_model, policy, context, settings, observer)
    start = time.perf_counter()
    context = _with_monitor(_evaluated(build_model, context), context, settings)
    result, steps = policy.search(build_model, context)
    searched = _with_result(policy, result)
    record = _train_once(build_model, searched, context, settings, observer)
    cost = steps * policy.gradient_evaluations_per_step
    return replace(
        record,
        policy=policy.label,
        start=policy.learning_rate,
        code=policy.code or record.code,
        gradient_evaluations=record.gradient_evaluations + cost,
        seconds=time.perf_counter() - start,
    )


def _train_once(
    build_model: ModelFactory,
    policy: Policy,
    context: RunContext,
    settings: RunSettings,
    observer: keras.callbacks.Callback,
) -> RunRecord:
    model, schedule = _prepare(build_model, policy, context)
    initial_loss = _loss(model, context, settings)
    context = _with_monitor(model, context, settings)
    recorder = _Recorder()
    of_policy = policy.make_callbacks(context)
    callbacks = [recorder, *of_policy, observer]
    logs, seconds = _fit(model, context, settings, callbacks)
    logs = _without_meaningless(logs, recorder.are_finite)
    # A callback that logs its rate knows best which one the epoch was trained with,
    # but that may be the multiple of an effective rate.
    logged = logs.get("learning_rate", recorder.learning_rates)
    final_loss = logs["loss"][-1] if logs.get("loss") else math.nan
    diverged = not (math.isfinite(final_loss) and _is_finite(model))
    if not diverged and has_risen(initial_loss, final_loss):
        # Dropout raises the losses of a training; the first one was measured without.
        diverged = has_risen(initial_loss, _loss(model, context, settings))
    return RunRecord(
        policy=policy.label,
        seed=context.seed,
        monitor=f"val_{context.monitor}",
        mode=context.mode,
        logs=logs,
        learning_rates=recorder.effective_rates or logged,
        initial_loss=initial_loss,
        diverged=diverged,
        seconds=seconds,
        steps=recorder.steps,
        gradient_evaluations=recorder.steps * policy.gradient_evaluations_per_step,
        start=policy.learning_rate,
        code=policy_code(policy, policy.learning_rate, schedule),
        kind=kind_of(policy.name),
        validation_rows=keras.tree.flatten(context.validation)[0].shape[0],
        restarts=_restarts(of_policy),
    )


def _restarts(callbacks: Sequence[keras.callbacks.Callback]) -> int:
    """Return how often callbacks rolled the training back; any other one never does."""
    return sum(
        len(callback.restarts)
        for callback in callbacks
        if isinstance(callback, LearningRateCallback)
    )


def _without_meaningless(
    logs: dict[str, list[float]], are_finite: list[bool]
) -> dict[str, list[float]]:
    """Return logs with NaN for the validation of weights that are not finite.

    The prediction of such a network is the first class, which may be right often.
    """
    return {
        key: [
            value if is_finite else math.nan
            for value, is_finite in zip(values, are_finite, strict=True)
        ]
        if key.startswith("val_") and len(values) == len(are_finite)
        else values
        for key, values in logs.items()
    }


def _with_result(policy: Policy, result: float | Schedule) -> Policy:
    """Return the policy with what its search found in place of the search."""
    if isinstance(result, Schedule):
        return replace(policy, search=None, schedule=lambda *_: result)
    return replace(policy, search=None, learning_rate=result)


def _prepare(
    build_model: ModelFactory, policy: Policy, context: RunContext
) -> tuple[keras.Model, Schedule | None]:
    """Return a fresh model with the policy's optimizer and rate, and its schedule."""
    keras.utils.set_random_seed(context.seed)
    model = build_model()
    if policy.optimizer is not None:
        replace_optimizer(model, policy.optimizer)
    return model, _apply_rate(model.optimizer, policy, context.total_steps)


def _evaluated(build_model: ModelFactory, context: RunContext) -> keras.Model:
    """Return a fresh model which was evaluated on one batch, so it has its metrics."""
    keras.utils.set_random_seed(context.seed)
    model = build_model()
    rows = slice(context.batch_size)
    x, y, *_ = keras.tree.map_structure(lambda leaf: leaf[rows], context.train)
    model.evaluate(x, y, verbose=0)
    return model


def _with_monitor(
    model: keras.Model, context: RunContext, settings: RunSettings
) -> RunContext:
    monitor, mode = resolve_monitor(model, settings.monitor, settings.mode)
    return replace(context, monitor=monitor, mode=mode)


def resolve_monitor(
    model: keras.Model, monitor: str | None, mode: str | None
) -> tuple[str, str]:
    """Return the metric to judge by, without `val_`, and its direction.

    Args:
        model: A compiled model that has been evaluated once.
        monitor: Name of the metric, or `None` for the model's first one.
        mode: `"max"`, `"min"`, or `None` for the direction that Keras knows.
    """
    names = list(model.get_metrics_result())
    metrics = [name for name in names if not name.endswith("loss")] or ["loss"]
    name = monitor or metrics[0]
    if isinstance(name, str):
        name = name.removeprefix("val_")
    if name not in names:
        raise ValueError(
            f"`monitor` must be one of the model's metrics, {names}. "
            f"Received: monitor={name}"
        )
    mode = mode or metric_mode(model, name)
    if mode is None:
        raise ValueError(
            "Keras does not know whether more or less of this metric is better. "
            f"Received: monitor={name}. Pass `mode='max'` or `mode='min'`."
        )
    return name, mode


def _context(data: Data, settings: RunSettings, seed: int) -> RunContext:
    train_data, validation = data
    rows = keras.tree.flatten(train_data[1])[0].shape[0]
    steps = math.ceil(rows / settings.batch_size) * settings.epochs
    return RunContext(
        tuple(train_data),
        tuple(validation),
        settings.epochs,
        settings.batch_size,
        steps,
        seed,
    )


def _apply_rate(optimizer: Any, policy: Policy, total_steps: int) -> Schedule | None:
    """Set the policy's rate or schedule before the first step; return the schedule."""
    if policy.learning_rate is not None:
        set_learning_rate(optimizer, policy.learning_rate)
    if policy.schedule is None:
        return None
    # Several optimizers get one schedule, from the rate of the first one.
    start = next(iter(get_learning_rates(optimizer).values()))
    schedule = policy.schedule(start, total_steps)
    set_learning_rate_schedule(optimizer, schedule)
    return schedule


def _loss(model: keras.Model, context: RunContext, settings: RunSettings) -> float:
    batch_size = settings.validation_batch_size or settings.batch_size
    x, y, *weights = context.train
    logs = model.evaluate(
        x,
        y,
        batch_size=batch_size,
        sample_weight=weights[0] if weights else None,
        verbose=0,
        return_dict=True,
    )
    return float(logs["loss"])


def _fit(
    model: keras.Model, context: RunContext, settings: RunSettings, callbacks: list
) -> tuple[dict[str, list[float]], float]:
    # The seed again: building a model, or making callbacks, may have drawn numbers.
    keras.utils.set_random_seed(context.seed)
    start = time.perf_counter()
    history = model.fit(
        shuffled_batches(context.train, context.batch_size, context.seed),
        shuffle=False,  # They are.
        epochs=settings.epochs,
        validation_data=context.validation,
        validation_batch_size=settings.validation_batch_size or settings.batch_size,
        callbacks=callbacks,
        verbose=0,
    )
    seconds = time.perf_counter() - start
    logs = {key: [float(v) for v in values] for key, values in history.history.items()}
    return logs, seconds


def has_risen(initial_loss: float, final_loss: float) -> bool:
    """Return whether a training loss is above the first one, or not finite.

    A processor may round the same loss in another way in training than without steps.
    """
    return not final_loss - initial_loss <= _ROUNDING * abs(initial_loss)


def _is_finite(model: keras.Model) -> bool:
    return all(bool(np.isfinite(weight).all()) for weight in model.get_weights())
