"""The policies of the suite, by the name in its table.

A later method adds one line to `POLICIES`; arguments of a factory can also be given
on the command line, as in `lipschitz:bound='strict',update='batch'`.
"""

import ast
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_lr._keras import set_learning_rate
from keras_lr.comparison import policies
from keras_lr.comparison.policies import Policy, RunContext


class _Rates(keras.callbacks.Callback):
    """Set one rate a step from a list."""

    def __init__(self, rates: np.ndarray) -> None:
        super().__init__()
        self.rates = rates
        self.step = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        set_learning_rate(self.model.optimizer, self.rates[self.step])
        self.step += 1


def cosine_decay(learning_rate: float) -> Policy:
    """Return `policies.cosine_decay` as a callback, so that the model is not traced."""

    def callbacks(context: RunContext) -> list[keras.callbacks.Callback]:
        phase = np.pi * np.arange(context.total_steps) / context.total_steps
        return [_Rates(learning_rate * (1 + np.cos(phase)) / 2)]

    return Policy("cosine_decay", learning_rate, callbacks=callbacks)


POLICIES: dict[str, Callable[..., Policy]] = {
    "default": policies.default_rate,
    "constant": policies.constant,
    "cosine_decay": cosine_decay,
    "reduce_on_plateau": policies.reduce_on_plateau,
    "lipschitz": policies.lipschitz,
    "lipschitz_epoch": functools.partial(policies.lipschitz, update="epoch"),
    "lipschitz_paper": functools.partial(
        policies.lipschitz,
        bound="paper",
        update="epoch",
        factor=1.0,
        memory=0.0,
        anneal=0.0,
    ),
    "marthe": policies.marthe,
    "marthe_constant_discount": functools.partial(
        policies.marthe,
        update="additive",
        discount=0.99,
        anneal=0.0,
        curvature_batch_size=None,
    ),
    "marthe_paper": functools.partial(
        policies.marthe,
        update="additive",
        discount="adaptive",
        hyper_learning_rate=0.0,
        hyper_learning_rate_adaptation=1e-6,
        anneal=0.0,
        curvature_batch_size=None,
    ),
    "hypergradient_descent": policies.hypergradient_descent,
    "rtho": policies.rtho,
    "walk": policies.walk,
    "adamo": policies.adamo,
    "adamo_paper": functools.partial(policies.adamo, variant="paper"),
    "adaptive_rmsprop": policies.adaptive_rmsprop,
    "adaptive_rmsprop_paper": functools.partial(
        policies.adaptive_rmsprop, variant="paper"
    ),
    "auto_adam": policies.auto_adam,
    "auto_adam_paper": functools.partial(policies.auto_adam, variant="paper"),
    "optimize_schedule": policies.optimize_schedule,
}
BASELINES = ("default", "reduce_on_plateau", "constant", "cosine_decay")
"""Run by default; they leave the training step alone, so that they share its trace."""
FROM_EACH_RATE = ("constant", "cosine_decay")
"""Policies which start from each of the nine rates; the others from Keras's own."""

ONLY_WITH = {
    "lipschitz_epoch": ("sgd", "momentum"),
    "lipschitz_paper": ("sgd", "momentum"),
    "adamo": ("momentum",),
    "adamo_paper": ("momentum",),
    "adaptive_rmsprop": ("adam",),
    "adaptive_rmsprop_paper": ("adam",),
    "auto_adam": ("adam",),
    "auto_adam_paper": ("adam",),
}
"""With which optimizers a policy is compared, if not with all."""
FROM_STARTS = {
    "lipschitz": ("sgd", "momentum"),
    "marthe": ("sgd", "momentum", "adam"),
    "walk": ("sgd", "momentum", "adam"),
}
"""Policies which start from other rates than Keras's too, and with what optimizers."""
LOOKS_AT_NO_RATE = ("lipschitz",)
"""Those of them that are shown to by their lowest and their highest start."""


def make_policy(spec: str, learning_rate: float | None) -> Policy:
    """Return the policy of `name` or `name:argument=value,...`, named `spec`."""
    name, _, arguments = spec.partition(":")
    if name not in POLICIES:
        raise ValueError(
            f"A policy must be one of {', '.join(POLICIES)}. Received: {name}"
        )
    keywords = _keywords(arguments)
    if learning_rate is not None:
        keywords["learning_rate"] = learning_rate
    return dataclasses.replace(POLICIES[name](**keywords), name=spec)


def _keywords(text: str) -> dict[str, Any]:
    call = ast.parse(f"f({text})", mode="eval").body
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError(f"Arguments must be `name=value,...`. Received: {text}")
    return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
