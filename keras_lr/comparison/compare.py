"""Which policy on my data? Train all of them from the same starts and compare."""

import gc
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import keras

from keras_lr._checks import path_or_none, positive_integer
from keras_lr.comparison.arguments import check_data, checked_models, checked_seeds
from keras_lr.comparison.conditions import conditions_of
from keras_lr.comparison.policies import (
    NAMED,
    default_names,
    default_rates,
    kind_of,
    named_policies,
)
from keras_lr.comparison.policy import Policy
from keras_lr.comparison.progress import Progress, make_progress
from keras_lr.comparison.records import RecordStore, fingerprint, open_store
from keras_lr.comparison.result import ComparisonResult
from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.runner import Data, RunSettings, resolve_monitor, train

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
    policy that fails is recorded with its error and the others are trained; Ctrl-C ends
    the comparison and returns what is done. Costs one training per policy and seed.
    Policies that the metric cannot tell apart share a rank; what diverged ranks last.

    Args:
        build_model: Function without arguments which returns a new compiled model,
            whose optimizer has a float `learning_rate`.
        data: `((x_train, y_train), (x_validation, y_validation))`, arrays.
        policies: Policies, or names of them: `"default"` (the rate that the model is
            compiled with), `"constant"` (a grid of nine rates), and the names of the
            functions in `keras_lr.comparison.policies`: schedules such as
            `"cosine_decay"`, callbacks such as `"marthe"`, optimizers such as
            `"auto_adam"`, and three searches. `"zooming"` and `"blie"` find a constant
            rate in seven trainings and train once more; `"optimize_schedule"` finds a
            schedule in the time of some 140. Defaults to all except the searches.
        seeds: Number of seeds, or the seeds. Defaults to `3`.
        epochs: Number of epochs of a run. Defaults to `10`.
        batch_size: Number of examples in a batch. Defaults to `32`.
        monitor: Name of the metric to rank by, measured on the validation data.
            Defaults to the model's first metric, or the loss if it has none.
        mode: `"max"` or `"min"`. Defaults to the direction that Keras knows of its
            metrics, as `EarlyStopping` does; needed for one of your own.
        directory: Where to keep the record of each run. A comparison that was
            interrupted continues from there; failed runs are tried again. The records
            of another model, of other data or settings are refused. A policy of your
            own is known by its name, rate and `code`: one that has changed needs
            another name.
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
        Rates are chosen and judged on the same validation data, which flatters the
        best one of a grid.
    """
    check_data(data)
    epochs = positive_integer("epochs", epochs)
    batch_size = positive_integer("batch_size", batch_size)
    each_seed = checked_seeds(seeds)
    if mode is not None and not (isinstance(mode, str) and mode in ("min", "max")):
        raise ValueError(
            f"`mode` must be 'min', 'max' or None. Received: mode={mode!r}"
        )
    directory = path_or_none("directory", directory)
    model, another = checked_models(build_model)
    x, y = keras.tree.map_structure(lambda leaf: leaf[:batch_size], tuple(data[1]))
    model.evaluate(x, y, verbose=0)
    monitor, mode = resolve_monitor(model, monitor, mode)
    validation_batch_size = _VALIDATION_BATCHES * batch_size
    settings = RunSettings(epochs, batch_size, validation_batch_size, monitor, mode)
    chosen = expand_policies(policies, model.optimizer)
    store = open_store(directory, partial(fingerprint, model, another, data, settings))
    # A model less in memory while others are trained.
    del another
    conditions = conditions_of(model, data, settings)
    tasks = [(policy, seed) for seed in each_seed for policy in chosen]
    with closing(make_progress(len(tasks), epochs, verbose)) as progress:
        comparison = _Comparison(build_model, data, settings, store, progress)
        records, interrupted = comparison.run_all(tasks)
    return ComparisonResult(records, interrupted=interrupted, conditions=conditions)


def expand_policies(
    policies: Sequence[Policy | str] | None, optimizer: keras.optimizers.Optimizer
) -> list[Policy]:
    """Return policies for names, and the defaults for `None`.

    Args:
        policies: Policies and names of policies.
        optimizer: Decides which rates the grid of `"constant"` holds.
    """
    if policies is None:
        policies = _default_names_grid_first()
    elif isinstance(policies, str | Policy):
        policies = [policies]
    elif not isinstance(policies, Iterable):
        raise ValueError(
            "`policies` must be policies or names of policies. "
            f"Received: policies={policies!r}"
        )
    expanded: list[Policy] = []
    for policy in policies:
        if isinstance(policy, Policy):
            expanded.append(policy)
        else:
            expanded += named_policies(policy, default_rates(optimizer))
    labels = [policy.label for policy in expanded]
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated or not expanded:
        raise ValueError(
            "`policies` must hold at least one policy, and each name and rate once. "
            f"Received: policies={labels}"
        )
    return expanded


def _default_names_grid_first() -> list[str]:
    # Of equal results the first one ranks higher: a constant rate, not the default.
    return sorted(default_names(), key=lambda name: NAMED[name].kind != "constant")


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
        record = self.store.load(policy, seed)
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
            record = RunRecord(
                policy.label,
                seed,
                monitor=f"val_{self.settings.monitor}",
                mode=str(self.settings.mode),
                error=" ".join(f"{type(error).__name__}: {error}".split()),
                start=policy.learning_rate,
                kind=kind_of(policy.name),
            )
        self.store.save(record)
        # Models hold reference cycles; without this they pile up.
        gc.collect()
        return record
