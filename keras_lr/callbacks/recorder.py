"""`LearningRateRecorder`: which rates a model was trained with."""

import copy
import math
from typing import Any, Self

import keras

from keras_lr._checks import one_of
from keras_lr._keras.companions import is_in_another_fit
from keras_lr._keras.learning_rates import effective_learning_rates, last_learning_rates
from keras_lr._keras.optimizers import further_optimizers, leaf_optimizers, to_float
from keras_lr._repr import constructor_call
from keras_lr.callbacks import recorded_history

_CONSTANT = "lipschitz_constant"


@keras.saving.register_keras_serializable(package="keras_lr")
class LearningRateRecorder(keras.callbacks.Callback):
    """Record the learning rate that each epoch, or batch, was trained with.

    It sets nothing, and works with every optimizer: a float, a schedule or a function
    as rate, inside a `LossScaleOptimizer` or a `MultiOptimizer`. For `AdaMo`,
    `AdaptiveRMSprop` and `AutoAdam`, whose `learning_rate` is only a multiple, it also
    records the rate that they chose.

    Each epoch's logs, and so `History`, the progress bar, and any callback listed
    after this one, get the rates of its last step. Costs no gradient evaluation, and
    reads a few numbers from the device for each entry.

    Args:
        every: `"epoch"` or `"batch"`: how often `history` gets an entry.
        log_diagnostics: Whether the logs get `lipschitz_constant` too.

    Attributes:
        history: Lists with an entry per epoch or batch: `learning_rate`, the
            optimizer's own, and for ours `effective_learning_rate`, the rate that the
            step used (0 if it was skipped), and `lipschitz_constant`.
            Several optimizers have a list each, `learning_rate_<name>`; those that a
            model holds for its own `train_step`, by the names of the attributes. With
            `every="batch"` also `batch`, the number of batches until then; those that
            `steps_per_execution` runs as one share an entry. NaN stands where there was
            no such number. A fit that starts at its first epoch starts the lists anew.

    Raises:
        ValueError: If `every` is something else, and in `fit` without an optimizer.

    Example:
        >>> import keras, keras_lr, numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> halving = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
        >>> model.compile(keras.optimizers.SGD(halving), loss="mse")
        >>> recorder = keras_lr.LearningRateRecorder()
        >>> x, y = np.ones((8, 3)), np.ones((8, 1))
        >>> _ = model.fit(x, y, epochs=3, verbose=0, callbacks=[recorder])
        >>> recorder.history
        {'learning_rate': [0.5, 0.25, 0.125]}
        >>> recorder.to_csv(getfixture("tmp_path") / "rates.csv")

    Notes:
        A rate that another callback has logged for the epoch is recorded as it is: that
        callback knows best. `CSVLogger` has the columns if it is listed after this
        callback. `TensorBoard` writes the optimizer's present rate in place
        of `learning_rate`; the others it writes as they are.
    """

    def __init__(self, every: str = "epoch", *, log_diagnostics: bool = False) -> None:
        super().__init__()
        one_of("every", every, ("epoch", "batch"))
        self.every = every
        self.log_diagnostics = log_diagnostics
        self.history: dict[str, list[float]] = {}
        self._rates: dict[str, float] | None = None
        self._is_first_epoch = True
        self._steps: int | None = None
        self._batches_before = 0

    def set_model(self, model: keras.Model) -> None:
        """Attach to a model, unless the callback is in a fit of another one."""
        if model is not None and is_in_another_fit(self, model):
            raise ValueError(
                "`LearningRateRecorder` must be in one fit at a time. Received: model="
                f"{model.name!r}, in the middle of a fit of another one with the same "
                "callback. Make one for each model."
            )
        super().set_model(model)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that there is an optimizer."""
        if self.model.optimizer is None:
            raise ValueError(
                "`LearningRateRecorder` reads the learning rate of the model's "
                "optimizer, so the model must be compiled with one. "
                "Received: optimizer=None."
            )
        self._is_first_epoch = True
        # Read now, because `evaluate` may change it.
        self._steps = (self.params or {}).get("steps")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Forget the last fit, unless this one resumes."""
        # Only here is the epoch known that `BackupAndRestore` resumes at.
        if self._is_first_epoch and epoch == 0:
            self.history = {}
        self._is_first_epoch = False
        self._rates = None
        batches = self.history.get("batch")
        self._batches_before = (
            int(batches[-1]) if batches else epoch * (self._steps or 0)
        )

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Read the rates of a batch, if each is recorded or it may be the last."""
        steps = self._steps or batch + 1
        if self.every == "epoch" and batch + 1 < steps:
            return
        # Not in `on_epoch_end`: another callback may have set the next rate by then.
        self._rates = rates = self._read()
        if self.every == "batch":
            # With steps_per_execution > 1, Keras counts past the end of the epoch.
            number = self._batches_before + min(batch + 1, steps)
            self._append({"batch": number, **rates})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the rates of the epoch's last step."""
        logs = {} if logs is None else logs
        rates = self._read() if self._rates is None else self._rates
        logged = rates | {
            key: float(logs.setdefault(key, value))
            for key, value in rates.items()
            if self.log_diagnostics or not key.startswith(_CONSTANT)
        }
        if self.every == "epoch":
            self._append(logged)
        elif self._rates is not None:
            for key, value in logged.items():
                self.history[key][-1] = value

    to_dataframe = recorded_history.to_dataframe
    to_csv = recorded_history.to_csv
    plot = recorded_history.plot

    def _read(self) -> dict[str, float]:
        optimizer = self.model.optimizer
        further = further_optimizers(self.model)
        rates = {
            f"learning_rate_{name}": to_float(each.learning_rate)
            for name, each in further.items()
        }
        # A model that trains by others may have a default one that is never used.
        steps = (to_float(each.iterations) for each in leaf_optimizers(optimizer))
        if further and not any(steps):
            return rates
        own = last_learning_rates(optimizer) | effective_learning_rates(optimizer)
        return own | rates

    def _append(self, entry: dict[str, float]) -> None:
        length = max(map(len, self.history.values()), default=0)
        # An optimizer may come into use late, or be replaced: a row stays a row.
        for key in self.history | entry:
            column = self.history.setdefault(key, [math.nan] * length)
            column.append(entry.get(key, math.nan))

    def __repr__(self) -> str:
        return constructor_call(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy configuration and history; the model is left behind."""
        twin = copy.copy(self)
        memo[id(self)] = twin
        twin.history = copy.deepcopy(self.history, memo)
        twin.params = None
        keras.callbacks.Callback.set_model(twin, None)
        return twin

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"every": self.every, "log_diagnostics": self.log_diagnostics}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the callback that `get_config` described."""
        return cls(**config)
