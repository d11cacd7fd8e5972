"""Train one policy with one seed and return a record of what happened.

At one seed every policy starts from the same weights and sees the same batches in the
same order: the seed is set before the model is built and again right before `fit`.
"""

import math
import time
from collections.abc import Callable
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
from keras_lr.comparison.policy import Policy, RunContext, Schedule, Search
from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.usage import policy_code

Arrays = tuple[Any, Any]
Data = tuple[Arrays, Arrays]

_HIGHER_IS_BETTER = ("acc", "auc", "precision", "recall", "f1", "r2", "iou", "dice")
_LOWER_IS_BETTER = ("loss", "error", "entropy", "mse", "mae", "msle", "mape", "hinge")


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
        mode: `"max"` or `"min"`. Defaults to `None`: by the metric's name.
    """

    epochs: int
    batch_size: int = 32
    validation_batch_size: int | None = None
    monitor: str | None = None
    mode: str | None = None


class _Recorder(keras.callbacks.Callback):
    """Record the rate of each epoch, count batches, stop at non-finite losses.

    Not at the first epoch of them: a policy may put the training back.

    It must be the first in the list: its `on_epoch_end` has to see the rate before
    another callback sets the next one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.learning_rates: list[float] = []
        self.effective_rates: list[float] = []
        self.steps = 0
        self._was_finite = True
        self._epoch_steps = 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch_steps = 0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # With steps_per_execution > 1, Keras counts past the end of the epoch.
        self._epoch_steps = min(batch + 1, self.params.get("steps") or batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.steps += self._epoch_steps
        is_finite = math.isfinite((logs or {}).get("loss", 0.0))
        if not (is_finite or self._was_finite):
            self.model.stop_training = True
        self._was_finite = is_finite
        first = leaf_optimizers(self.model.optimizer)[0]
        self.learning_rates.append(last_learning_rates(first)["learning_rate"])
        effective = effective_learning_rates(first).get("effective_learning_rate")
        if effective is not None:
            self.effective_rates.append(effective)


def train(
    build_model: Callable[[], keras.Model],
    data: Data,
    policy: Policy,
    settings: RunSettings,
    *,
    seed: int = 0,
    on_epoch_end: Callable[[int, dict], None] | None = None,
) -> RunRecord:
    """Train a fresh model under one policy.

    Args:
        build_model: Function without arguments which returns a compiled model.
        data: `((x_train, y_train), (x_validation, y_validation))`.
        policy: What sets the learning rate.
        settings: Epochs, batch size, and the metric to judge by.
        seed: Seed of the initial weights, of the batch order and of dropout.
        on_epoch_end: Called with the epoch and its logs, for progress displays.

    Returns:
        The `RunRecord`. Exceptions of the model or the policy pass through.
    """
    if policy.search is not None:
        return _search_and_train(
            policy.search,
            build_model,
            data,
            policy,
            settings,
            seed=seed,
            on_epoch_end=on_epoch_end,
        )
    context = _context(data, settings, seed)
    model, schedule = _prepare(build_model, policy, context)
    initial_loss = _loss(model, context, settings)
    monitor, mode = resolve_monitor(model, settings.monitor, settings.mode)
    context = replace(context, monitor=monitor, mode=mode)
    recorder = _Recorder()
    callbacks = [recorder, *policy.make_callbacks(context), *_observers(on_epoch_end)]
    logs, seconds = _fit(model, context, settings, callbacks)
    record = RunRecord(policy.label, seed, f"val_{monitor}", mode, logs)
    # A callback that logs its rate knows best which one the epoch was trained with,
    # but the logged one may be the multiple of what the optimizer found.
    logged = logs.get("learning_rate", recorder.learning_rates)
    record.learning_rates = recorder.effective_rates or logged
    record.initial_loss = initial_loss
    is_better = record.final("loss") <= initial_loss
    record.diverged = not (is_better and _is_finite(model))
    record.seconds, record.steps = seconds, recorder.steps
    record.gradient_evaluations = record.steps * policy.gradient_evaluations_per_step
    record.start = policy.learning_rate
    record.code = policy_code(policy, policy.learning_rate, schedule)
    return record


def _observers(
    on_epoch_end: Callable[[int, dict], None] | None,
) -> list[keras.callbacks.Callback]:
    if on_epoch_end is None:
        return []
    return [keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)]


