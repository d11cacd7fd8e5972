"""Train one policy with one seed and return a record of what happened.

At one seed every policy starts from the same weights and sees the same batches in the
same order: the seed is set before the model is built and again right before `fit`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
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
from keras_lr.comparison.policies import Policy, RunContext
from keras_lr.training.effective_rate import (
    effective_learning_rates,
    last_learning_rates,
)

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


@dataclass
class RunRecord:
    """What one training did; JSON-able.

    Attributes:
        policy: Label of the policy.
        seed: Seed of the run.
        monitor: Name of the metric in the logs, such as `"val_accuracy"`.
        mode: `"max"` or `"min"`.
        logs: One list per key of Keras's epoch logs.
        learning_rates: The rate of each epoch's last step; the effective one of
            optimizers that find their own.
        initial_loss: Training loss at the initial weights.
        diverged: Whether the loss or a weight is not finite, or the last training loss
            is above `initial_loss`.
        seconds: Wall time of `fit`.
        steps: Number of batches trained on.
        gradient_evaluations: `steps` times the policy's cost of a step.
        error: Message of the exception that ended the run, or `None`.
    """

    policy: str
    seed: int
    monitor: str = ""
    mode: str = "max"
    logs: dict[str, list[float]] = field(default_factory=dict)
    learning_rates: list[float] = field(default_factory=list)
    initial_loss: float = math.nan
    diverged: bool = False
    seconds: float = 0.0
    steps: int = 0
    gradient_evaluations: float = 0.0
    error: str | None = None

    @property
    def metric(self) -> list[float]:
        """The monitored metric of each epoch."""
        return self.logs.get(self.monitor, [])

    @property
    def final_metric(self) -> float:
        """The monitored metric after the last epoch, NaN if there was none."""
        return self.metric[-1] if self.metric else math.nan

    @property
    def best_metric(self) -> float:
        """The best finite value of the monitored metric, NaN if there was none."""
        finite = [value for value in self.metric if math.isfinite(value)]
        if not finite:
            return math.nan
        return max(finite) if self.mode == "max" else min(finite)

    def final(self, key: str) -> float:
        """Return the last value of a key of the logs, NaN if there was none."""
        values = self.logs.get(key)
        return values[-1] if values else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a dictionary that `json` can write."""
        return asdict(self)


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
    keras.utils.set_random_seed(seed)
    model = build_model()
    if policy.optimizer is not None:
        replace_optimizer(model, policy.optimizer)
    context = _context(data, settings, seed)
    _apply_rate(model.optimizer, policy, context.total_steps)
    initial_loss = _loss(model, context, settings)
    monitor, mode = resolve_monitor(model, settings.monitor, settings.mode)
    recorder = _Recorder()
    callbacks = [recorder, *policy.make_callbacks(context)]
    if on_epoch_end is not None:
        callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end))
    logs, seconds = _fit(model, context, settings, callbacks)
    record = RunRecord(policy.label, seed, f"val_{monitor}", mode, logs)
    # A callback that logs its rate knows best which one the epoch was trained with,
    # but the logged one may be the multiple of what the optimizer found.
    logged = logs.get("learning_rate", recorder.learning_rates)
    record.learning_rates = recorder.effective_rates or logged
    record.initial_loss = initial_loss
    is_better = record.final("loss") <= initial_loss
    record.diverged = not (is_better and _is_finite(model))
    record.seconds = seconds
    record.steps = recorder.steps
    record.gradient_evaluations = record.steps * policy.gradient_evaluations_per_step
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


def _apply_rate(optimizer: Any, policy: Policy, total_steps: int) -> None:
    """Set the policy's rate or schedule on an optimizer that was never used."""
    if policy.learning_rate is not None:
        set_learning_rate(optimizer, policy.learning_rate)
    if policy.schedule is not None:
        schedule = policy.schedule(first_learning_rate(optimizer), total_steps)
        set_learning_rate_schedule(optimizer, schedule)


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
