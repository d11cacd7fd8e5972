"""`ZoomingOracle` and `Zooming`: a Lipschitz bandit over learning rates."""

import dataclasses
import functools
from typing import Any

from keras_lr.rules import zooming as rules
from keras_lr.rules.bandit import Bandit
from keras_lr.tuners.oracle import LearningRateOracle
from keras_lr.tuners.tuner import LearningRateTuner


class ZoomingOracle(LearningRateOracle):
    """Choose learning rates by zooming in, for any `keras_tuner.Tuner`.

    It finds a good learning rate in five to ten trainings. It goes where a rate could
    still be better than the best one, judged by the distance to rates that were tried.
    It trains at the best rates again, with other seeds, if luck may have picked them.
    It keeps away from where the loss blew up or never moved, which only the tuner
    `keras_lr.Zooming` tells it.

    Args:
        objective: Metric to optimize, such as `"val_accuracy"`, or a
            `keras_tuner.Objective`. Scores to maximize that lie between 0 and 1 count
            as they are; others are scaled by the best and the worst so far.
        max_trials: Number of trainings, T in the paper.
        hyperparameter: Name of the learning rate, a `Float` of the search space. Its
            `sampling` is the axis: `"log"` is what works, `"linear"` the paper's.
        first: Learning rate of the first trial. Defaults to the middle of the axis.
        lipschitz: How much the reward, from 0 to 1, changes over the axis at most.
        noise: About the standard deviation of the reward from seed to seed.
        strategy: `"gap"`, or `"paper"` for the algorithm as printed.
        radius_scale: Factor of the confidence radius of `"paper"`: 1 is the radius as
            printed, 0.1 the paper's for networks with ReLU.
        seed: Seed of the search. Each trial has a seed that follows from it.
        hyperparameters: Search space, a `keras_tuner.HyperParameters`; also to fix
            others than the learning rate.
        tune_new_entries: Whether hyperparameters that only the model's function
            declares belong to the search space.
        allow_new_entries: Whether the model's function may declare hyperparameters
            that are not in `hyperparameters`.
        max_retries_per_trial: How often a trial that could not be run is run again.
        max_consecutive_failed_trials: Number of trials in a row that could not be run
            after which the search ends. A training that diverges is not one of them.

    Raises:
        ValueError: If an argument is wrong. In `update_space`, which tuners call first
            of all, if the space holds something else to tune than the learning rate.

    Example:
        >>> import keras_lr, keras_tuner
        >>> class Tuner(keras_tuner.Tuner):
        ...     def run_trial(self, trial):
        ...         rate = trial.hyperparameters.get("learning_rate")
        ...         return (rate - 0.02) ** 2
        >>> space = keras_tuner.HyperParameters()
        >>> _ = space.Float("learning_rate", 1e-4, 1.0, sampling="log")
        >>> oracle = keras_lr.ZoomingOracle(max_trials=7, hyperparameters=space)
        >>> oracle.verbose = 0
        >>> tuner = Tuner(oracle, directory=getfixture("tmp_path"))
        >>> tuner.search()
        >>> round(oracle.best_arm().learning_rate, 3)
        0.018

    Notes:
        `keras_lr.rules.zooming` has the algorithm and its deviations from the paper. A
        trial carries `zooming/pull`, which tells trials at one rate apart, and
        `zooming/seed` among its values. A score that is not finite is the worst score,
        not a failure. The best trials are those of the arm with the best mean.

    References:
        - Zooming: [Learning Rate Optimization for Deep Neural Networks Using Lipschitz
          Bandits](https://arxiv.org/abs/2409.09783), 2024.
        - Slivkins, [Introduction to Multi-Armed
          Bandits](https://arxiv.org/abs/1904.07272), 2019, section 4.3.
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int = 10,
        *,
        hyperparameter: str = "learning_rate",
        first: float | None = None,
        lipschitz: float = 1.0,
        noise: float = 0.01,
        strategy: str = "gap",
        radius_scale: float = 1.0,
        seed: int | None = None,
        hyperparameters: Any = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
    ) -> None:
        self.first = first
        super().__init__(
            functools.partial(
                rules.Zooming,
                lipschitz=lipschitz,
                noise=noise,
                radius_scale=radius_scale,
                strategy=strategy,
            ),
            objective,
            max_trials,
            hyperparameter=hyperparameter,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )

    def rule(self) -> Bandit:
        """Return the rule that chooses learning rates."""
        rule, axis = super().rule(), self.space.axis
        if self.first is None or axis is None:
            return rule
        return dataclasses.replace(rule, first=axis.require(self.first, "first"))


class Zooming(LearningRateTuner):
    """Find the learning rate of a Keras model in a handful of trainings.

    It is used as `keras_tuner.BayesianOptimization` is, and searches the learning rate
    alone, as `keras_lr.ZoomingOracle` says. It watches the loss of each training, so
    that the search learns from those that blew up or never left their start, and stops
    them early. Costs the trainings, and next to nothing besides.

    Args:
        hypermodel: Function that takes hyperparameters and returns a compiled model,
            whose learning rate is the hyperparameter, or a `keras_tuner.HyperModel`.
        objective: Metric to optimize, such as `"val_accuracy"`, or a
            `keras_tuner.Objective`.
        max_trials: Number of trainings.
        hyperparameter: Name of the learning rate, a `Float` of the search space.
        first: Learning rate of the first trial. Defaults to the middle of the axis.
        lipschitz: How much the reward changes over the axis at most.
        noise: Standard deviation of the reward from seed to seed.
        strategy: `"gap"` or `"paper"`.
        radius_scale: Factor of the confidence radius of `"paper"`.
        seed: Seed of the search.
        hyperparameters: Search space, a `keras_tuner.HyperParameters`.
        tune_new_entries: Whether hyperparameters that only `hypermodel` declares belong
            to the search space.
        allow_new_entries: Whether `hypermodel` may declare hyperparameters that are not
            in `hyperparameters`.
        max_retries_per_trial: How often a trial that could not be run is run again.
        max_consecutive_failed_trials: Number of failed trials in a row that ends the
            search.
        search_epochs: Epochs of each trial, in place of those given to `search`. Short
            trials are cheap, and biased: what is best for a few epochs is often higher
            than what is best for many.
        stop_hopeless: Whether to stop a trial whose loss, after a quarter of its
            epochs, is not 2 % below its initial value. A trial whose loss is not finite
            is always stopped.
        checkpoint: Which weights to keep for `get_best_models`: those of `"all"`
            trials, as KerasTuner does, of the `"best"`, or `"none"`.
        **kwargs: More arguments of `keras_tuner.Tuner`: `directory`, `project_name`,
            `overwrite`, `executions_per_trial`, `distribution_strategy`, and others.

    Attributes:
        oracle: The `keras_lr.ZoomingOracle`.

    Raises:
        ValueError: If an argument is wrong, if there is no learning rate in the search
            space, or something else to tune.

    Example:
        >>> import keras, keras_lr, numpy as np
        >>> def build(hp):
        ...     rate = hp.Float("learning_rate", 1e-5, 1.0, sampling="log")
        ...     model = keras.Sequential([keras.layers.Dense(1)])
        ...     model.compile(keras.optimizers.SGD(rate), loss="mse")
        ...     return model
        >>> x = np.linspace(-1, 1, 32)[:, None]
        >>> tuner = keras_lr.Zooming(
        ...     build, "loss", max_trials=3, seed=0, directory=getfixture("tmp_path")
        ... )
        >>> tuner.search(x, 2 * x, epochs=2, verbose=0)
        >>> [f"{arm.learning_rate:.2g}" for arm in tuner.arms()]
        ['0.0032', '0.056', '0.24']

    Notes:
        Sets the global seed of Keras, NumPy and Python before each training. The score
        of a trial is that of its best epoch, as in KerasTuner; a loss that is not
        finite at the end makes it the worst score. The weights of the best epoch are
        written once, when a training ends. Results can be read in the process that
        searched, or in one that opens the same `directory` and `project_name`; not on a
        worker.

    References:
        - See `keras_lr.ZoomingOracle`.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int = 10,
        *,
        hyperparameter: str = "learning_rate",
        first: float | None = None,
        lipschitz: float = 1.0,
        noise: float = 0.01,
        strategy: str = "gap",
        radius_scale: float = 1.0,
        seed: int | None = None,
        hyperparameters: Any = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        **kwargs: Any,
    ) -> None:
        oracle = ZoomingOracle(
            objective,
            max_trials,
            hyperparameter=hyperparameter,
            first=first,
            lipschitz=lipschitz,
            noise=noise,
            strategy=strategy,
            radius_scale=radius_scale,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        super().__init__(oracle, hypermodel, **kwargs)
