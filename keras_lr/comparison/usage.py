"""The line of code that does what a policy does, to paste into another training."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_lr.comparison.policy import Policy


def callback_code(name: str, arguments: Mapping[str, Any]) -> str:
    """Return the call of `fit` with a callback."""
    return f"model.fit(..., callbacks=[{name}({_keywords(arguments)})])"


def optimizer_code(name: str, arguments: Mapping[str, Any]) -> str:
    """Return the call of `compile` with an optimizer."""
    return f"model.compile({name}({_keywords(arguments)}), ...)"


def policy_code(
    policy: Policy,
    learning_rate: float | None,
    schedule: keras.optimizers.schedules.LearningRateSchedule | None,
) -> str:
    """Return the lines for a policy, empty if they are not known.

    Args:
        policy: The policy.
        learning_rate: The rate that the policy set, or `None`.
        schedule: The schedule that the policy set, or `None`.
    """
    is_known = policy.code or not (policy.callbacks or policy.optimizer)
    if not is_known:
        return ""
    value = None if learning_rate is None else f"{learning_rate:.3g}"
    if schedule is not None:
        value = _schedule_code(schedule)
    rate = "" if value is None else f"model.optimizer.learning_rate = {value}"
    # Another optimizer has to be there before it is given a rate.
    lines = [policy.code, rate] if policy.optimizer else [rate, policy.code]
    return "\n".join(filter(None, lines))


def _schedule_code(schedule: keras.optimizers.schedules.LearningRateSchedule) -> str:
    arguments = {k: v for k, v in schedule.get_config().items() if k != "name"}
    return (
        f"keras.optimizers.schedules.{type(schedule).__name__}({_keywords(arguments)})"
    )


def _keywords(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_literal(value)}" for key, value in arguments.items())


def _literal(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
