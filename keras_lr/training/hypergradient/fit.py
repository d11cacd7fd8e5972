"""One fit of `keras_lr.MARTHE`: hypergradients in each step."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_lr.training.fit.online_fit import OnlineFit
from keras_lr.training.fit.online_tuning import LEARNING_RATE, optimizer_with_pure_step
from keras_lr.training.hypergradient.around_step import (
    RULE_COLUMNS,
    OnlineHypergradient,
    hypergradient_of,
)
from keras_lr.training.hypergradient.tuned_hyperparameter import HypergradientRule
from keras_lr.training.hypergradient.validation_loss import ValidationLoss


def columns(names: Sequence[str]) -> tuple[str, ...]:
    """Return what is recorded of each step while these hyperparameters are tuned."""
    own = [*names, *RULE_COLUMNS]
    own += [hypergradient_of(name) for name in names if name != LEARNING_RATE]
    return *own, "loss", "validation_loss"


def hypergradient_fit(
    model: keras.Model,
    rules: Mapping[str, HypergradientRule],
    *,
    owner: str,
    validation_data: Any,
    validation_batch_size: int,
    curvature_batch_size: float | None,
    every: int,
    anneal: float,
    guards: bool,
) -> OnlineFit:
    """Return what lives for one fit.

    Args:
        model: A built, compiled model.
        rules: For each hyperparameter, the learning rate first.
        owner: Name of the callback, for messages.
        validation_data: Of `ValidationLoss`, or `None`.
        validation_batch_size: Of `ValidationLoss`.
        curvature_batch_size: Of `Curvature`.
        every: Steps from one update to the next.
        anneal: Of `OnlineFit`.
        guards: Of `OnlineFit`.

    Raises:
        ValueError: If the optimizer's step cannot be differentiated.
    """
    optimizer_with_pure_step(model, list(rules)[1:], owner)
    validation = None
    if validation_data is not None:
        validation = ValidationLoss(model, validation_data, validation_batch_size)
    online = OnlineHypergradient(
        model,
        rules,
        validation=validation,
        curvature_batch_size=curvature_batch_size,
        every=every,
    )
    return OnlineFit(model, online, columns(list(rules)), anneal=anneal, guards=guards)
