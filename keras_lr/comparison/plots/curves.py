"""Metric, learning rate and loss of a comparison over epochs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lr.comparison.plots.limits import is_serious, metric_span, well_trained
from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.summary import PolicySummary
from keras_lr.plotting.axes import COLORS, LINES, as_text

_GRAY = {"color": "0.8", "linewidth": 0.8, "zorder": 1}
# With the three landmarks, as many as there are colors.
_MOST_OTHERS = 4


def plot_comparison(
    records: Sequence[RunRecord], table: Sequence[PolicySummary], axes: Sequence[Any]
) -> Sequence[Any]:
    """Draw metric, learning rate and loss over epochs, mean and range over seeds.

    The policies with a color are the best ones, the one that keeps the compiled rate,
    and the best and the worst constant rate; the others are thin gray lines. The worst
    one and diverged runs may lie outside of the metric's axis, which shows the
    differences between the others.

    Args:
        records: Records of the runs.
        table: The rows of the comparison, the best first.
        axes: Two matplotlib axes, or three, then the last one for the training loss.

    Returns:
        The same axes.
    """
    metric_axis, rate_axis, *loss_axis = axes
    shown = _shown(table)
    limits = _metric_limits(records, [row for row in table if row.policy in shown])
    for row in table:
        runs = [r for r in records if r.policy == row.policy and r.error is None]
        if not runs:
            continue
        style: dict[str, Any] = _GRAY
        if row.policy in shown:
            label = {"label": _label(row, runs, limits)}
            style = _style(shown.index(row.policy)) | label
        _draw(metric_axis, [r.metric for r in runs], style, has_band="label" in style)
        # A logarithmic axis has no place for the 0 of a step that was left out.
        rates = [_positive(r.learning_rates) for r in runs]
        _draw(rate_axis, rates, style, has_band=False)
        for axis in loss_axis:
            losses = [_positive(r.logs.get("loss", [])) for r in runs]
            _draw(axis, losses, style, has_band=False)
    _name_axes(axes, records[0].monitor, limits)
    return axes


def _positive(values: Sequence[float]) -> list[float]:
    return [value if value > 0 else math.nan for value in values]


def _name_axes(axes: Sequence[Any], monitor: str, limits: tuple[float, float]) -> None:
    for axis, name in zip(axes, (monitor, "learning rate", "loss"), strict=False):
        axis.set(xlabel="epoch", ylabel=as_text(name))
        axis.grid(alpha=0.3)
    axes[0].set_ylim(*limits)
    for axis in axes[1:]:
        axis.set_yscale("log")


def _shown(table: Sequence[PolicySummary]) -> list[str]:
    """Return the policies with a color, the best first."""
    landmarks = [row for row in table if row.note or row.kind == "default"]
    others = [row for row in table if is_serious(row) and row not in landmarks]
    shown = [*landmarks, *others[:_MOST_OTHERS]]
    return [row.policy for row in table if row in shown]


def _style(number: int) -> dict[str, Any]:
    """Return a color, a dash, and a place above the policies that rank lower."""
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": LINES[number % len(LINES)],
        "zorder": 2 + 1 / (1 + number),
    }


def _label(
    row: PolicySummary, runs: Sequence[RunRecord], limits: tuple[float, float]
) -> str:
    note = f" ({row.note})" if row.note else ""
    is_drawn = any(limits[0] <= value <= limits[1] for r in runs for value in r.metric)
    return as_text(row.policy) + note + ("" if is_drawn else ", off the scale")


def _metric_limits(
    records: Sequence[RunRecord], table: Sequence[PolicySummary]
) -> tuple[float, float]:
    return metric_span(well_trained(records, table), lambda record: record.metric)


def _draw(
    axis: Any, curves: list[list[float]], style: dict[str, Any], *, has_band: bool
) -> None:
    """Draw the mean of curves, which may be of different lengths, and their range."""
    length = max(map(len, curves), default=0)
    table = np.full((len(curves), length), math.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve
    table[~np.isfinite(table)] = math.nan
    has_value = ~np.isnan(table).all(axis=0)
    epochs = np.arange(1, length + 1)[has_value]
    values = table[:, has_value]
    axis.plot(epochs, np.nanmean(values, axis=0), **style)
    if has_band and len(curves) > 1:
        low, high = np.nanmin(values, 0), np.nanmax(values, 0)
        axis.fill_between(epochs, low, high, color=style["color"], alpha=0.12, lw=0)
