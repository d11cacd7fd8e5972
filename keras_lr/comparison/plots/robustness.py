"""Whether the starting rate matters: the final metric over it, a curve a method."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from keras_lr.comparison.plots.limits import metric_span
from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.summary import robustness_curves
from keras_lr.plotting.axes import COLORS, LINES, as_text


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
        style = {
            "color": COLORS[number % len(COLORS)],
            "marker": ".",
            "label": as_text(name),
        }
        style["linestyle"] = LINES[number % len(LINES)]
        ax.plot(list(means), list(means.values()), **style)
    for number, (name, value) in enumerate(_without_start(records).items()):
        color = COLORS[(len(curves) + number) % len(COLORS)]
        ax.axhline(value, color=color, linestyle=":", label=as_text(name))
    done = [r for r in records if not (r.diverged or r.error)] or records
    ax.set(
        xscale="log",
        xlabel="starting learning rate",
        ylabel=as_text(records[0].monitor),
    )
    ax.set_ylim(*metric_span(done, lambda record: [record.final_metric]))
    ax.grid(alpha=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def _without_start(records: Sequence[RunRecord]) -> dict[str, float]:
    finals: dict[str, list[float]] = {}
    for record in records:
        if record.start is None and record.error is None:
            finals.setdefault(record.policy, []).append(record.final_metric)
    return {name: fmean(values) for name, values in finals.items()}
