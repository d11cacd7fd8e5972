"""What one training of a comparison did."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self, get_args

from keras_lr.comparison.policy import Kind


@dataclass(frozen=True)
class RunRecord:
    """What one training did; JSON-able.

    Attributes:
        policy: Label of the policy.
        seed: Seed of the run.
        monitor: Name of the metric in the logs, such as `"val_accuracy"`.
        mode: `"max"` or `"min"`.
        logs: One list per key of Keras's epoch logs; NaN for what was measured on the
            validation data with weights that are not finite.
        learning_rates: The rate of each epoch's last step, the effective one if the
            optimizer has one.
        initial_loss: Training loss at the initial weights.
        diverged: Whether the loss or a weight is not finite, or the last training loss
            is above `initial_loss`, and without dropout too.
        seconds: Wall time of `fit`.
        steps: Number of batches trained on.
        gradient_evaluations: `steps` times the policy's cost of a step, and the steps
            of a search.
        error: Message of the exception that ended the run, or `None`.
        start: The rate that the policy starts from, `None` if it does not say.
        code: The lines that do the same in another training, or empty.
        kind: Kind of the policy.
        validation_rows: Number of rows of the validation data, 0 if it is not known.
        restarts: How often a callback of ours rolled the training back, `None` if it is
            not known, as of a record that 0.1.0 wrote.
    """

    policy: str
    seed: int
    monitor: str = ""
    mode: str = "max"
    logs: dict[str, list[float]] = field(default_factory=dict)
    learning_rates: list[float] = field(default_factory=list)
    initial_loss: float = math.nan
    diverged: bool = False
    seconds: float = 0.0
    steps: int = 0
    gradient_evaluations: float = 0.0
    error: str | None = None
    start: float | None = None
    code: str = ""
    kind: Kind = "other"
    validation_rows: int = 0
    restarts: int | None = None

    @property
    def name(self) -> str:
        """The policy without its starting rate."""
        if self.start is None:
            return self.policy
        return self.policy.removesuffix(f" {self.start:.3g}")

    @property
    def metric(self) -> list[float]:
        """The monitored metric of each epoch."""
        return self.logs.get(self.monitor, [])

    @property
    def final_metric(self) -> float:
        """The monitored metric after the last epoch, NaN if there was none."""
        return self.metric[-1] if self.metric else math.nan

    @property
    def best_metric(self) -> float:
        """The best finite value of the monitored metric, NaN if there was none."""
        finite = [value for value in self.metric if math.isfinite(value)]
        if not finite:
            return math.nan
        return max(finite) if self.mode == "max" else min(finite)

    def final(self, key: str) -> float:
        """Return the last value of a key of the logs, NaN if there was none."""
        values = self.logs.get(key)
        return values[-1] if values else math.nan

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make the record that `to_dict` described.

        Raises:
            ValueError: If a value is missing, unknown, or of another kind.
        """
        wrong = [name for name, value in values.items() if not _can_be(name, value)]
        if wrong or not {"policy", "seed"} <= values.keys():
            raise ValueError(f"No record: {', '.join(wrong) or 'it has no policy'}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a dictionary that `json` can write."""
        return asdict(self)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and value >= 0


def _is_amount(value: Any) -> bool:
    return _is_number(value) and 0.0 <= value < math.inf


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


def _are_logs(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_are_numbers, value.values()))


_KINDS: dict[str, Callable[[Any], bool]] = {
    "policy": _is_text,
    "seed": _is_count,
    "monitor": _is_text,
    "mode": lambda value: value in ("max", "min"),
    "logs": _are_logs,
    "learning_rates": _are_numbers,
    "initial_loss": _is_number,
    "diverged": lambda value: isinstance(value, bool),
    "seconds": _is_amount,
    "steps": _is_count,
    "gradient_evaluations": _is_amount,
    "error": lambda value: value is None or _is_text(value),
    "start": lambda value: value is None or _is_amount(value),
    "code": _is_text,
    "kind": lambda value: value in get_args(Kind),
    "validation_rows": _is_count,
    "restarts": lambda value: value is None or _is_count(value),
}


def _can_be(name: str, value: Any) -> bool:
    return name in _KINDS and _KINDS[name](value)
