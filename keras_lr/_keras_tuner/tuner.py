"""A `keras_tuner.Tuner` whose trials are seeded, watched and can be resumed.

It is imported where it is used, because it loads KerasTuner.
"""

import os
import warnings
import weakref
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner
from keras_tuner.src.distribute import utils as distribution
from keras_tuner.src.distribute.oracle_client import OracleClient
from keras_tuner.src.engine import tuner_utils

from keras_lr._keras import parts_that_train, require_new_model
from keras_lr._keras_tuner.chief import ChiefWatch, PatientClient
from keras_lr._keras_tuner.oracle import FINISHED, DurableOracle
from keras_lr._keras_tuner.search_files import keep_if_whole, write_json


class TrialRunner(keras_tuner.Tuner):
    """Base of our tuners: runs trials, and continues a search that was cut off.

    Args:
        oracle: Oracle of the search.
        hypermodel: Function that builds a model, or a `keras_tuner.HyperModel`.
        overwrite: Whether to start anew where files of a search are.
        **kwargs: More arguments of `keras_tuner.Tuner`.
    """

    def __init__(
        self,
        oracle: DurableOracle,
        hypermodel: Any = None,
        *,
        overwrite: bool = False,
        **kwargs: Any,
    ) -> None:
        if hypermodel is None and type(self).run_trial is TrialRunner.run_trial:
            raise ValueError(
                "`hypermodel` must be a function that builds a model, or a "
                "`keras_tuner.HyperModel`. Received: hypermodel=None. It may be left "
                f"out only in a subclass of `{type(self).__name__}` with a `run_trial`."
            )
        super().__init__(
            oracle=oracle, hypermodel=hypermodel, overwrite=overwrite, **kwargs
        )
        self._failures = 0
        self._earlier: list[weakref.ref[Any]] = []
        self._failure_limit = oracle.max_consecutive_failed_trials * (
            oracle.max_retries_per_trial + 1
        )
        if isinstance(self.oracle, OracleClient):
            self.oracle = PatientClient(self.oracle)
        elif not overwrite and not oracle.trials and self._has_search():
            # KerasTuner looks for the file of the tuner, which is written late, and
            # under another name if `tuner_id` is given.
            self.reload()

    def _has_search(self) -> bool:
        import tensorflow as tf

        return bool(tf.io.gfile.glob(f"{self.project_dir}/trial_*/trial.json"))

    @property
    def is_worker(self) -> bool:
        """Whether the trials are given out by a chief elsewhere."""
        return self._is_worker()

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Search, as `keras_tuner.Tuner`. The chief says whom it waits for."""
        if not distribution.is_chief_oracle():
            super().search(*fit_args, **fit_kwargs)
            return
        with ChiefWatch(self.oracle, self._is_over):
            super().search(*fit_args, **fit_kwargs)

    def _is_over(self) -> bool:
        oracle = self.oracle
        all_begun = len(oracle.trials) >= oracle.max_trials or oracle.stop_reason
        return bool(all_begun) and len(oracle.end_order) == len(oracle.trials)

    def on_search_begin(self) -> None:
        """Write the files by which a search that was cut off is recognized."""
        self.save()

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Build and train the model of a trial, each time with another seed.

        Returns:
            The result of each execution, with what our callbacks measured.
        """
        callbacks = kwargs.pop("callbacks", None) or []
        results = []
        for execution in range(self.executions_per_trial):
            ours = self.make_callbacks(trial)
            copied = self._deepcopy_callbacks(callbacks)
            self._configure_tensorboard_dir(copied, trial, execution)
            copied += [tuner_utils.TunerCallback(self, trial), *ours]
            keras.utils.set_random_seed(self.training_seed(trial, execution))
            result = self._build_and_fit_model(trial, *args, callbacks=copied, **kwargs)
            results.append(self.complete_result(result, ours))
        return results

    def _try_build(self, hp: Any) -> keras.Model:
        model = super()._try_build(hp)
        every = [each() for each in self._earlier]
        earlier = [each for each in every if each is not None]
        try:
            require_new_model("hypermodel", model, earlier)
        except ValueError as error:
            # That ends the search: all its trials are affected.
            raise keras_tuner.errors.FatalValueError(str(error)) from error
        # Of a model that is gone, what it shares with the next one is still there.
        self._earlier = [weakref.ref(each) for each in parts_that_train(model)]
        return model

    def make_callbacks(self, trial: Any) -> list[keras.callbacks.Callback]:
        """Return our callbacks for an execution of a trial."""
        raise NotImplementedError

    def training_seed(self, trial: Any, execution: int) -> int:
        """Return the seed of an execution of a trial."""
        raise NotImplementedError

    def complete_result(
        self, result: Any, callbacks: Sequence[keras.callbacks.Callback]
    ) -> Any:
        """Return what an execution returned, with what our callbacks measured."""
        raise NotImplementedError

    def _configure_tensorboard_dir(
        self, callbacks: list[Any], trial: Any, execution: int = 0
    ) -> None:
        # KerasTuner imports TensorBoard for it, which takes a second or more.
        if any(type(callback).__name__ == "TensorBoard" for callback in callbacks):
            super()._configure_tensorboard_dir(callbacks, trial, execution)

    def on_trial_end(self, trial: Any) -> None:
        """Report a trial, and raise if too many in a row could not be run."""
        super().on_trial_end(trial)
        self._failures = self._failures + 1 if trial.message else 0
        if self._failures >= self._failure_limit:
            raise RuntimeError(
                f"{self._failures} trainings in a row failed, so something else than "
                "the learning rate is wrong. The last one failed with:\n"
                f"{trial.message}"
            )

    def load_model(self, trial: Any) -> keras.Model:
        """Return the model of a trial with its weights from disk."""
        with warnings.catch_warnings():
            # The file also holds the state of the optimizer, which is not wanted.
            warnings.filterwarnings("ignore", "Skipping variable loading")
            return super().load_model(trial)

    def checkpoint_path(self, trial_id: str) -> str:
        """Return the path of the weights of a trial."""
        return self._get_checkpoint_fname(trial_id)

    def has_checkpoint(self, trial_id: str) -> bool:
        """Tell whether the weights of a trial are on disk."""
        return os.path.exists(self.checkpoint_path(trial_id))

    def finished_trials(self, number: int) -> list[Any]:
        """Return the trials that have ended, the best first."""
        trials = self.oracle.get_best_trials(number)
        return [trial for trial in trials if trial.status in FINISHED]

    def save(self) -> None:
        """Write the files of the search."""
        if not self._is_worker():
            self.oracle.save()
        write_json(self._get_tuner_fname(), self.get_state())

    def reload(self) -> None:
        """Read the files of the search."""
        path = self._get_tuner_fname()
        if not keep_if_whole(path, self.set_state):
            write_json(path, self.get_state())
        super().reload()
