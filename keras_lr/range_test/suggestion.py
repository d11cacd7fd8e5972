"""What `find_learning_rate` returns."""

import csv
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from keras_lr import _html
from keras_lr._optional import imported
from keras_lr.plotting.axes import new_axes
from keras_lr.plotting.range_test import draw_trials
from keras_lr.rules.range_test import Trial


@dataclass(frozen=True)
class LearningRateSuggestion:
    """A suggested learning rate, and the trials that led to it.

    Attributes:
        suggestion: The learning rate to start from.
        reason: Why this one, in a sentence.
        warning: Why it may be wrong, empty if nothing speaks against it.
        code: The line that compiles the model with this rate.
        trials: A `Trial` for each rate, ascending, with its `learning_rate`; the mean
            training `loss` over the second half of its steps, NaN if a loss was not
            finite; the `gain`, by how much that is lower than without training; and
            the `standard_error` of that.
        untrained_loss: The same mean without training.
        steps: Steps at each rate.
        seconds: Time that all of it took.
    """

    suggestion: float
    reason: str
    warning: str
    code: str
    trials: Sequence[Trial]
    untrained_loss: float
    steps: int
    seconds: float

    @property
    def is_sure(self) -> bool:
        """Whether nothing speaks against the suggestion."""
        return not self.warning

    def plot(self, ax: Any = None) -> Any:
        """Draw the loss after the trials over their rates, and mark the suggestion.

        Trials that ended in a loss that is not finite are crosses at the upper edge.

        Args:
            ax: The matplotlib axes to draw on. Defaults to those of a new figure.

        Returns:
            The axes.

        Raises:
            ImportError: Without matplotlib.
        """
        if ax is None:
            ax = new_axes("plot")
        return draw_trials(
            ax, self.trials, self.untrained_loss, self.suggestion, self.steps
        )

    def to_dataframe(self) -> Any:
        """Return the trials as a `pandas.DataFrame`, one row for each rate."""
        pandas = imported("pandas", extra="examples", function="to_dataframe")
        return pandas.DataFrame([asdict(each) for each in self.trials])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the trials to a CSV file, one row for each rate.

        Args:
            path: Where to write it.
        """
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(map(asdict, self.trials))

    def __float__(self) -> float:
        return self.suggestion

    def __str__(self) -> str:
        lines = [f"Learning rate: {self.suggestion:.3g}. {self.reason}", self.warning]
        return "\n".join([*filter(None, lines), f"    {self.code}"])

    def __repr__(self) -> str:
        return (
            f"<LearningRateSuggestion suggestion={self.suggestion:.3g} "
            f"is_sure={self.is_sure}>"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the sentences, the line, and the trials."""
        header = [name.replace("_", " ") for name in _COLUMNS]
        rows = [[f"{x:.4g}" for x in asdict(each).values()] for each in self.trials]
        title = f"{len(rows)} trials of {self.steps} steps, {self.seconds:.1f} seconds"
        return (
            _html.paragraph(f"Learning rate: {self.suggestion:.3g}. {self.reason}")
            + _html.paragraph(self.warning)
            + _html.code(self.code)
            + _html.folded(title, _html.table(header, rows))
        )


_COLUMNS = [field.name for field in fields(Trial)]
