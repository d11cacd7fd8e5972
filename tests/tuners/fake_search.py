"""Searches whose trainings are a formula: they take no time."""

import math

import keras_tuner

import keras_lr

LOW, HIGH, BEST = 1e-5, 1.0, 0.01


def space(sampling: str = "log"):
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Float("learning_rate", LOW, HIGH, sampling=sampling)
    return hyperparameters


def accuracy(rate: float) -> float:
    """Fall by 0.2 for each factor of ten away from the best rate."""
    return 0.9 - 0.2 * abs(math.log10(rate / BEST))


class _FakeTrainings:
    """`results` maps the learning rate to what a training returns, or raises."""

    def __init__(self, results=accuracy, **kwargs):
        self.results = results
        self.rates = []
        settings = {
            "objective": keras_tuner.Objective("score", "max"),
            "max_trials": 5,
            "seed": 0,
            "hyperparameters": space(),
        }
        super().__init__(**(settings | kwargs))

    def run_trial(self, trial, *args, **kwargs):
        rate = trial.hyperparameters.get("learning_rate")
        self.rates.append(rate)
        result = self.results(rate)
        name = self.oracle.objective.name
        return result if isinstance(result, dict) else {name: result}


class FakeZooming(_FakeTrainings, keras_lr.Zooming):
    """A search whose trainings are a function of the rate."""


class FakeBLiE(_FakeTrainings, keras_lr.BLiE):
    """The same by BLiE."""


def oracle(cls=keras_lr.ZoomingOracle, **kwargs):
    """Return an oracle that is silent, and has nowhere to write to."""
    settings = {
        "objective": keras_tuner.Objective("score", "max"),
        "max_trials": 5,
        "seed": 0,
        "hyperparameters": space(),
    }
    made = cls(**(settings | kwargs))
    made.verbose = 0
    return made


def play(made, results=accuracy, trials=None, tuner_id="tuner0"):
    """Run trials as a tuner does, and return their learning rates."""
    rates = []
    while trials is None or len(rates) < trials:
        trial = made.create_trial(tuner_id)
        if trial.status == "STOPPED":
            break
        rate = trial.hyperparameters.values["learning_rate"]
        rates.append(rate)
        report(made, trial, results(rate))
    return rates


def report(made, trial, result):
    """End a trial with its metrics, or with the failure that an exception is."""
    if isinstance(result, Exception):
        trial.status, trial.message = "INVALID", repr(result)
    else:
        metrics = result if isinstance(result, dict) else {"score": result}
        made.update_trial(trial.trial_id, metrics)
        trial.status = "COMPLETED"
    made.end_trial(trial)
