"""What the files of a search can hold: KerasTuner itself believes what it reads.

A file with one wrong byte is often still JSON, with another number or name in it. The
search would end in an exception at some later place, or recommend that number.
"""

import datetime
import math
from typing import Any

import keras_tuner
from keras_tuner.src.engine import trial as trial_module

# Rounding of a value at the end of its range.
_ROUNDING = 1e-9
_STATUSES = {
    value
    for name, value in vars(trial_module.TrialStatus).items()
    if name.isupper() and isinstance(value, str)
}


def require_trial(state: Any, trial_id: str) -> None:
    """Raise an error unless this is what a trial was saved as.

    Args:
        state: Content of the file.
        trial_id: Name of the trial whose folder the file is in.
    """
    trial = trial_module.Trial.from_state(state)
    _require(trial.trial_id == trial_id, "trial_id", trial.trial_id)
    _require_values(trial.hyperparameters, trial.hyperparameters.values)
    _require(trial.status in _STATUSES, "status", trial.status)
    _require(isinstance(trial.message, str | None), "message", trial.message)
    # A score that is not a number is saved as the worst infinite one.
    is_score = trial.score is None or _is_ordered(trial.score)
    _require(is_score, "score", trial.score)
    is_step = trial.best_step is None or _is_finite(trial.best_step)
    _require(is_step, "best_step", trial.best_step)
    for name, history in trial.metrics.metrics.items():
        for each in history.get_history():
            _require(_is_finite(each.step), f"step of {name}", each.step)
            are_numbers = bool(each.value) and all(map(_is_ordered, each.value))
            _require(are_numbers, name, each.value)


def require_oracle(state: Any, journal: str) -> None:
    """Raise an error unless this is what an oracle was saved as.

    Args:
        state: Content of the file.
        journal: Key under which the values of all trials are, which 0.1.0 may lack.
    """
    space = keras_tuner.HyperParameters.from_config(state["hyperparameters"])
    _require_values(space, space.values)
    for key in ("start_order", "end_order", "retry_queue", "tried_so_far"):
        are_names = isinstance(state[key], list) and all(map(_is_text, state[key]))
        _require(are_names, key, state[key])
    for key in ("ongoing_trials", "id_to_hash"):
        _require(all(map(_is_text, state[key].values())), key, state[key])
    _require(all(map(_is_finite, state["run_times"].values())), "run_times", state)
    for key in ("seed", "seed_state"):
        is_seed = state[key] is None or _is_count(state[key])
        _require(is_seed, key, state[key])
    display = state["display"]
    start = display["search_start"]
    times = [*display["trial_start"].values(), *([] if start is None else [start])]
    for time in times:
        # Raises unless it is one.
        datetime.datetime.fromisoformat(time)
    numbers = display["trial_number"].values()
    _require(all(map(_is_count, numbers)), "trial_number", display)
    for values in state.get(journal, {}).values():
        _require_values(space, values)


def _require_values(space: Any, values: Any) -> None:
    """Raise unless all numbers are finite, and in the range of their space."""
    for name, value in values.items():
        is_value = isinstance(value, str | bool) or _is_finite(value)
        _require(_is_text(name) and is_value, name, value)
    for each in space.space:
        low, high = (getattr(each, name, None) for name in ("min_value", "max_value"))
        if low is None or high is None:
            continue
        is_range = _is_finite(low) and _is_finite(high) and low <= high
        if each.sampling in ("log", "reverse_log"):
            is_range = is_range and low > 0.0
        _require(is_range, f"range of {each.name}", [low, high])
        value = values.get(each.name, low)
        _require(_is_finite(value), each.name, value)
        slack = _ROUNDING * max(abs(low), abs(high))
        _require(low - slack <= value <= high + slack, each.name, value)


def _require(condition: bool, name: str, value: Any) -> None:
    if not condition:
        raise ValueError(f"{name} cannot be {str(value)[:60]!r}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_ordered(value: Any) -> bool:
    """Return whether this is a number, perhaps an infinite one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and not math.isnan(value)


def _is_finite(value: Any) -> bool:
    return _is_ordered(value) and abs(value) < math.inf


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
