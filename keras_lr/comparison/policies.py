"""The registry of policies: the usual schedules, and the methods of `keras_lr`.

A policy is added here and nowhere else: a function, and above it what comparisons, the
command line and the suite of benchmarks have to know of it. They list the names in the
order of this file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import keras
import numpy as np

from keras_lr.callbacks import (
    MARTHE,
    RTHO,
    HypergradientDescent,
    LearningRateWalk,
    LipschitzLR,
)
from keras_lr.comparison.policy import Kind, Policy, RunContext, Schedule
from keras_lr.comparison.search import bandit_search, schedule_search
from keras_lr.comparison.usage import callback_code, optimizer_code
from keras_lr.optimizers import AdaMo, AdaptiveRMSprop, AutoAdam

Make = TypeVar("Make", bound=Callable[..., Policy])


@dataclass(frozen=True)
class NamedPolicy:
    """What is known of a policy that has a name.

    Attributes:
        make: Function which returns the policy. Except for the default and searches,
            its first argument is the rate to start from.
        kind: What the policy is. There is a constant one for each rate of a grid, and
            searches are compared only if they are named.
        optimizers: The optimizers that the policy is meant for; if it brings one, those
            that it takes the place of.
        from_each_rate: Whether a comparison over starting rates includes the policy.
        ignores_start: Whether the policy does not look at the rate that it starts from.
        description: A sentence on what the policy does, for readers of a report.
    """

    make: Callable[..., Policy]
    kind: Kind
    optimizers: tuple[str, ...]
    from_each_rate: bool
    ignores_start: bool
    description: str = ""


NAMED: dict[str, NamedPolicy] = {}


def _named(
    name: str,
    kind: Kind,
    description: str,
    *,
    optimizers: tuple[str, ...] = ("sgd", "momentum", "adam"),
    from_each_rate: bool = False,
    ignores_start: bool = False,
) -> Callable[[Make], Make]:
    """Return a decorator which enters a function into the registry."""

    def enter(make: Make) -> Make:
        NAMED[name] = NamedPolicy(
            make, kind, optimizers, from_each_rate, ignores_start, description
        )
        return make

    return enter


def kind_of(name: str) -> Kind:
    """Return the kind of the policy of this name, `"other"` if it is not ours."""
    return NAMED[name].kind if name in NAMED else "other"


def default_names() -> list[str]:
    """Return the names of all policies except the searches, which cost more."""
    return [name for name, entry in NAMED.items() if entry.kind != "search"]


def named_policies(name: str, rates: Sequence[float]) -> list[Policy]:
    """Return the policy of a name, or of a grid the policy of each rate.

    Args:
        name: A name in the registry.
        rates: Rates of the grid.
    """
    if not isinstance(name, str) or name not in NAMED:
        raise ValueError(
            f"A policy must be a `Policy` or one of {', '.join(sorted(NAMED))}. "
            f"Received: policy={name!r}"
        )
    entry = NAMED[name]
    if entry.kind == "constant":
        return [entry.make(rate) for rate in rates]
    return [entry.make()]


@_named(
    "default",
    "default",
    "The rate that the model was compiled with, for the whole training.",
)
def default_rate() -> Policy:
    """Return the policy which keeps the rate that the model was compiled with."""
    return Policy("default")


@_named(
    "constant",
    "constant",
    "One rate for the whole training, for each rate of a grid.",
    from_each_rate=True,
)
def constant(learning_rate: float) -> Policy:
    """Return the policy of one rate for the whole run."""
    return Policy("constant", learning_rate)


@_named(
    "reduce_on_plateau",
    "baseline",
    "ReduceLROnPlateau of Keras lowers the rate where the validation loss stalls.",
)
def reduce_on_plateau(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras.callbacks.ReduceLROnPlateau`; `kwargs` are its arguments."""
    arguments = {"factor": 0.5, "patience": 2, **kwargs}
    return Policy(
        "reduce_on_plateau",
        learning_rate,
        callbacks=lambda: [keras.callbacks.ReduceLROnPlateau(**arguments)],
        code=callback_code("keras.callbacks.ReduceLROnPlateau", arguments),
    )


@_named(
    "exponential_decay",
    "baseline",
    "An exponential decay from the starting rate over the whole training.",
)
def exponential_decay(
    learning_rate: float | None = None, *, final_fraction: float = 0.01
) -> Policy:
    """Return a smooth exponential decay to `final_fraction` of the first rate."""

    def schedule(rate: float, total_steps: int) -> Any:
        return keras.optimizers.schedules.ExponentialDecay(
            rate, decay_steps=total_steps, decay_rate=final_fraction
        )

    return Policy("exponential_decay", learning_rate, schedule)


