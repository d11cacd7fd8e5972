"""The searchers of HyperOpt, Optuna and KerasTuner, on tables in place of trainings.

They come with their authors' defaults except for what their names say. They minimize
or maximize a score that is always finite: a loss counts at most twice that of no
training, and an accuracy that is not a number is 0. KerasTuner's `Hyperband` trains for
parts of the epochs; its budget is counted in whole trainings.
"""

import functools
import tempfile
from collections.abc import Callable
from typing import Any

import hyperopt
import keras_tuner
import numpy as np
import optuna
from replay import Replay, Search

optuna.logging.set_verbosity(optuna.logging.ERROR)


def tpe_of_hyperopt(startup: int, replay: Replay, budget: int, seed: int) -> None:
    """Search with HyperOpt."""
    sign = -1.0 if replay.table.direction == "max" else 1.0
    hyperopt.fmin(
        lambda position: sign * replay.evaluate(position),
        hyperopt.hp.uniform("position", 0, 1),
        algo=functools.partial(hyperopt.tpe.suggest, n_startup_jobs=startup),
        max_evals=budget,
        rstate=np.random.default_rng(seed),
        show_progressbar=False,
    )


def of_optuna(
    sampler: Callable[..., Any], replay: Replay, budget: int, seed: int
) -> None:
    """Search with a sampler of Optuna."""
    direction = "maximize" if replay.table.direction == "max" else "minimize"
    study = optuna.create_study(direction=direction, sampler=sampler(seed=seed))
    study.optimize(
        lambda trial: replay.evaluate(trial.suggest_float("position", 0, 1)),
        n_trials=budget,
    )


class ReplayTuner(keras_tuner.Tuner):
    """A tuner whose trainings are those of a table."""

    def __init__(self, replay: Replay, oracle: keras_tuner.Oracle, directory: str):
        self._replay = replay
        super().__init__(oracle=oracle, directory=directory, project_name="replay")

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Return the score of a trial."""
        values = trial.hyperparameters.values
        start = values.get("tuner/initial_epoch", 0)
        stop = values.get("tuner/epochs")
        return {"score": self._replay.evaluate(values["position"], start, stop)}


def of_keras_tuner(
    make: Callable[..., Any], replay: Replay, budget: int, seed: int
) -> None:
    """Search with an oracle of KerasTuner."""
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Float("position", 0.0, 1.0)
    oracle = make(
        replay,
        budget,
        objective=keras_tuner.Objective("score", replay.table.direction),
        hyperparameters=hyperparameters,
        # KerasTuner takes a seed of 0 for none, and draws each rate with the next one:
        # searches with seeds beside each other would share rates.
        seed=1000 * seed + 1,
    )
    with tempfile.TemporaryDirectory() as directory:
        ReplayTuner(replay, oracle, directory).search(verbose=0)


def bayesian(_: Replay, budget: int, **options: Any) -> keras_tuner.Oracle:
    """Return the oracle of `keras_tuner.BayesianOptimization`."""
    oracles = keras_tuner.oracles
    return oracles.BayesianOptimizationOracle(max_trials=budget, **options)


def hyperband(replay: Replay, _: int, **options: Any) -> keras_tuner.Oracle:
    """Return the oracle of `keras_tuner.Hyperband`, for more than 20 trainings."""
    return keras_tuner.oracles.HyperbandOracle(
        max_epochs=replay.epochs, hyperband_iterations=2, **options
    )


PEERS: dict[str, Search] = {
    "HyperOpt TPE": functools.partial(tpe_of_hyperopt, 20),
    "HyperOpt TPE, startup 3": functools.partial(tpe_of_hyperopt, 3),
    "Optuna TPE": functools.partial(of_optuna, optuna.samplers.TPESampler),
    "Optuna TPE, startup 3": functools.partial(
        of_optuna, functools.partial(optuna.samplers.TPESampler, n_startup_trials=3)
    ),
    "KerasTuner BayesianOptimization": functools.partial(of_keras_tuner, bayesian),
    "KerasTuner Hyperband": functools.partial(of_keras_tuner, hyperband),
    "Optuna GP, startup 3": functools.partial(
        of_optuna, functools.partial(optuna.samplers.GPSampler, n_startup_trials=3)
    ),
}
