"""The policies that have names: the usual schedules, and the methods of `keras_lr`."""

from typing import Any

import keras
import numpy as np

from keras_lr.comparison.policy import Policy, RunContext, Schedule
from keras_lr.comparison.search import bandit_search, schedule_search
from keras_lr.comparison.usage import callback_code, optimizer_code


def default_rate() -> Policy:
    """Return the policy which keeps the rate that the model was compiled with."""
    return Policy("default")


def constant(learning_rate: float) -> Policy:
    """Return the policy of one rate for the whole run."""
    return Policy("constant", learning_rate)


def reduce_on_plateau(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras.callbacks.ReduceLROnPlateau`; `kwargs` are its arguments."""
    arguments = {"factor": 0.5, "patience": 2, **kwargs}
    return Policy(
        "reduce_on_plateau",
        learning_rate,
        callbacks=lambda: [keras.callbacks.ReduceLROnPlateau(**arguments)],
        code=callback_code("keras.callbacks.ReduceLROnPlateau", arguments),
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


def cosine_decay(learning_rate: float | None = None) -> Policy:
    """Return half a cosine from the first rate to 0 over the whole run."""

    def schedule(rate: float, total_steps: int) -> Any:
        return keras.optimizers.schedules.CosineDecay(rate, decay_steps=total_steps)

    return Policy("cosine_decay", learning_rate, schedule)


def cosine_restarts(learning_rate: float | None = None) -> Policy:
    """Return warm restarts whose three cosines, 1 : 2 : 4, fill the run."""

    def schedule(rate: float, total_steps: int) -> Any:
        return keras.optimizers.schedules.CosineDecayRestarts(
            rate, first_decay_steps=max(1, -(-total_steps // 7)), t_mul=2.0
        )

    return Policy("cosine_restarts", learning_rate, schedule)


def lipschitz(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.LipschitzLR`; `kwargs` are its arguments."""
    return _callback("lipschitz", "LipschitzLR", learning_rate, kwargs, 1.0)


def marthe(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.MARTHE`; `kwargs` are its arguments.

    Without validation data it costs a Hessian-vector product on a quarter of the batch,
    three quarters of a gradient evaluation.
    """
    return _callback("marthe", "MARTHE", learning_rate, kwargs, 1.75)


def hypergradient_descent(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.HypergradientDescent`; `kwargs` are its arguments."""
    name = "hypergradient_descent"
    return _callback(name, "HypergradientDescent", learning_rate, kwargs, 1.0)


def rtho(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.RTHO`; `kwargs` are its arguments."""
    return _callback("rtho", "RTHO", learning_rate, kwargs, 1.75)


def walk(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.LearningRateWalk`; `kwargs` are its arguments.

    A trial costs two passes forward, two thirds of a gradient evaluation, and one of a
    slope a gradient.
    """
    from keras_lr.callbacks import LearningRateWalk

    own = LearningRateWalk(**kwargs)
    cost = 1.0 + (2.0 / 3.0 if own.probe_used == "loss" else 1.0) / own.steps_per_trial
    return _callback("walk", "LearningRateWalk", learning_rate, kwargs, cost)


def _callback(
    name: str,
    kind: str,
    learning_rate: float | None,
    kwargs: dict[str, Any],
    cost: float,
) -> Policy:
    def make_callbacks() -> list[keras.callbacks.Callback]:
        from keras_lr import callbacks

        return [getattr(callbacks, kind)(**kwargs)]

    return Policy(
        name,
        learning_rate,
        callbacks=make_callbacks,
        gradient_evaluations_per_step=cost,
        code=callback_code(f"keras_lr.{kind}", kwargs),
    )


def adamo(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.AdaMo` as optimizer; `kwargs` are its arguments."""
    return _optimizer("adamo", "AdaMo", learning_rate, kwargs)


def adaptive_rmsprop(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.AdaptiveRMSprop` as optimizer; `kwargs` are its arguments."""
    return _optimizer("adaptive_rmsprop", "AdaptiveRMSprop", learning_rate, kwargs)


def auto_adam(learning_rate: float | None = None, **kwargs: Any) -> Policy:
    """Return `keras_lr.AutoAdam` as optimizer; `kwargs` are its arguments."""
    return _optimizer("auto_adam", "AutoAdam", learning_rate, kwargs)


def _optimizer(
    name: str, kind: str, learning_rate: float | None, kwargs: dict[str, Any]
) -> Policy:
    def optimizer() -> keras.optimizers.Optimizer:
        from keras_lr import optimizers

        return getattr(optimizers, kind)(**kwargs)

    code = optimizer_code(f"keras_lr.{kind}", kwargs)
    return Policy(name, learning_rate, optimizer=optimizer, code=code)


def zooming(max_trials: int = 7) -> Policy:
    """Return the constant rate that `keras_lr.Zooming` finds in `max_trials` trainings.

    It searches between the ends of `default_rates`, judged by the validation data, and
    a last training at that rate is what counts.
    """
    return _bandit("zooming", "Zooming", max_trials)


def blie(max_trials: int = 7) -> Policy:
    """Return the constant rate that `keras_lr.BLiE` finds, as `zooming` does."""
    return _bandit("blie", "BLiE", max_trials)


def _bandit(name: str, kind: str, max_trials: int) -> Policy:
    def search(build_model: Any, context: RunContext) -> tuple[float, int]:
        from keras_lr import tuners

        tuner_class = getattr(tuners, kind)
        return bandit_search(
            tuner_class, build_model, context, default_rates, max_trials
        )

    return Policy(name, search=search)


def optimize_schedule(outer_steps: int = 30) -> Policy:
    """Return the schedule that `keras_lr.optimize_schedule` finds.

    From the rate of the model, it descends on the loss of the validation data, with
    initial weights of its own, and a last training by what it found is what counts.
    """

    def search(build_model: Any, context: RunContext) -> tuple[Schedule, int]:
        return schedule_search(build_model, context, outer_steps)

    code = (
        "result = keras_lr.optimize_schedule(build_model, train, validation, "
        f"steps=..., outer_steps={outer_steps})\n"
        "model.optimizer.learning_rate = result.schedule"
    )
    return Policy("optimize_schedule", search=search, code=code)


def default_rates(optimizer: keras.optimizers.Optimizer) -> tuple[float, ...]:
    """Return nine constant rates in half decades around the optimizer's usual ones.

    From 1e-3 to 10 for plain SGD, one decade lower with momentum (whose effective
    rate is `1 / (1 - momentum)` times larger at the usual 0.9), and from 1e-5 to 0.1
    for optimizers that normalize the gradient, such as Adam.

    Args:
        optimizer: A Keras optimizer; wrappers for mixed precision are looked into.

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
