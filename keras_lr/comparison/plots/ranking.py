"""The ranking of a comparison as a picture: every run, what it cost, what diverged."""

import math
from collections.abc import Sequence
from typing import Any

from keras_lr.comparison.plots.limits import metric_span, well_trained
from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.summary import PolicySummary
from keras_lr.plotting.axes import COLORS, as_text

_RUN = {"color": COLORS[0], "marker": "o", "linestyle": "", "alpha": 0.6}
_LOST = {"color": COLORS[1], "marker": "x", "linestyle": ""}
_MEAN = {"color": "black", "marker": "|", "linestyle": "", "markersize": 14}


def plot_ranking(
    records: Sequence[RunRecord], table: Sequence[PolicySummary], ax: Any
) -> Any:
    """Draw the final metric of every run, a line for each policy, the best on top.

    Runs that are far behind stand at the edge, with an arrow. What a run cost, in
    gradients of a batch and in seconds, is on the right.

    Args:
        records: Records of the runs.
        table: The rows of the comparison, the best first.
        ax: The matplotlib axes to draw on.

    Returns:
        The axes.
    """
    limits = metric_span(well_trained(records, table), lambda r: [r.final_metric])
    for place, row in enumerate(table):
        runs = [r for r in records if r.policy == row.policy and r.error is None]
        _draw_runs(ax, place, runs, limits)
        if limits[0] <= row.final_metric <= limits[1]:
            ax.plot(row.final_metric, place, **_MEAN, label=_once(ax, "mean"))
        ax.text(
            1.02, place, _cost(row), transform=ax.get_yaxis_transform(), va="center"
        )
    ax.set_xlim(*limits)
    ax.set_xlabel(f"{as_text(records[0].monitor)} after the last epoch")
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_yticks(range(len(table)), [_name(row) for row in table])
    ax.grid(alpha=0.3)
    # Where the worst would be, beside the best.
    ax.legend(loc="upper left" if records[0].mode == "max" else "upper right")
    return ax


def _draw_runs(
    ax: Any, place: int, runs: Sequence[RunRecord], limits: tuple[float, float]
) -> None:
    for run in runs:
        style = _LOST if run.diverged else _RUN
        value, arrow = _at_edge(run, limits)
        label = _once(ax, "diverged" if run.diverged else "run")
        # The arrow points to where the run is.
        marker = {"marker": arrow, "clip_on": False} if arrow else {}
        ax.plot(value, place, **style | marker | {"label": label})


def _at_edge(run: RunRecord, limits: tuple[float, float]) -> tuple[float, str]:
    """Return where to draw a run, and which way it lies from there, if not there."""
    value = run.final_metric
    if limits[0] <= value <= limits[1]:
        return value, ""
    is_low = value < limits[0] if math.isfinite(value) else run.mode == "max"
    return (limits[0], "<") if is_low else (limits[1], ">")


def _once(ax: Any, label: str) -> str | None:
    """Return the label, unless the legend has it."""
    return None if label in ax.get_legend_handles_labels()[1] else label


def _name(row: PolicySummary) -> str:
    return as_text(row.policy) + (f" ({row.note})" if row.note else "")


def _cost(row: PolicySummary) -> str:
    if not row.runs:
        return "failed"
    return f"{row.gradient_evaluations:.0f} gradients, {row.seconds:.1f} s"
