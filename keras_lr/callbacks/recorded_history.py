"""What every callback with a `history` does with it: a table, a file, a plot.

They are methods, given to each class by name: a class for them would be one more
between Keras's callback and the leaves.
"""

import csv
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from keras_lr._optional import imported
from keras_lr.plotting import plot_learning_rate


class HasHistory(Protocol):
    """A callback that records."""

    history: dict[str, list[float]]


def to_dataframe(self: HasHistory) -> Any:
    """Return the history as a `pandas.DataFrame`, with a row for each entry.

    Raises:
        ValueError: If the lists in `history` differ in length, as those of a rule of
            your own may.
        ImportError: Without pandas.
    """
    pandas = imported("pandas", extra="examples", function="to_dataframe")
    return pandas.DataFrame(_columns(self.history, "to_dataframe"))


def to_csv(  # noqa: D417 - `self` is one.
    self: HasHistory, path: str | os.PathLike[str]
) -> None:
    """Write the history to a CSV file, with a row for each entry.

    Args:
        path: Path of the file.

    Raises:
        ValueError: If the lists in `history` differ in length, as those of a rule of
            your own may.
    """
    columns = _columns(self.history, "to_csv")
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def plot(  # noqa: D417 - As above.
    self: HasHistory, ax: Any = None, *, label: str | None = None
) -> Any:
    """Draw the learning rate, as `keras_lr.plot_learning_rate` does.

    Args:
        ax: The matplotlib axes to draw on. Defaults to those of a new figure.
        label: Name of the training in the legend.

    Returns:
        The axes.

    Raises:
        ValueError: If no rate has been recorded.
        ImportError: Without matplotlib.
    """
    return plot_learning_rate(self, ax, label=label)


def _columns(
    history: Mapping[str, Sequence[float]], owner: str
) -> Mapping[str, Sequence[float]]:
    """Return the history if it is a table, or raise."""
    lengths = {name: len(column) for name, column in history.items()}
    if len(set(lengths.values())) > 1:
        received = ", ".join(f"{length} of {n!r}" for n, length in lengths.items())
        raise ValueError(
            f"`{owner}` makes a row of each entry, so the lists in `history` must be "
            f"equally long. Received: {received}. Take the lists from `history` itself."
        )
    return history
