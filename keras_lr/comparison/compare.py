"""Which policy on my data? Train all of them from the same starts and compare."""

import gc
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_lr._keras import require_settable_learning_rate
from keras_lr.comparison import policies as _policies
from keras_lr.comparison.arguments import check_callable, check_data, check_positive
from keras_lr.comparison.policy import Policy
from keras_lr.comparison.progress import Progress, make_progress
from keras_lr.comparison.records import RecordStore, fingerprint
from keras_lr.comparison.result import ComparisonResult
from keras_lr.comparison.runner import (
    Data,
    RunRecord,
    RunSettings,
    resolve_monitor,
    train,
)

_NAMED: dict[str, Callable[[], Policy]] = {
    "default": _policies.default_rate,
    "reduce_on_plateau": _policies.reduce_on_plateau,
    "exponential_decay": _policies.exponential_decay,
    "staircase": _policies.staircase,
    "cosine_decay": _policies.cosine_decay,
    "cosine_restarts": _policies.cosine_restarts,
    "lipschitz": _policies.lipschitz,
    "marthe": _policies.marthe,
    "hypergradient_descent": _policies.hypergradient_descent,
    "rtho": _policies.rtho,
    "walk": _policies.walk,
    "adamo": _policies.adamo,
    "adaptive_rmsprop": _policies.adaptive_rmsprop,
    "auto_adam": _policies.auto_adam,
    "zooming": _policies.zooming,
    "blie": _policies.blie,
    "optimize_schedule": _policies.optimize_schedule,
}
# They train eight times, and more than a hundred times, as much as the others.
SEARCHES = ("zooming", "blie", "optimize_schedule")
_DEFAULTS = ("constant", *(name for name in _NAMED if name not in SEARCHES))
# An evaluation keeps no activations for a gradient.
_VALIDATION_BATCHES = 4


def compare_policies(
    build_model: Callable[[], keras.Model],
    data: Data,
    policies: Sequence[Policy | str] | None = None,
    *,
    seeds: int | Sequence[int] = 3,
    epochs: int = 10,
    batch_size: int = 32,
    monitor: str | None = None,
    mode: str | None = None,
    directory: str | os.PathLike[str] | None = None,
    verbose: int = 1,
) -> ComparisonResult:
    """Train every policy from the same starts and rank them.

    Answers "which way of setting the learning rate on my data?". At one seed, every
    policy starts from the same weights and sees the same batches in the same order. A
    policy that fails is recorded with its error and the others go on; Ctrl-C ends the
    comparison and returns what is done. Costs one training per policy and seed.

    Args:
        build_model: Function without arguments which returns a new compiled model,
            whose optimizer has a float `learning_rate`.
        data: `((x_train, y_train), (x_validation, y_validation))`, arrays.
        policies: Policies, or names of them: `"default"` (the rate that the model is
            compiled with), `"constant"` (a grid of nine rates), `"reduce_on_plateau"`,
            `"exponential_decay"`, `"staircase"`, `"cosine_decay"`,
            `"cosine_restarts"`, `"lipschitz"`, `"marthe"`, `"hypergradient_descent"`,
            `"rtho"`, `"walk"`, with optimizers of their own `"adamo"`,
            `"adaptive_rmsprop"` and `"auto_adam"`, and three searches: `"zooming"` and
            `"blie"`, which take seven trainings to find a constant rate and one more,
            and `"optimize_schedule"`, which finds a schedule in the time of some 140.
            Defaults to all but the searches.
        seeds: Number of seeds, or the seeds. Defaults to `3`.
        epochs: Number of epochs of a run. Defaults to `10`.
        batch_size: Number of examples in a batch. Defaults to `32`.
        monitor: Name of the metric to rank by, measured on the validation data.
            Defaults to the model's first metric, or the loss if it has none.
        mode: `"max"` or `"min"`. Defaults to the direction that the metric's name
            implies.
        directory: Where to keep the record of each run. A comparison that was
            interrupted goes on from there; failed runs are tried again. A policy is
            known by its name and rate: one that has changed needs another name.
        verbose: 0 for silence, 1 for progress on the terminal. Defaults to `1`.

    Returns:
        A `ComparisonResult`: `print` it, `plot()`, `save(directory)`.

    Raises:
        ValueError: If an argument cannot work, before anything is trained.
        TypeError: If `build_model` or what it returns is of the wrong kind.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-1, 1, 64, dtype="float32")[:, None]
        >>> def build_model():
        ...     model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> result = compare_policies(
        ...     build_model, ((x, 2 * x), (x, 2 * x)), ["default", Policy("fast", 0.3)],
        ...     seeds=1, epochs=3, verbose=0)
        >>> [row.policy for row in result.table]
        ['fast 0.3', 'default']

    Notes:
        Rates are picked and judged on the same validation data, which flatters the
        best of a grid.
    """
    check_data(data)
    check_positive(epochs=epochs, batch_size=batch_size)
    seeds = _check_seeds(seeds)
    settings = RunSettings(
        epochs, batch_size, _VALIDATION_BATCHES * batch_size, monitor, mode
    )
    model, settings = _check_model(build_model, data, settings)
    chosen = expand_policies(policies, model.optimizer)
    store = RecordStore(directory, fingerprint(model, data, settings))
    tasks = [(policy, seed) for seed in seeds for policy in chosen]
    with closing(make_progress(len(tasks), epochs, verbose)) as progress:
        comparison = _Comparison(build_model, data, settings, store, progress)
        records, interrupted = comparison.run_all(tasks)
    return ComparisonResult(records, interrupted=interrupted)


