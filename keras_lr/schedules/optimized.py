"""What `optimize_schedule` returns."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_lr import _html
from keras_lr._optional import imported
from keras_lr.schedules.tabulated import TabulatedSchedule

_BEFORE, _AFTER = "0.5", "#0072B2"


@dataclass(frozen=True)
class OptimizedSchedule:
    """An optimized schedule, and the search that led to it.

    Attributes:
        schedule: Best schedule, ready for any Keras optimizer.
        objective: Loss on the validation data after a training by it: the mean over the
            draws that judged it, or, where none did, that of its own training.
        history: Lists with an entry for each outer step: `"objective"`, the loss on
            the validation data after its training; `"hypergradient_norm"`, the norm
            of its gradient with respect to the values; `"outer_learning_rate"`, that of
            the update which led to it, 0 for the first; `"seconds"`. A training that
            was rolled back has NaN as its norm.
        initial_learning_rate: The rate that the search started from.
        interrupted: Whether Ctrl-C ended the search early.
    """

    schedule: TabulatedSchedule
    objective: float
    history: dict[str, list[float]]
    initial_learning_rate: float
    interrupted: bool = False

    def plot(self, ax: Any = None) -> Any:
        """Draw the learning rate over the steps, on a logarithmic axis.

        Where it is 0 the line has a gap.

        Args:
            ax: The matplotlib axes to draw on. Defaults to those of a new figure.

        Returns:
            The axes.

        Raises:
            ImportError: Without matplotlib.
        """
        if ax is None:
            pyplot = imported("matplotlib.pyplot", extra="plot", function="plot")
            ax = pyplot.figure(layout="constrained").add_subplot()
        values = np.array(self.schedule.values)
        shown = np.where(values > 0.0, values, np.nan)
        edges = np.arange(len(values) + 1) * self.schedule.steps_per_value
        # Not `stairs`, which draws a gap of one step as none.
        ax.step(edges, [*shown, shown[-1]], where="post", color=_AFTER, label="found")
        start = self.initial_learning_rate
        ax.axhline(start, color=_BEFORE, linestyle="--", label="start")
        ax.set(xlabel="step", ylabel="learning rate", yscale="log")
        ax.grid(alpha=0.3)
        ax.legend()
        return ax

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the losses, the rates, and the outer steps."""
        values, objectives = self.schedule.values, self.history["objective"]
        steps = len(values) * self.schedule.steps_per_value
        text = (
            f"A schedule of {steps} steps, after {len(objectives)} outer steps: "
            f"objective {self.objective:.4g}, at a constant rate of "
            f"{self.initial_learning_rate:.3g} it was {objectives[0]:.4g}. The rate is "
            f"{values[0]:.3g} at the start, {max(values):.3g} at most and "
            f"{values[-1]:.3g} at the end."
        )
        interrupted = "Ctrl-C ended the search early." if self.interrupted else ""
        rows = [
            [str(number), *(f"{each:.4g}" for each in row)]
            for number, row in enumerate(zip(*self.history.values(), strict=True))
        ]
        header = ["outer step", *(name.replace("_", " ") for name in self.history)]
        return (
            _html.paragraph(text)
            + _html.paragraph(interrupted)
            + _html.folded("Outer steps", _html.table(header, rows))
        )
