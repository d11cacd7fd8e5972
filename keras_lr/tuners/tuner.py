"""`LearningRateTuner`: what `Zooming` and `BLiE` share."""

import copy
import csv
import os
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner

from keras_lr import _html
from keras_lr._checks import one_of
from keras_lr._keras.models import print_message
from keras_lr._keras_tuner.oracle import trial_number
from keras_lr._keras_tuner.tuner import TrialRunner
from keras_lr._optional import imported
from keras_lr.tuners import trial_keys
from keras_lr.tuners.arms import LearningRateArm, summary_lines
from keras_lr.tuners.checkpoints import BestEpochWeights
from keras_lr.tuners.loss_watch import LossWatch
from keras_lr.tuners.oracle import LearningRateOracle, training_seed

CHECKPOINTS = ("best", "all", "none")


class LearningRateTuner(TrialRunner):
    """Base of `Zooming` and `BLiE`.

    Args:
        oracle: Oracle of the search.
        hypermodel: Function that builds a model, or a `keras_tuner.HyperModel`.
        search_epochs: Epochs of each trial, in place of those given to `search`.
        stop_hopeless: Whether to stop trials whose loss does not move.
        checkpoint: Which weights to keep: `"all"`, `"best"` or `"none"`.
        **kwargs: More arguments of `keras_tuner.Tuner`.
    """

    def __init__(
        self,
        oracle: LearningRateOracle,
        hypermodel: Any = None,
        *,
        search_epochs: int | None = None,
        stop_hopeless: bool = True,
        checkpoint: str = "all",
        **kwargs: Any,
    ) -> None:
        one_of("checkpoint", checkpoint, CHECKPOINTS)
        if search_epochs is not None and search_epochs < 1:
            raise ValueError(
                "`search_epochs` must be at least 1, or `None` for the epochs given to "
                f"`search`. Received: search_epochs={search_epochs}."
            )
        self.search_epochs = search_epochs
        self.stop_hopeless = stop_hopeless
        self.checkpoint = checkpoint
        self._local_oracle = oracle
        self._weights: dict[str, BestEpochWeights] = {}
        super().__init__(oracle, hypermodel, **kwargs)
        if hypermodel is not None and not self.is_worker:
            oracle.axis()  # Raises if there is no learning rate.

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Search for the best learning rate.

        Args:
            *fit_args: Positional arguments of `fit`.
            **fit_kwargs: Other arguments of `fit`. With `verbose=0` nothing is printed.
        """
        if self.search_epochs is not None:
            fit_kwargs["epochs"] = self.search_epochs
        super().search(*fit_args, **fit_kwargs)
        if not self.is_worker and self.oracle.verbose:
            print_message("\n".join(self.summary()))

    def make_callbacks(self, trial: Any) -> list[keras.callbacks.Callback]:
        """Return the callbacks of an execution; executions share that for weights."""
        watch = LossWatch(stop_hopeless=self.stop_hopeless)
        if self.checkpoint == "none":
            return [watch]
        path = self.checkpoint_path(trial.trial_id)
        weights = BestEpochWeights(self.oracle.objective, path)
        # The weights of the best of all executions count.
        return [watch, self._weights.setdefault(trial.trial_id, weights)]

    def training_seed(self, trial: Any, execution: int) -> int:
        """Return the seed of an execution of a trial."""
        seed = trial.hyperparameters.values.get(trial_keys.SEED)
        if seed is None:
            seed = training_seed(0, trial_number(trial.trial_id) or 0)
        return int(seed) + execution

    def complete_result(
        self, result: Any, callbacks: Sequence[keras.callbacks.Callback]
    ) -> Any:
        """Return a result of `fit` with what the loss said about the learning rate."""
        if isinstance(result, keras.callbacks.History):
            self._require_objective_in(result.history)
        watches = (each for each in callbacks if isinstance(each, LossWatch))
        measured = next((watch.measurements() for watch in watches), {})
        return _with_metrics(result, measured, self.oracle.objective.name)

    def _require_objective_in(self, history: dict[str, list[float]]) -> None:
        """End the search if the objective is none of the metrics of a training."""
        name = self.oracle.objective.name
        if self.oracle.objective.has_value(history) or not history:
            return
        advice = ""
        if name.startswith("val_") and not any(
            key.startswith("val_") for key in history
        ):
            advice = " Pass `validation_data` to `search`."
        raise keras_tuner.errors.FatalValueError(
            "`objective` must be a metric of the trainings. Received: "
            f"objective={name!r}, and the metrics {sorted(history)}.{advice}"
        )

    def on_trial_end(self, trial: Any) -> None:
        """Report a trial, and drop weights that are not needed."""
        self._weights.clear()
        super().on_trial_end(trial)
        if self.checkpoint == "best":
            self._keep_best_weights()

    def _keep_best_weights(self) -> None:
        """Drop all weights but those of the best arm and of the best single trial.

        The arm that is the best may change with one more trial at it.
        """
        trials = self._trials_with_weights()
        if len(trials) < 2:
            return
        pick = max if self.oracle.objective.direction == "max" else min
        best_single = pick(trials, key=lambda trial: trial.score)
        for trial in trials:
            if trial.trial_id not in (trials[0].trial_id, best_single.trial_id):
                os.remove(self.checkpoint_path(trial.trial_id))

    def _trials_with_weights(self) -> list[Any]:
        """Return the scored trials that have weights, the best first."""
        return [
            trial
            for trial in self.finished_trials(self.oracle.max_trials)
            if trial.score is not None and self.has_checkpoint(trial.trial_id)
        ]

    def get_best_models(self, num_models: int = 1) -> list[Any]:
        """Return models with the weights of the best epochs of the best trials.

        Raises:
            ValueError: If no weights were kept.
        """
        trials = self._trials_with_weights()
        if not trials:
            raise ValueError(
                "No weights of a trial were kept. Received: "
                f"checkpoint={self.checkpoint!r}. Build the model anew, with "
                "`tuner.hypermodel.build(tuner.get_best_hyperparameters()[0])`, and "
                "train it; or search with `checkpoint='best'`."
            )
        return [self.load_model(trial) for trial in trials[:num_models]]

    @property
    def bandit(self) -> LearningRateOracle:
        """The oracle, with its arms.

        Raises:
            RuntimeError: On a worker: only the chief knows the arms.
        """
        if self.is_worker:
            raise RuntimeError(
                "Only the chief knows the arms of a search. Ask it, or open the "
                "search again, without the environment variables of KerasTuner."
            )
        return self._local_oracle

    def best_arm(self) -> LearningRateArm | None:
        """Return the recommended learning rate, `None` before a trial has finished."""
        return self.bandit.best_arm()

    def arms(self) -> list[LearningRateArm]:
        """Return the learning rates that have been tried, from the smallest up."""
        return self.bandit.arms()

    def summary(self) -> list[str]:
        """Return the result of the search, in sentences."""
        return summary_lines(self.arms(), self.best_arm(), self.bandit.objective.name)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the result in sentences, and the arms."""
        rows = [arm.row() for arm in self.arms()]
        cells = [[_cell(each) for each in row.values()] for row in rows]
        header = [name.replace("_", " ") for name in rows[0]] if rows else []
        return "".join(map(_html.paragraph, self.summary())) + (
            _html.table(header, cells) if rows else ""
        )

    def results_summary(self, num_trials: int = 10) -> None:
        """Print the result of the search, and the best trials."""
        print_message("\n".join([*self.summary(), f"Results in {self.project_dir}"]))
        for trial in self.bandit.get_best_trials(num_trials):
            print_message("")
            self.bandit.as_shown(trial).summary()
            if remark := self.bandit.remark(trial):
                print_message(remark)

    def to_dataframe(self) -> Any:
        """Return the arms as a `pandas.DataFrame`, a row each, from the smallest up."""
        pandas = imported("pandas", extra="examples", function="to_dataframe")
        return pandas.DataFrame([arm.row() for arm in self.arms()])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the arms to a CSV file, a row each, from the smallest up.

        Args:
            path: Path of the file.
        """
        rows = [arm.row() for arm in self.arms()]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["learning_rate"])
            writer.writeheader()
            writer.writerows(rows)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _with_metrics(result: Any, measured: dict[str, float], objective: str) -> Any:
    if not measured:
        return result
    if isinstance(result, list):
        return [_with_metrics(each, measured, objective) for each in result]
    if isinstance(result, keras.callbacks.History):
        # In every epoch: KerasTuner takes the metrics of the best one.
        epochs = max(map(len, result.history.values()), default=0)
        rows = {name: [value] * epochs for name, value in measured.items()}
        completed = copy.copy(result)
        completed.history = result.history | rows
        return completed
    if isinstance(result, dict):
        return result | measured
    return {objective: float(result)} | measured
