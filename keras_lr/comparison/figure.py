"""Plots of a comparison: metric and learning rate over epochs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lr.comparison.runner import RunRecord
from keras_lr.comparison.summary import PolicySummary
from keras_lr.plotting.axes import COLORS, LINES

_GRAY = {"color": "0.8", "linewidth": 0.8, "zorder": 1}


def plot_comparison(
    records: Sequence[RunRecord], table: Sequence[PolicySummary], axes: Sequence[Any]
) -> Sequence[Any]:
    """Draw metric and learning rate over epochs, mean and range over seeds.

    Constant rates other than the best and the worst are thin gray lines. The worst one
    and diverged runs may lie outside of the metric's axis, which shows the differences
    between the others.

    Args:
        records: Records of the runs.
        table: The rows of the comparison, the best first.
        axes: Two matplotlib axes.

    Returns:
        The same axes.
    """
    metric_axis, rate_axis = axes
    limits = _metric_limits(records, table)
    number = 0
    for row in table:
        runs = [r for r in records if r.policy == row.policy and r.error is None]
        if not runs:
            continue
        style: dict[str, Any] = _GRAY
        if _is_shown(row):
            style = _style(number) | {"label": _label(row, runs, limits)}
            number += 1
        _draw(metric_axis, [r.metric for r in runs], style, has_band="label" in style)
        # A logarithmic axis has no place for the 0 of a step that was left out.
        rates = [[rate or math.nan for rate in r.learning_rates] for r in runs]
        _draw(rate_axis, rates, style, has_band=False)
    metric_axis.set_ylabel(records[0].monitor)
    metric_axis.set_ylim(*limits)
    rate_axis.set_ylabel("learning rate")
    rate_axis.set_yscale("log")
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    return axes


def _is_shown(row: PolicySummary) -> bool:
    """Whether the policy has a color; most of a grid of constants has none."""
    return bool(row.note) or not row.policy.startswith("constant ")


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
    is_seen = any(limits[0] <= value <= limits[1] for r in runs for value in r.metric)
    return row.policy + note + ("" if is_seen else ", off the scale")


def _metric_limits(
    records: Sequence[RunRecord], table: Sequence[PolicySummary]
) -> tuple[float, float]:
    """Return limits which the runs that went well fill."""
    names = {row.policy for row in table if _is_shown(row) and row.note != "worst"}
    good = [r for r in records if r.policy in names and not r.diverged]
    values = [v for r in good or records for v in r.metric if math.isfinite(v)]
    if not values:
        return 0.0, 1.0
    margin = 0.05 * (max(values) - min(values)) or 0.5
    return min(values) - margin, max(values) + margin


def _draw(
    axis: Any, curves: list[list[float]], style: dict[str, Any], *, has_band: bool
) -> None:
    """Draw the mean of curves, which may be of different lengths, and their range."""
    length = max(map(len, curves), default=0)
    table = np.full((len(curves), length), math.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve
    table[~np.isfinite(table)] = math.nan
    kept = ~np.isnan(table).all(axis=0)
    epochs = np.arange(1, length + 1)[kept]
    axis.plot(epochs, np.nanmean(table[:, kept], axis=0), **style)
    if has_band and len(curves) > 1:
        low, high = np.nanmin(table[:, kept], 0), np.nanmax(table[:, kept], 0)
        axis.fill_between(epochs, low, high, color=style["color"], alpha=0.12, lw=0)
