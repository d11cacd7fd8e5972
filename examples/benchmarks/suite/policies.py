"""The policies of the suite, by the name in its table.

A method in the registry, `keras_lr.comparison.policies`, is in the suite too. Arguments
can also be given on the command line, as in `lipschitz:bound='strict',update='batch'`.
"""

import ast
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from search import SEARCHES

from keras_lr._keras import set_learning_rate
from keras_lr.comparison.policies import NAMED, Policy, RunContext


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
    """Return the cosine decay as a callback, so that the model is not traced again."""

    def callbacks(context: RunContext) -> list[keras.callbacks.Callback]:
        phase = np.pi * np.arange(context.total_steps) / context.total_steps
        return [_Rates(learning_rate * (1 + np.cos(phase)) / 2)]

    return Policy("cosine_decay", learning_rate, callbacks=callbacks)


BASELINES = ("default", "constant", "cosine_decay", "reduce_on_plateau")
"""Run by default; they leave the training step alone, so that they share its trace."""
METHODS = {
    name: entry
    for name, entry in NAMED.items()
    if entry.kind in ("callback", "optimizer", "search") and name not in SEARCHES
}
"""Every method that the package has a policy of, except those in `search`."""
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "lipschitz": {
        "lipschitz_epoch": {"update": "epoch"},
        "lipschitz_paper": {
            "bound": "paper",
            "update": "epoch",
            "factor": 1.0,
            "memory": 0.0,
            "anneal": 0.0,
        },
    },
    "marthe": {
        "marthe_constant_discount": {
            "update": "additive",
            "discount": 0.99,
            "anneal": 0.0,
            "curvature_batch_size": None,
        },
        "marthe_paper": {
            "update": "additive",
            "discount": "adaptive",
            "hyper_learning_rate": 0.0,
            "hyper_learning_rate_adaptation": 1e-6,
            "anneal": 0.0,
            "curvature_batch_size": None,
        },
    },
    "adamo": {"adamo_paper": {"variant": "paper"}},
    "adaptive_rmsprop": {"adaptive_rmsprop_paper": {"variant": "paper"}},
    "auto_adam": {"auto_adam_paper": {"variant": "paper"}},
}
"""Other arguments of a method, as a policy with a name."""
FROM_EACH_RATE = tuple(name for name in BASELINES if NAMED[name].from_each_rate)
"""Policies which start from each of the nine rates; the others from Keras's."""
FROM_STARTS = {
    name: entry.optimizers for name, entry in METHODS.items() if entry.from_each_rate
}
"""Policies which start from other rates than Keras's too, and with what optimizers."""
IGNORES_START = tuple(name for name in FROM_STARTS if NAMED[name].ignores_start)
"""The ones of them that are shown to ignore it by their lowest and highest start."""


def _policies() -> dict[str, Callable[..., Policy]]:
    """Return the functions that make policies, each method before its variants."""
    makers = {name: NAMED[name].make for name in BASELINES}
    makers["cosine_decay"] = cosine_decay
    for name, entry in METHODS.items():
        makers[name] = entry.make
        for variant, arguments in VARIANTS.get(name, {}).items():
            makers[variant] = functools.partial(entry.make, **arguments)
    return makers


def _only_with() -> dict[str, tuple[str, ...]]:
    """Return the optimizers of each variant, and of policies that bring their own."""
    limited = {
        name: entry.optimizers
        for name, entry in METHODS.items()
        if entry.kind == "optimizer"
    }
    for name, variants in VARIANTS.items():
        limited |= dict.fromkeys(variants, NAMED[name].optimizers)
    return limited


POLICIES = _policies()
ONLY_WITH = _only_with()
"""With which optimizers a policy is compared, if not with all."""


def make_policy(
    spec: str,
    learning_rate: float | None,
    makers: Mapping[str, Callable[..., Policy]] = POLICIES,
) -> Policy:
    """Return the policy of `name` or `name:argument=value,...`, named `spec`."""
    name, _, arguments = spec.partition(":")
    if name not in makers:
        raise ValueError(
            f"A policy must be one of {', '.join(makers)}. Received: {name}"
        )
    keywords = _keywords(arguments)
    if learning_rate is not None:
        keywords["learning_rate"] = learning_rate
    return dataclasses.replace(makers[name](**keywords), name=spec)


def _keywords(text: str) -> dict[str, Any]:
    call = ast.parse(f"f({text})", mode="eval").body
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError(f"Arguments must be `name=value,...`. Received: {text}")
    return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