def expand_policies(
    policies: Sequence[Policy | str] | None, optimizer: keras.optimizers.Optimizer
) -> list[Policy]:
    """Return policies for names, and the defaults for `None`.

    Args:
        policies: Policies and names of policies.
        optimizer: Decides which rates the grid of `"constant"` holds.
    """
    if isinstance(policies, str | Policy):
        policies = [policies]
    expanded: list[Policy] = []
    for policy in _DEFAULTS if policies is None else policies:
        if isinstance(policy, Policy):
            expanded.append(policy)
        elif policy == "constant":
            expanded += map(_policies.constant, _policies.default_rates(optimizer))
        elif policy in _NAMED:
            expanded.append(_NAMED[policy]())
        else:
            names = ", ".join(sorted([*_NAMED, "constant"]))
            raise ValueError(
                f"A policy must be a `Policy` or one of {names}. "
                f"Received: policy={policy!r}"
            )
    labels = [policy.label for policy in expanded]
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated or not expanded:
        raise ValueError(
            "`policies` must hold at least one policy, and each name and rate once. "
            f"Received: policies={labels}"
        )
    return expanded


@dataclass(frozen=True)
class _Comparison:
    """One comparison under way."""

    build_model: Callable[[], keras.Model]
    data: Data
    settings: RunSettings
    store: RecordStore
    progress: Progress

    def run_all(self, tasks: list[tuple[Policy, int]]) -> tuple[list[RunRecord], bool]:
        """Return the records, and whether Ctrl-C ended them early."""
        records: list[RunRecord] = []
        try:
            for policy, seed in tasks:
                records.append(self.run(policy, seed))
                self.progress.finish(records[-1])
        except KeyboardInterrupt:
            if not records:
                raise
            return records, True
        return records, False

    def run(self, policy: Policy, seed: int) -> RunRecord:
        """Return the stored record, or train and store it."""
        record = self.store.load(policy.label, seed)
        if record is not None:
            return record
        self.progress.start(policy.label, seed)
        try:
            record = train(
                self.build_model,
                self.data,
                policy,
                self.settings,
                seed=seed,
                on_epoch_end=lambda epoch, logs: self.progress.epoch(epoch),
            )
        except Exception as error:
            message = " ".join(f"{type(error).__name__}: {error}".split())
            record = RunRecord(policy.label, seed, error=message)
            record.monitor = f"val_{self.settings.monitor}"
            record.mode = str(self.settings.mode)
        self.store.save(record)
        # Models hold reference cycles; without this they pile up.
        gc.collect()
        return record


def _check_seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, int):
        check_positive(seeds=seeds)
        return list(range(seeds))
    values = [int(seed) for seed in seeds]
    if not values or len(set(values)) < len(values) or min(values) < 0:
        raise ValueError(
            "`seeds` must be a number of seeds, or different non-negative integers. "
            f"Received: seeds={seeds}"
        )
    return values


def _check_model(
    build_model: Any, data: Data, settings: RunSettings
) -> tuple[keras.Model, RunSettings]:
    """Return a model evaluated on one batch, and settings with monitor and mode."""
    if settings.mode not in {None, "min", "max"}:
        raise ValueError(
            f"`mode` must be 'min', 'max' or None. Received: mode={settings.mode!r}"
        )
    check_callable(build_model)
    model = build_model()
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`build_model` must return a `keras.Model`. "
            f"Received: a {type(model).__name__}"
        )
    if not model.compiled or getattr(model, "optimizer", None) is None:
        raise ValueError(
            "`build_model` must return a compiled model. Received: a model that is "
            "not compiled. Call `model.compile(optimizer, loss)` before returning it."
        )
    try:
        require_settable_learning_rate(model.optimizer, "compare_policies")
    except ValueError as error:
        received = str(error).partition("Received: ")[2].partition(". ")[0]
        raise ValueError(
            "`compare_policies` sets the learning rate, so `build_model` must compile "
            f"the model with a float `learning_rate`. Received: {received}"
        ) from error
    x, y = keras.tree.map_structure(
        lambda leaf: leaf[: settings.batch_size], tuple(data[1])
    )
    model.evaluate(x, y, verbose=0)
    monitor, mode = resolve_monitor(model, settings.monitor, settings.mode)
    return model, replace(settings, monitor=monitor, mode=mode)
