"""What all our callbacks share: when they start, what they log, how they leave."""

import copy
from typing import Any, Self

import keras

from keras_lr import _keras
from keras_lr._keras import step_hook


class LearningRateCallback(keras.callbacks.Callback):
    """Base of the callbacks that set the learning rate of a compiled optimizer.

    A subclass says what one fit needs in `_prepare`, forgets the last fit in `_reset`,
    and acts in `_wrap_step` (inside the compiled step) and in Keras's own hooks (on the
    host), which call `super()`. What lives for one fit only is in `self._fit_state`,
    `None` until the model is built, and is given back in `_release`; everything else on
    the instance is configuration or `history`.

    The base checks the optimizer, installs and removes the step, writes the rates that
    an epoch was trained with into its logs, and prints the next ones.

    Args:
        verbose: `1` prints the rate that the next epoch starts with.

    Attributes:
        history: One list of floats for each recorded quantity, an entry per epoch.
    """

    def __init__(self, *, verbose: int = 0) -> None:
        super().__init__()
        self.verbose = verbose
        self.history: dict[str, list[float]] = {}
        self._fit_state: Any = None
        self._rates_used: dict[str, float] | None = None
        self._is_first_epoch = True

    def _prepare(self) -> Any:
        """Check the built model and return what lives for this fit.

        Called in `on_train_begin`, the earliest place to raise; in the first step if
        the model gets its weights only there.
        """
        return ()

    def _reset(self) -> None:
        """Forget earlier fits. Not called when a fit resumes at a later epoch."""
        self.history = {name: [] for name in self.history}

    def _wrap_step(self, step: step_hook.Step) -> step_hook.Step:
        """Return a training step that calls `step`; the same one to leave it alone."""
        return step

    def _release(self) -> None:
        """Give back what `_prepare` took, after a fit or an interrupted one."""

    def set_model(self, model: keras.Model) -> None:
        """Attach to a model. Clears up what an interrupted fit left behind."""
        super().set_model(model)
        step_hook.remove(model, self)
        self._end_fit()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check the optimizer and the model, and wrap the training step."""
        _keras.require_settable_learning_rate(self.model.optimizer, type(self).__name__)
        self._is_first_epoch = True
        self._fit_state = None
        if _keras.is_built(self.model):
            self._fit_state = self._prepare()
        self._install()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Forget the last fit, unless this one resumes."""
        # Only here is the epoch known that `BackupAndRestore` resumes at.
        if self._is_first_epoch and epoch == 0:
            self._reset()
        self._is_first_epoch = False
        self._rates_used = None

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Put the step back if another callback's `train_on_batch` removed it."""
        if not step_hook.is_installed(self.model, self):
            self._install()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the rates that the epoch was trained with, and print the next ones."""
        current = _keras.get_learning_rates(self.model.optimizer)
        used = self._rates_used or current
        if logs is not None:
            logs.update(used)
        if self.verbose > 0:
            rates = ", ".join(f"{rate:.6g}" for rate in dict.fromkeys(current.values()))
            _keras.print_message(
                f"\nEpoch {epoch + 1}: {type(self).__name__} setting learning rate to "
                f"{rates}."
            )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Give the model its own training step back."""
        step_hook.remove(self.model, self)
        self._end_fit()

    def _end_fit(self) -> None:
        if self._fit_state is not None:
            self._release()
        self._fit_state = None

    def _install(self) -> None:
        def wrapper(step: step_hook.Step) -> step_hook.Step:
            def prepared_step(data: Any) -> Any:
                if self._fit_state is None:
                    _keras.build(self.model, data)
                    with _keras.outside_of_trace():
                        self._fit_state = self._prepare()
                return self._wrap_step(step)(data)

            return prepared_step

        step_hook.install(self.model, self, wrapper)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy configuration and history; data is shared, the model is left behind."""
        twin = copy.copy(self)
        memo[id(self)] = twin
        twin.history = copy.deepcopy(self.history, memo)
        twin._fit_state = None
        twin._rates_used = None
        twin.params = None
        keras.callbacks.Callback.set_model(twin, None)
        return twin

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without data."""
        return {"verbose": self.verbose}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the callback that `get_config` described."""
        return cls(**config)
