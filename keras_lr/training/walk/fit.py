"""One fit of `keras_lr.LearningRateWalk`: trials in each step."""

from collections.abc import Mapping

import keras

from keras_lr.training.fit.online_fit import OnlineFit
from keras_lr.training.fit.online_tuning import optimizer_with_pure_step
from keras_lr.training.walk.around_step import OnlineWalk, columns
from keras_lr.training.walk.walked_hyperparameter import WalkRule


def walk_fit(
    model: keras.Model,
    rules: Mapping[str, WalkRule],
    *,
    owner: str,
    probe: str,
    every: int,
    smoothing: float,
    anneal: float,
    guards: bool,
) -> OnlineFit:
    """Return what lives for one fit.

    Args:
        model: A built, compiled model.
        rules: For each hyperparameter, the learning rate first.
        owner: Name of the callback, for messages.
        probe: Of `OnlineWalk`.
        every: Of `OnlineWalk`.
        smoothing: Of `OnlineWalk`.
        anneal: Of `OnlineFit`.
        guards: Of `OnlineFit`.

    Raises:
        ValueError: If the optimizer's step cannot be tried.
    """
    optimizer_with_pure_step(model, list(rules)[1:], owner)
    online = OnlineWalk(
        model,
        rules,
        probe=probe,
        every=every,
        smoothing=smoothing,
        anneals=anneal > 0.0,
    )
    names = columns(list(rules), probe)
    return OnlineFit(model, online, names, anneal=anneal, guards=guards)
