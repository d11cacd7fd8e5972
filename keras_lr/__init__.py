"""Learning rates for Keras from theory and evidence instead of by hand."""

import importlib
import typing

from keras_lr.callbacks.hypergradient_descent import HypergradientDescent
from keras_lr.callbacks.lipschitz import LipschitzLR
from keras_lr.callbacks.marthe import MARTHE
from keras_lr.callbacks.recorder import LearningRateRecorder
from keras_lr.callbacks.rtho import RTHO
from keras_lr.callbacks.walk import LearningRateWalk
from keras_lr.comparison.compare import compare_policies
from keras_lr.optimizers import AdaMo, AdaptiveRMSprop, AutoAdam
from keras_lr.plotting import plot_arms, plot_learning_rate
from keras_lr.range_test import LearningRateSuggestion, find_learning_rate
from keras_lr.rules.regression_lipschitz import (
    estimate_weight_bound,
    linear_regression_lipschitz,
    logistic_regression_lipschitz,
    softmax_regression_lipschitz,
)
from keras_lr.schedules import OptimizedSchedule, TabulatedSchedule, optimize_schedule
from keras_lr.training.lipschitz.lipschitz_constant import lipschitz_constant

if typing.TYPE_CHECKING:
    from keras_lr.tuners.blie import BLiE, BLiEOracle
    from keras_lr.tuners.zooming import Zooming, ZoomingOracle

__version__ = "0.1.0"

__all__ = [
    "MARTHE",
    "RTHO",
    "AdaMo",
    "AdaptiveRMSprop",
    "AutoAdam",
    "BLiE",
    "BLiEOracle",
    "HypergradientDescent",
    "LearningRateRecorder",
    "LearningRateSuggestion",
    "LearningRateWalk",
    "LipschitzLR",
    "OptimizedSchedule",
    "TabulatedSchedule",
    "Zooming",
    "ZoomingOracle",
    "compare_policies",
    "estimate_weight_bound",
    "find_learning_rate",
    "linear_regression_lipschitz",
    "lipschitz_constant",
    "logistic_regression_lipschitz",
    "optimize_schedule",
    "plot_arms",
    "plot_learning_rate",
    "softmax_regression_lipschitz",
]


_SUBMODULES = ("callbacks", "comparison", "optimizers", "schedules", "tuners")


def __dir__() -> list[str]:
    # What is loaded late is there too, and what is internal is not.
    return sorted([*__all__, *_SUBMODULES, "__version__"])


def __getattr__(name: str) -> typing.Any:
    # KerasTuner takes long to load, and only the searches need it.
    if name == "tuners":
        return importlib.import_module("keras_lr.tuners")
    if name in ("BLiE", "BLiEOracle", "Zooming", "ZoomingOracle"):
        return getattr(importlib.import_module("keras_lr.tuners"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
