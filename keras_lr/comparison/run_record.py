"""What one training of a comparison did."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

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
            is above `initial_loss`.
        seconds: Wall time of `fit`.
        steps: Number of batches trained on.
        gradient_evaluations: `steps` times the policy's cost of a step, and the steps
            of a search.
        error: Message of the exception that ended the run, or `None`.
        start: The rate that the policy starts from, `None` if it does not say.
        code: The lines that do the same in another training, or empty.
        kind: Kind of the policy.
        validation_rows: Number of rows of the validation data, 0 if it is not known.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a dictionary that `json` can write."""
        return asdict(self)
