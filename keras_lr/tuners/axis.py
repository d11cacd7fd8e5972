"""The learning rate of a search space, as an axis of unit length."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras_tuner

from keras_lr.rules.bandit import SAME_POSITION


@dataclasses.dataclass(frozen=True)
class Axis:
    """A `Float` hyperparameter as an axis from 0 to 1.

    Attributes:
        hyperparameter: Range of learning rates, with its `sampling`.
    """

    hyperparameter: Any

    @property
    def low(self) -> float:
        """The smallest rate."""
        return float(self.hyperparameter.min_value)

    @property
    def high(self) -> float:
        """The largest rate."""
        return float(self.hyperparameter.max_value)

    @property
    def is_log(self) -> bool:
        """Whether equal distances are equal ratios."""
        return self.hyperparameter.sampling == "log"

    def position(self, learning_rate: float) -> float:
        """Return the position of a rate, from 0 to 1."""
        return min(
            max(float(self.hyperparameter.value_to_prob(learning_rate)), 0.0), 1.0
        )

    def learning_rate(self, position: float) -> float:
        """Return the rate at a position; positions beyond the ends are the ends."""
        position = min(max(position, 0.0), 1.0)
        rate = float(self.hyperparameter.prob_to_value(position))
        return min(max(rate, self.low), self.high)

    def require(self, learning_rate: float, argument: str) -> float:
        """Return the position of a rate that a user gave, or raise."""
        if not self.low <= learning_rate <= self.high:
            raise ValueError(
                f"`{argument}` must be a learning rate of the search space, from "
                f"{self.low:g} to {self.high:g}. Received: {argument}={learning_rate}."
            )
        return self.position(learning_rate)

    def learning_rate_among(self, tried: Sequence[float], position: float) -> float:
        """Return the rate at a position, to the last bit one of those tried there."""
        near = (
            rate
            for rate in tried
            if abs(self.position(rate) - position) <= SAME_POSITION
        )
        return next(near, self.learning_rate(position))


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """What is active of a search space, for a search over the learning rate alone.

    Attributes:
        learning_rate: The hyperparameter, `None` if it is not there, or not active.
        others: Values of all others by name: fixed ones, and defaults.
        tunable: Names of the others that are not fixed.
    """

    learning_rate: Any
    others: dict[str, Any]
    tunable: tuple[str, ...]

    @property
    def axis(self) -> Axis | None:
        """The axis of the learning rate, `None` if there is none, or no range."""
        rate = self.learning_rate
        if rate is None or _problem_with_rate(rate, rate.name) is not None:
            return None
        return Axis(rate)


def read_space(space: Any, name: str) -> SearchSpace:
    """Return the active part of a search space.

    What a conditional hyperparameter depends on must be fixed for it to be active.

    Args:
        space: A `keras_tuner.HyperParameters`.
        name: Name of the learning rate.
    """
    merged = keras_tuner.HyperParameters()
    learning_rate, tunable = None, []
    for hyperparameter in space.space:
        # Of two with one name and no condition between them, the first one counts.
        merged.merge([hyperparameter], overwrite=False)
        if not merged.is_active(hyperparameter):
            continue
        if hyperparameter.name == name:
            learning_rate = learning_rate or hyperparameter
        elif not any(_is_fixed(twin) for twin in _active(merged, hyperparameter.name)):
            tunable.append(hyperparameter.name)
    others = {key: value for key, value in merged.values.items() if key != name}
    return SearchSpace(learning_rate, others, tuple(dict.fromkeys(tunable)))


def _active(space: Any, name: str) -> list[Any]:
    return [each for each in space.space if each.name == name and space.is_active(each)]


def _is_fixed(hyperparameter: Any) -> bool:
    types = keras_tuner.engine.hyperparameters
    if isinstance(hyperparameter, types.Choice):
        return len(hyperparameter.values) == 1
    if isinstance(hyperparameter, types.Float | types.Int):
        return hyperparameter.min_value == hyperparameter.max_value
    return isinstance(hyperparameter, types.Fixed)


def problem_with(space: SearchSpace, name: str) -> str | None:
    """Return what is wrong with a search space, `None` if it can be searched.

    A learning rate that is not there is no problem yet: it may still be declared.
    """
    return _problem_with_rate(space.learning_rate, name) or _problem_with_others(
        space, name
    )


def _problem_with_rate(rate: Any, name: str) -> str | None:
    is_float = isinstance(rate, keras_tuner.engine.hyperparameters.Float)
    if rate is not None and (not is_float or rate.step or _is_fixed(rate)):
        return (
            f"The hyperparameter `{name}` must be a range of floats without steps. "
            f"Received: {rate!r}. Declare it with "
            f'`hp.Float("{name}", 1e-5, 1.0, sampling="log")`.'
        )
    return None


def _problem_with_others(space: SearchSpace, name: str) -> str | None:
    if not space.tunable:
        return None
    values = {key: space.others[key] for key in space.tunable}
    given = ", ".join(f"{key}={value!r}" for key, value in values.items())
    rate = _likely_rate(space)
    renaming = ""
    if rate is not None:
        del values[rate]
        renaming = f" If {rate!r} is the learning rate, pass `hyperparameter={rate!r}`."
    fixing = ""
    if values:
        fixed = "; ".join(f"hp.Fixed({key!r}, {values[key]!r})" for key in values)
        fixing = (
            f" Fix with `hp = keras_tuner.HyperParameters(); {fixed}` and pass "
            "`hyperparameters=hp`, or declare only the learning rate in `hp` and pass "
            "`tune_new_entries=False` too, which leaves the others at their defaults."
        )
    return (
        f"The search is over the learning rate alone, named {name!r}, so every other "
        f"hyperparameter must be fixed. Received: {given}.{renaming}{fixing}"
    )


def _likely_rate(space: SearchSpace) -> str | None:
    """Return the hyperparameter that may be the learning rate if none has its name."""
    if space.learning_rate is not None:
        return None
    floats = (key for key in space.tunable if isinstance(space.others[key], float))
    return next(floats, None)


def missing(space: Any, name: str) -> str:
    """Return what to say if there is no learning rate in a `HyperParameters`."""
    names = [each.name for each in space.space]
    return (
        f"The search needs a hyperparameter named {name!r} that is active. "
        f"Received: hyperparameters {names}. Declare it in the model's function, "
        f'`hp.Float("{name}", 1e-5, 1.0, sampling="log")`, give the optimizer its '
        "value, or pass the name that it has as `hyperparameter`."
    )
