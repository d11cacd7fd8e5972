"""Whether the starting rate matters: the final metric over it, a curve a method."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from keras_lr.comparison.figure import metric_span
from keras_lr.comparison.run_record import RunRecord
from keras_lr.plotting.axes import COLORS, LINES

Curves = dict[str, dict[float, float]]


def robustness_curves(records: Sequence[RunRecord]) -> Curves:
    """Return the mean final metric at each starting rate, for each method with several.

    A mean is NaN if one of its runs failed or ended without a finite metric.
    """
    finals: dict[str, dict[float, list[float]]] = {}
    for record in records:
        if record.start is not None:
            of_method = finals.setdefault(record.name, {})
            value = math.nan if record.error else record.final_metric
            of_method.setdefault(record.start, []).append(value)
    return {
        name: {start: fmean(values) for start, values in sorted(of_method.items())}
        for name, of_method in finals.items()
        if len(of_method) > 1
    }


def plot_robustness(records: Sequence[RunRecord], ax: Any) -> Any:
    """Draw the mean final metric over the starting rate, a curve for each method.

    Policies that have no starting rate are dotted horizontal lines.

    Args:
        records: Records of the runs.
        ax: The matplotlib axes to draw on.

    Returns:
        The axes.
    """
    curves = robustness_curves(records)
    for number, (name, means) in enumerate(curves.items()):
        style = {"color": COLORS[number % len(COLORS)], "marker": ".", "label": name}
        style["linestyle"] = LINES[number % len(LINES)]
        ax.plot(list(means), list(means.values()), **style)
    for number, (name, value) in enumerate(_without_start(records).items()):
        color = COLORS[(len(curves) + number) % len(COLORS)]
        ax.axhline(value, color=color, linestyle=":", label=name)
    done = [r for r in records if not (r.diverged or r.error)] or records
    ax.set(xscale="log", xlabel="starting learning rate", ylabel=records[0].monitor)
    ax.set_ylim(*metric_span(done, lambda record: [record.final_metric]))
    ax.grid(alpha=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def robustness_advice(records: Sequence[RunRecord], mode: str) -> list[str]:
    """Return the worst end of each method over its starting rates, in sentences."""
    curves = robustness_curves(records)
    pick = min if mode == "max" else max
    worst = {
        name: pick(means.values())
        if all(map(math.isfinite, means.values()))
        else math.nan
        for name, means in curves.items()
    }
    if not worst:
        return []
    starts = sorted({start for means in curves.values() for start in means})
    ends = ", ".join(f"{name} {value:.4g}" for name, value in worst.items())
    return [f"The worst end over rates from {starts[0]:g} to {starts[-1]:g}: {ends}."]


def _without_start(records: Sequence[RunRecord]) -> dict[str, float]:
    finals: dict[str, list[float]] = {}
    for record in records:
        if record.start is None and record.error is None:
            finals.setdefault(record.policy, []).append(record.final_metric)
    return {name: fmean(values) for name, values in finals.items()}