def _prepare(
    build_model: Callable[[], keras.Model], policy: Policy, context: RunContext
) -> tuple[keras.Model, Schedule | None]:
    """Return a fresh model with the policy's optimizer and rate, and its schedule."""
    keras.utils.set_random_seed(context.seed)
    model = build_model()
    if policy.optimizer is not None:
        replace_optimizer(model, policy.optimizer)
    return model, _apply_rate(model.optimizer, policy, context.total_steps)


def _search_and_train(
    search: Search,
    build_model: Callable[[], keras.Model],
    data: Data,
    policy: Policy,
    settings: RunSettings,
    *,
    seed: int,
    on_epoch_end: Callable[[int, dict], None] | None,
) -> RunRecord:
    """Find a rate or a schedule, and then train as if it had been given."""
    begin = time.perf_counter()
    keras.utils.set_random_seed(seed)
    context = _context(data, settings, seed)
    model = build_model()
    x, y = context.train
    rows = slice(settings.batch_size)
    model.evaluate(*keras.tree.map_structure(lambda a: a[rows], (x, y)), verbose=0)
    monitor, mode = resolve_monitor(model, settings.monitor, settings.mode)
    context = replace(context, monitor=monitor, mode=mode)
    result, steps = search(build_model, context)
    found = replace(policy, search=None)
    if isinstance(result, Schedule):
        found = replace(found, schedule=lambda *_: result)
    else:
        found = replace(found, learning_rate=result)
    record = train(
        build_model, data, found, settings, seed=seed, on_epoch_end=on_epoch_end
    )
    record.policy, record.start = policy.label, policy.learning_rate
    record.code = policy.code or record.code
    record.gradient_evaluations += steps * policy.gradient_evaluations_per_step
    record.seconds = time.perf_counter() - begin
    return record


def resolve_monitor(
    model: keras.Model, monitor: str | None, mode: str | None
) -> tuple[str, str]:
    """Return the metric to judge by, without `val_`, and its direction.

    Args:
        model: A compiled model that has been evaluated once.
        monitor: Name of the metric, or `None` for the model's first one.
        mode: `"max"`, `"min"`, or `None` for the direction that the name implies.
    """
    names = list(model.get_metrics_result())
    metrics = [name for name in names if not name.endswith("loss")] or ["loss"]
    name = (monitor or metrics[0]).removeprefix("val_")
    if name not in names:
        raise ValueError(
            f"`monitor` must be one of the model's metrics, {names}. "
            f"Received: monitor={name}"
        )
    return name, mode or _direction(name)


def _direction(monitor: str) -> str:
    name = monitor.lower()
    if any(part in name for part in _LOWER_IS_BETTER):
        return "min"
    if any(part in name for part in _HIGHER_IS_BETTER):
        return "max"
    raise ValueError(
        "Whether more or less of this metric is better does not follow from its name. "
        f"Received: monitor={monitor}. Pass `mode='max'` or `mode='min'`."
    )


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


def first_learning_rate(optimizer: Any) -> float:
    """Return the learning rate, of the first one of several optimizers."""
    return next(iter(get_learning_rates(optimizer).values()))


def _apply_rate(optimizer: Any, policy: Policy, total_steps: int) -> Schedule | None:
    """Set the policy's rate or schedule, which is returned, before the first step."""
    if policy.learning_rate is not None:
        set_learning_rate(optimizer, policy.learning_rate)
    if policy.schedule is None:
        return None
    schedule = policy.schedule(first_learning_rate(optimizer), total_steps)
    set_learning_rate_schedule(optimizer, schedule)
    return schedule


def _loss(model: keras.Model, context: RunContext, settings: RunSettings) -> float:
    batch_size = settings.validation_batch_size or settings.batch_size
    x, y = context.train
    return float(
        model.evaluate(x, y, batch_size=batch_size, verbose=0, return_dict=True)["loss"]
    )


def _fit(
    model: keras.Model, context: RunContext, settings: RunSettings, callbacks: list
) -> tuple[dict[str, list[float]], float]:
    # The seed again: building a model, or making callbacks, may have drawn numbers.
    keras.utils.set_random_seed(context.seed)
    start = time.perf_counter()
    history = model.fit(
        *context.train,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        validation_data=context.validation,
        validation_batch_size=settings.validation_batch_size,
        callbacks=callbacks,
        verbose=0,
    )
    seconds = time.perf_counter() - start
    logs = {key: [float(v) for v in values] for key, values in history.history.items()}
    return logs, seconds


def _is_finite(model: keras.Model) -> bool:
    return all(bool(np.isfinite(weight).all()) for weight in model.get_weights())
