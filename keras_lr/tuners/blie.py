"""`BLiEOracle` and `BLiE`: batched Lipschitz narrowing over learning rates."""

import functools
from typing import Any

from keras_lr.rules import blie as rules
from keras_lr.tuners.oracle import LearningRateOracle
from keras_lr.tuners.tuner import LearningRateTuner


class BLiEOracle(LearningRateOracle):
    """Choose learning rates in batches that narrow, for any `keras_tuner.Tuner`.

    All rates of a batch can be trained in parallel: their choice does not depend on one
    another. With one worker, `keras_lr.ZoomingOracle` needs fewer trainings.

    Args:
        objective: Metric to optimize, such as `"val_accuracy"`, or a
            `keras_tuner.Objective`.
        max_trials: Number of trainings, T in the paper.
        hyperparameter: Name of the learning rate, a `Float` of the search space.
        lipschitz: How much the reward, from 0 to 1, changes over the axis at most.
        noise: About the standard deviation of the reward from seed to seed.
        strategy: `"thirds"`, or `"paper"` for the paper's edge lengths and elimination.
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
        >>> oracle = keras_lr.BLiEOracle(max_trials=9, hyperparameters=space)
        >>> oracle.verbose = 0
        >>> Tuner(oracle, directory=getfixture("tmp_path")).search()
        >>> round(oracle.best_arm().learning_rate, 2)
        0.02

    Notes:
        `keras_lr.rules.blie` has the algorithm and its deviations from the paper. The
        notes of `keras_lr.ZoomingOracle` on trials and scores apply.

    References:
        - BLiE: Feng, Luo, Huang and Wang, [A Lipschitz Bandits Approach for Continuous
          Hyperparameter Optimization](https://arxiv.org/abs/2302.01539), 2023.
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int = 10,
        *,
        hyperparameter: str = "learning_rate",
        lipschitz: float = 1.0,
        noise: float = 0.01,
        strategy: str = "thirds",
        seed: int | None = None,
        hyperparameters: Any = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
    ) -> None:
        super().__init__(
            functools.partial(
                rules.BLiE, lipschitz=lipschitz, noise=noise, strategy=strategy
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


class BLiE(LearningRateTuner):
    """Find the learning rate of a Keras model in batches of parallel trainings.

    It is used as `keras_tuner.BayesianOptimization` is, and searches the learning rate
    alone, as `keras_lr.BLiEOracle` says. The rest is as in `keras_lr.Zooming`.

    Args:
        hypermodel: Function that takes hyperparameters and returns a compiled model,
            whose learning rate is the hyperparameter, or a `keras_tuner.HyperModel`.
        objective: Metric to optimize, such as `"val_accuracy"`, or a
            `keras_tuner.Objective`.
        max_trials: Number of trainings.
        hyperparameter: Name of the learning rate, a `Float` of the search space.
        lipschitz: How much the reward changes over the axis at most.
        noise: Standard deviation of the reward from seed to seed.
        strategy: `"thirds"` or `"paper"`.
        seed: Seed of the search.
        hyperparameters: Search space, a `keras_tuner.HyperParameters`.
        tune_new_entries: Whether hyperparameters that only `hypermodel` declares belong
            to the search space.
        allow_new_entries: Whether `hypermodel` may declare hyperparameters that are not
            in `hyperparameters`.
        max_retries_per_trial: How often a trial that could not be run is run again.
        max_consecutive_failed_trials: Number of failed trials in a row that ends the
            search.
        search_epochs: Epochs of each trial, in place of those given to `search`.
        stop_hopeless: Whether to stop trials whose loss does not move.
        checkpoint: Which weights to keep: `"all"`, `"best"` or `"none"`.
        **kwargs: More arguments of `keras_tuner.Tuner`.

    Attributes:
        oracle: The `keras_lr.BLiEOracle`.

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
        >>> tuner = keras_lr.BLiE(
        ...     build, "loss", max_trials=3, seed=0, directory=getfixture("tmp_path")
        ... )
        >>> tuner.search(x, 2 * x, epochs=2, verbose=0)
        >>> [f"{arm.learning_rate:.2g}" for arm in tuner.arms()]
        ['6.8e-05', '0.0032', '0.15']

    Notes:
        The notes of `keras_lr.Zooming` apply.

    References:
        - See `keras_lr.BLiEOracle`.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int = 10,
        *,
        hyperparameter: str = "learning_rate",
        lipschitz: float = 1.0,
        noise: float = 0.01,
        strategy: str = "thirds",
        seed: int | None = None,
        hyperparameters: Any = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        **kwargs: Any,
    ) -> None:
        oracle = BLiEOracle(
            objective,
            max_trials,
            hyperparameter=hyperparameter,
            lipschitz=lipschitz,
            noise=noise,
            strategy=strategy,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        super().__init__(oracle, hypermodel, **kwargs)
