"""The baselines of the long suite as arrays of learning rates, and the methods."""

import math
from collections.abc import Callable

import numpy as np
from long_problems import LongProblem
from policies import POLICIES, make_policy

from keras_lr.comparison.policies import NAMED, Policy

WARM_UP = 0.05
"""Part of the training in which the rate rises."""


def constant(steps: int) -> np.ndarray:
    """Return a rate that stays."""
    return np.ones(steps)


def cosine_decay(steps: int) -> np.ndarray:
    """Return half a cosine to 0."""
    return (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2


def linear_decay(steps: int) -> np.ndarray:
    """Return a straight line to 0."""
    return 1 - np.arange(steps) / steps


def warmup_cosine(steps: int) -> np.ndarray:
    """Return a straight line to the highest rate, and half a cosine from there."""
    rising = math.ceil(WARM_UP * steps)
    return np.concatenate(
        [np.arange(1, rising + 1) / rising, cosine_decay(steps - rising)]
    )


SHAPES: dict[str, Callable[[int], np.ndarray]] = {
    "default": constant,
    "constant": constant,
    "cosine_decay": cosine_decay,
    "linear_decay": linear_decay,
    "warmup_cosine": warmup_cosine,
    "schedule_free": constant,
}
"""The rates of each baseline, for a highest rate of 1."""
GRIDS = tuple(name for name in SHAPES if name != "default")
"""Baselines that are run at nine rates."""
WITH_DEFAULT = ("default", "schedule_free")
"""Baselines that are run at the default rate of their optimizer."""
ADAM_LIKE = ("adam", "adamw")
METHODS = {name: entry.make for name, entry in NAMED.items()} | POLICIES
"""What else can be run: the registry, and the variants of the suite."""


def is_meant_for(policy: str, problem: str, optimizer: str) -> bool:
    """Return whether a policy is run on a problem with an optimizer."""
    if policy == "warmup_cosine":
        return problem.startswith("transformer")
    if policy == "schedule_free":
        return optimizer in ADAM_LIKE
    name = policy.partition(":")[0]
    if name in NAMED and NAMED[name].kind == "optimizer":
        like = "adam" if optimizer in ADAM_LIKE else optimizer
        return like in NAMED[name].optimizers
    return True


def method(spec: str, problem: LongProblem, learning_rate: float | None) -> Policy:
    """Return a method of the registry.

    One that brings its optimizer gets the weight decay of the problem.

    Args:
        spec: `name` or `name:argument=value,...`.
        problem: The problem that is trained.
        learning_rate: The rate to start from, `None` for that of the optimizer.
    """
    name, _, arguments = spec.partition(":")
    decay = problem.weight_decay
    if decay is None or name not in NAMED or NAMED[name].kind != "optimizer":
        return make_policy(spec, learning_rate, METHODS)
    words = f"{arguments}," if arguments else ""
    return make_policy(f"{name}:{words}weight_decay={decay}", learning_rate, METHODS)
