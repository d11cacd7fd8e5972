"""The result of a comparison: table, plots, files."""

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from keras_lr import _html
from keras_lr._optional import imported
from keras_lr.comparison.advice import advice, robustness_advice
from keras_lr.comparison.conditions import Conditions
from keras_lr.comparison.header import header_facts, policy_facts
from keras_lr.comparison.plots.curves import plot_comparison
from keras_lr.comparison.plots.ranking import plot_ranking
from keras_lr.comparison.plots.robustness import plot_robustness
from keras_lr.comparison.report import Report, html_report
from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.summary import PolicySummary, robustness_curves, summarize
from keras_lr.comparison.text_table import table_cells, table_lines
from keras_lr.plotting.axes import new_figure

_TEXTS = ("table.csv", "runs.csv", "report.html")
_PICTURES = ("ranking.png", "comparison.png", "robustness.png")
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
    "restarts",
)


class ComparisonResult:
    """Result of `compare_policies`.

    Args:
        records: Records of the runs.
        interrupted: Whether Ctrl-C ended the comparison early.
        conditions: What the runs have in common, for the head of the report. Defaults
            to `None`: only what the records say.

    Attributes:
        records: Records of the runs.
        interrupted: Whether Ctrl-C ended the comparison early.
        conditions: What the runs have in common, or `None`.
        table: A `PolicySummary` for each policy, the best first.
        monitor: Name of the metric, such as `"val_accuracy"`.
        mode: `"max"` or `"min"`: its direction.
    """

    def __init__(
        self,
        records: Sequence[RunRecord],
        *,
        interrupted: bool = False,
        conditions: Conditions | None = None,
    ) -> None:
        self.records = list(records)
        self.interrupted = interrupted
        self.conditions = conditions
        self.table: list[PolicySummary] = summarize(self.records)
        self.monitor = self.records[0].monitor
        self.mode = self.records[0].mode

    @property
    def advice(self) -> list[str]:
        """What the table says, in sentences."""
        sentences = advice(self.table, self.mode)
        if self.varies_start:
            sentences += robustness_advice(self.records, self.mode)
        return sentences

    @property
    def code(self) -> str:
        """The lines which do what the best policy does, empty if they are not known.

        They are empty too if no policy did well: without a metric, or diverged.
        """
        return self.table[0].code if self.table[0].is_sound else ""

    @property
    def varies_start(self) -> bool:
        """Whether a method, other than a constant rate, has several starting rates."""
        methods = [record for record in self.records if record.kind != "constant"]
        return bool(robustness_curves(methods))

    def to_dataframe(self) -> Any:
        """Return the table as a `pandas.DataFrame`, one row for each policy."""
        pandas = imported("pandas", extra="examples", function="to_dataframe")
        return pandas.DataFrame([asdict(row) for row in self.table])

    def plot(self, axes: Sequence[Any] | None = None) -> Sequence[Any]:
        """Draw metric and learning rate over epochs.

        Args:
            axes: Two matplotlib axes, or three, then the last one for the training
                loss. Defaults to two of a new figure.

        Returns:
            The axes.
        """
        if axes is not None:
            return plot_comparison(self.records, self.table, axes)
        figure = new_figure("plot", (11, 5.5))
        return self._draw_curves(figure, panels=2)

    def plot_ranking(self, ax: Any = None) -> Any:
        """Draw the final metric of every run, a line for each policy, and the costs.

        Args:
            ax: The matplotlib axes to draw on. Defaults to those of a new figure.

        Returns:
            The axes.
        """
        if ax is None:
            size = 9, _ranking_height(self.table)
            ax = new_figure("plot_ranking", size).add_subplot()
        return plot_ranking(self.records, self.table, ax)

    def plot_robustness(self, ax: Any = None) -> Any:
        """Draw the final metric over the starting rate, a curve for each method.

        Args:
            ax: The matplotlib axes to draw on. Defaults to those of a new figure.

        Returns:
            The axes.

        Raises:
            ValueError: If no policy has several starting rates.
        """
        if not robustness_curves(self.records):
            raise ValueError(
                "The robustness is drawn over the starting rate, so a policy must have "
                "several. Received: one of each. Compare, for example, "
                "`[policies.marthe(rate) for rate in (0.001, 0.01, 0.1)]`, from "
                "`keras_lr.comparison.policies`."
            )
        if ax is None:
            ax = new_figure("plot_robustness", (8, 4.5)).add_subplot()
        return plot_robustness(self.records, ax)

    def save(
        self, directory: str | os.PathLike[str], *, data_name: str = ""
    ) -> list[Path]:
        """Write tables, pictures and a report which is one self-contained HTML file.

        Args:
            directory: Where to write `table.csv`, `runs.csv`, `ranking.png`,
                `comparison.png`, if a method has several starting rates
                `robustness.png`, and `report.html`. It is made if needed.
            data_name: Name of the data in the report. Defaults to none: only the shapes
                of the arrays.

        Returns:
            The paths of the files.

        Raises:
            ValueError: If there are files of these names that are not of a comparison.
        """
        # Before anything is written.
        require_replaceable(directory)
        imported("matplotlib.figure", extra="plot", function="save")
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        table, runs, report = (folder / name for name in _TEXTS)
        columns = [field.name for field in fields(PolicySummary)]
        _write_csv(table, columns, [asdict(row) for row in self.table])
        _write_csv(runs, _RUN_COLUMNS, [_row(record) for record in self.records])
        pictures = self._save_pictures(folder)
        page = html_report(
            Report(
                table=self.table,
                monitor=self.monitor,
                advice=self.advice,
                code=self.code,
                pictures={path.stem: path.read_bytes() for path in pictures},
                facts=header_facts(
                    self.records, self.table, self.conditions, data_name
                ),
                policies=policy_facts(self.records, self.conditions),
                files=[path.name for path in (table, runs, *pictures)],
            )
        )
        report.write_text(page, encoding="utf-8")
        return [table, runs, *pictures, report]

    def _save_pictures(self, folder: Path) -> list[Path]:
        ranking = _figure(9, _ranking_height(self.table))
        self.plot_ranking(ranking.add_subplot())
        curves = _figure(13, 6)
        self._draw_curves(curves, panels=3)
        figures = {"ranking": ranking, "comparison": curves}
        if self.varies_start:
            figures["robustness"] = _figure(8, 4.5)
            self.plot_robustness(figures["robustness"].add_subplot())
        paths = []
        for name, figure in figures.items():
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=150)
        return paths

    def _draw_curves(self, figure: Any, *, panels: int) -> Sequence[Any]:
        axes = plot_comparison(self.records, self.table, figure.subplots(1, panels))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        return axes

    def __repr__(self) -> str:
        best = self.table[0].policy
        return f"<ComparisonResult runs={len(self.records)} best={best!r}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the advice, the line, and the table."""
        header, *rows = table_cells(self.table, self.monitor)
        return (
            "".join(map(_html.paragraph, self.advice))
            + _html.code(self.code)
            + _html.table(header, rows)
        )

    def __str__(self) -> str:
        lines = [*table_lines(self.table, self.monitor), "", *self.advice]
        return "\n".join([*lines, *code_lines(self.table[0])])


def require_replaceable(directory: str | os.PathLike[str]) -> None:
    """Raise a `ValueError` if `save` would replace files that are not its own."""
    folder = Path(directory)
    there = [name for name in (*_TEXTS, *_PICTURES) if (folder / name).exists()]
    if there and not _is_table(folder / _TEXTS[0]):
        raise ValueError(
            "`directory` must hold no other files of the names that are written. "
            f"Received: directory={directory}, which holds {', '.join(there)}. Choose "
            "another directory."
        )


def _is_table(path: Path) -> bool:
    """Return whether a file is the table of a comparison, which is written first."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().startswith("policy,note,final_metric,")
    except (OSError, UnicodeDecodeError):
        return False


def code_lines(best: PolicySummary) -> list[str]:
    """Return how to do what the best policy does, as indented lines after a title."""
    if not (best.code and best.is_sound):
        return []
    return [
        "",
        f"To train with {best.policy}:",
        *map("    {}".format, best.code.split("\n")),
    ]


def _ranking_height(table: Sequence[PolicySummary]) -> float:
    return 1.2 + 0.28 * len(table)


def _figure(width: float, height: float) -> Any:
    """Return a figure that no window shows."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


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
