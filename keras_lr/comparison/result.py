"""What a comparison found: table, plots, files."""

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from keras_lr.comparison.figure import plot_comparison
from keras_lr.comparison.report import html_report
from keras_lr.comparison.runner import RunRecord
from keras_lr.comparison.summary import PolicySummary, advice, summarize
from keras_lr.comparison.text_table import table_lines

_RUN_COLUMNS = (
    "policy",
    "seed",
    "final_metric",
    "best_metric",
    "final_loss",
    "initial_loss",
    "last_learning_rate",
    "gradient_evaluations",
    "steps",
    "seconds",
    "diverged",
    "error",
)


class ComparisonResult:
    """Result of `compare_policies`.

    Args:
        records: Records of the runs.
        interrupted: Whether Ctrl-C ended the comparison early.

    Attributes:
        records: Records of the runs.
        interrupted: Whether Ctrl-C ended the comparison early.
        table: A `PolicySummary` for each policy, the best first.
        monitor: Name of the metric, such as `"val_accuracy"`.
        mode: `"max"` or `"min"`: its direction.
    """

    def __init__(
        self, records: Sequence[RunRecord], *, interrupted: bool = False
    ) -> None:
        self.records = list(records)
        self.interrupted = interrupted
        self.table: list[PolicySummary] = summarize(self.records)
        self.monitor = self.records[0].monitor
        self.mode = self.records[0].mode

    @property
    def advice(self) -> list[str]:
        """What the table says, in sentences."""
        return advice(self.table, self.mode)

    def to_dataframe(self) -> Any:
        """Return the table as a `pandas.DataFrame`, one row a policy."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "`to_dataframe` needs pandas. "
                'Install it with `pip install "keras_lr[examples]"`.'
            ) from error
        return pandas.DataFrame([asdict(row) for row in self.table])

    def plot(self, axes: Sequence[Any] | None = None) -> Sequence[Any]:
        """Draw metric and learning rate over epochs.

        Args:
            axes: Two matplotlib axes. Defaults to those of a new figure.

        Returns:
            The two axes.
        """
        if axes is not None:
            return plot_comparison(self.records, self.table, axes)
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise _matplotlib_is_missing("plot") from error
        return self._fill(pyplot.figure(figsize=(11, 4.5), layout="constrained"))

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write tables, picture and a report which is one self-contained HTML file.

        Args:
            directory: Where to write `table.csv`, `runs.csv`, `comparison.png` and
                `report.html`. It is made if needed.

        Returns:
            The paths of the files.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise _matplotlib_is_missing("save") from error
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        names = ("table.csv", "runs.csv", "comparison.png", "report.html")
        table, runs, picture, report = (folder / name for name in names)
        columns = [field.name for field in fields(PolicySummary)]
        _write_csv(table, columns, [asdict(row) for row in self.table])
        _write_csv(runs, _RUN_COLUMNS, [_row(record) for record in self.records])
        figure = Figure(figsize=(11, 4.5), layout="constrained")
        self._fill(figure)
        figure.savefig(picture, dpi=150)
        page = html_report(self.table, self.advice, self.monitor, picture.read_bytes())
        report.write_text(page, encoding="utf-8")
        return [table, runs, picture, report]

    def _fill(self, figure: Any) -> Sequence[Any]:
        axes = plot_comparison(self.records, self.table, figure.subplots(1, 2))
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside right center",
            fontsize="small",
        )
        return axes

    def __str__(self) -> str:
        return "\n".join([*table_lines(self.table, self.monitor), "", *self.advice])


def _row(record: RunRecord) -> dict[str, Any]:
    rates = record.learning_rates
    return {
        **{key: getattr(record, key, None) for key in _RUN_COLUMNS},
        "final_loss": record.final("loss"),
        "last_learning_rate": rates[-1] if rates else math.nan,
        "error": record.error or "",
    }


def _write_csv(path: Path, columns: Sequence[str], rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _matplotlib_is_missing(method: str) -> ImportError:
    return ImportError(
        f'`{method}` needs matplotlib. Install it with `pip install "keras_lr[plot]"`.'
    )