@_named(
    "staircase", "baseline", "The starting rate, lowered in a few evenly spaced drops."
)
def staircase(
    learning_rate: float | None = None, *, factor: float = 0.1, drops: int = 2
) -> Policy:
    """Return a rate multiplied by `factor` at `drops` evenly spaced steps."""

    def schedule(rate: float, total_steps: int) -> Any:
        return keras.optimizers.schedules.ExponentialDecay(
            rate,
            decay_steps=max(1, -(-total_steps // (drops + 1))),
            decay_rate=factor,
            staircase=True,
        )

    return Policy("staircase", learning_rate, schedule)


@_named(
    "cosine_decay",
    "baseline",
    "Half a cosine from the starting rate to 0 over the whole training.",
    from_each_rate=True,
)
def cosine_decay(learning_rate: float | None = None) -> Policy:
    """Return half a cosine from the first rate to 0 over the whole run."""
    return Policy("cosine_decay", learning_rate, _cosine)


def _cosine(rate: float, total_steps: int) -> Schedule:
    return keras.optimizers.schedules.CosineDecay(rate, decay_steps=total_steps)


@_named(
    "cosine_restarts",
    "baseline",
    "Three half cosines from the starting rate to 0, each twice as long as the last.",
)
def cosine_restarts(learning_rate: float | None = None) -> Policy:
    """Return warm restarts whose three cosines, 1 : 2 : 4, fill the run."""

    def schedule(rate: float, total_steps: int) -> Any:
        return keras.optimizers.schedules.CosineDecayRestarts(
            rate, first_decay_steps=max(1, -(-total_steps // 7)), t_mul=2.0
        )

    return Policy("cosine_restarts", learning_rate, schedule)


@_named(
    "lipschitz",
    "callback",
    "LipschitzLR sets the inverse of the loss's Lipschitz constant.",
    optimizers=("sgd", "momentum"),
    from_each_rate=True,
    ignores_start=True,
)
def lipschitz(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.LipschitzLR`; `kwargs` are its arguments."""
    return _callback("lipschitz", LipschitzLR, learning_rate, kwargs, cost=1.0)


@_named(
    "marthe",
    "callback",
    "MARTHE follows the derivative of the loss with respect to the rate.",
    from_each_rate=True,
)
def marthe(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.MARTHE`; `kwargs` are its arguments.

    Without validation data it costs a Hessian-vector product on a quarter of the batch,
    three quarters of a gradient evaluation.
    """
    return _callback("marthe", MARTHE, learning_rate, kwargs, cost=1.75)


@_named(
    "hypergradient_descent",
    "callback",
    "HypergradientDescent follows MARTHE's derivative through one step only.",
)
def hypergradient_descent(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.HypergradientDescent`; `kwargs` are its arguments."""
    name = "hypergradient_descent"
    return _callback(name, HypergradientDescent, learning_rate, kwargs, cost=1.0)


@_named(
    "rtho",
    "callback",
    "RTHO follows MARTHE's derivative, and forgets no step.",
)
def rtho(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.RTHO`; `kwargs` are its arguments."""
    return _callback("rtho", RTHO, learning_rate, kwargs, cost=1.75)


@_named(
    "walk",
    "callback",
    "LearningRateWalk raises the rate where that does better on the same batch.",
    from_each_rate=True,
)
def walk(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.LearningRateWalk`; `kwargs` are its arguments.

    A trial costs two passes forward, two thirds of a gradient evaluation, and one of a
    slope a gradient.
    """
    example = LearningRateWalk(**kwargs)
    trial = 2.0 / 3.0 if example.probe_used == "loss" else 1.0
    cost = 1.0 + trial / example.steps_per_trial
    return _callback("walk", LearningRateWalk, learning_rate, kwargs, cost)


def _callback(
    name: str,
    callback: type[keras.callbacks.Callback],
    learning_rate: float | None,
    kwargs: dict[str, Any],
    cost: float,
) -> Policy:
    return Policy(
        name,
        learning_rate,
        callbacks=lambda: [callback(**kwargs)],
        gradient_evaluations_per_step=cost,
        code=callback_code(f"keras_lr.{callback.__name__}", kwargs),
    )


@_named(
    "adamo",
    "optimizer",
    "AdaMo replaces the optimizer; its rate follows from the gradients' sizes.",
    optimizers=("momentum",),
)
def adamo(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.AdaMo` as optimizer; `kwargs` are its arguments."""
    return _optimizer("adamo", AdaMo, learning_rate, kwargs)


@_named(
    "adamo_cosine",
    "optimizer",
    "AdaMo with half a cosine to 0 as its multiple.",
    optimizers=("momentum",),
)
def adamo_cosine(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `adamo` with half a cosine to 0 as its multiple."""
    return _with_cosine(adamo(learning_rate, **kwargs))


@_named(
    "adaptive_rmsprop",
    "optimizer",
    "AdaptiveRMSprop replaces the optimizer; its rate follows from gradients' sizes.",
    optimizers=("adam",),
)
def adaptive_rmsprop(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.AdaptiveRMSprop` as optimizer; `kwargs` are its arguments."""
    return _optimizer("adaptive_rmsprop", AdaptiveRMSprop, learning_rate, kwargs)


@_named(
    "adaptive_rmsprop_cosine",
    "optimizer",
    "AdaptiveRMSprop with half a cosine to 0 as its multiple.",
    optimizers=("adam",),
)
def adaptive_rmsprop_cosine(
    learning_rate: float | None = None, **kwargs: Any
) -> Policy:
    """Return `adaptive_rmsprop` with half a cosine to 0 as its multiple."""
    return _with_cosine(adaptive_rmsprop(learning_rate, **kwargs))


@_named(
    "auto_adam",
    "optimizer",
    "AutoAdam replaces the optimizer; its rate follows from the gradients' sizes.",
    optimizers=("adam",),
)
def auto_adam(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.AutoAdam` as optimizer; `kwargs` are its arguments."""
    return _optimizer("auto_adam", AutoAdam, learning_rate, kwargs)


@_named(
    "auto_adam_cosine",
    "optimizer",
    "AutoAdam with half a cosine to 0 as its multiple.",
    optimizers=("adam",),
)
def auto_adam_cosine(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `auto_adam` with half a cosine to 0 as its multiple."""
    return _with_cosine(auto_adam(learning_rate, **kwargs))


def _with_cosine(policy: Policy) -> Policy:
    return replace(policy, name=f"{policy.name}_cosine", schedule=_cosine)


def _optimizer(
    name: str,
    optimizer: type[keras.optimizers.Optimizer],
    learning_rate: float | None,
    kwargs: dict[str, Any],
) -> Policy:
    return Policy(
        name,
        learning_rate,
        optimizer=lambda: optimizer(**kwargs),
        code=optimizer_code(f"keras_lr.{optimizer.__name__}", kwargs),
    )


@_named(
    "optimize_schedule",
    "search",
    "A schedule that optimize_schedule found in other trainings.",
)
def optimize_schedule(outer_steps: int = 30) -> Policy:
    """Return the schedule that `keras_lr.optimize_schedule` finds.

    From the rate of the model, it descends on the loss of the validation data, with
    other initial weights. What counts is a last training with the resulting schedule.
    """

    def search(build_model: Any, context: RunContext) -> tuple[Schedule, int]:
        return schedule_search(build_model, context, outer_steps)

    code = (
        "result = keras_lr.optimize_schedule(build_model, train, validation, "
        f"steps=..., outer_steps={outer_steps})\n"
        "model.optimizer.learning_rate = result.schedule"
    )
    return Policy("optimize_schedule", search=search, code=code)


@_named("zooming", "search", "A constant rate that Zooming found in other trainings.")
def zooming(max_trials: int = 7) -> Policy:
    """Return the constant rate that `keras_lr.Zooming` finds in `max_trials` trainings.

    It searches between the ends of `default_rates`, by the metric of the validation
    data. What counts is a last training at the rate that it found.
    """
    return _bandit("zooming", "Zooming", max_trials)


@_named("blie", "search", "A constant rate that BLiE found in other trainings.")
def blie(max_trials: int = 7) -> Policy:
    """Return the constant rate that `keras_lr.BLiE` finds, as `zooming` does."""
    return _bandit("blie", "BLiE", max_trials)


def _bandit(name: str, tuner: str, max_trials: int) -> Policy:
    def search(build_model: Any, context: RunContext) -> tuple[float, int]:
        # KerasTuner takes long to load.
        from keras_lr import tuners

        return bandit_search(
            getattr(tuners, tuner), build_model, context, default_rates, max_trials
        )

    return Policy(name, search=search)


def default_rates(optimizer: keras.optimizers.Optimizer) -> tuple[float, ...]:
    """Return nine constant rates in half decades around the optimizer's usual ones.

    From 1e-3 to 10 for plain SGD, one decade lower with momentum (whose effective
    rate is `1 / (1 - momentum)` times larger at the usual 0.9), and from 1e-5 to 0.1
    for optimizers that normalize the gradient, such as Adam.

    Args:
        optimizer: A Keras optimizer, perhaps in a wrapper for mixed precision.

    Example:
        >>> default_rates(keras.optimizers.SGD())[::4]
        (0.001, 0.1, 10.0)
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    first_exponent = -5.0
    if isinstance(inner, keras.optimizers.SGD):
        first_exponent = -4.0 if inner.momentum else -3.0
    exponents = first_exponent + np.arange(9) / 2
    return tuple(float(f"{10.0**exponent:.3g}") for exponent in exponents)
