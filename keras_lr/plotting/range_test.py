"""The plot of a range test: losses after short trials over their learning rates."""

import math
from collections.abc import Sequence
from typing import Any

from keras_lr.plotting.axes import COLORS
from keras_lr.rules.range_test import Trial


def draw_trials(
    ax: Any,
    trials: Sequence[Trial],
    untrained_loss: float,
    suggestion: float,
    steps: int,
) -> Any:
    """Draw the loss after trials over their rates, and mark a suggestion.

    Args:
        ax: Matplotlib axes to draw on.
        trials: Trials in ascending order of their rates.
        untrained_loss: The loss without training.
        suggestion: The suggested rate.
        steps: Steps of each trial.

    Returns:
        The axes.
    """
    known = [each for each in trials if math.isfinite(each.loss)]
    rates = [each.learning_rate for each in known]
    losses = [each.loss for each in known]
    ax.set_xscale("log")
    errors = [each.standard_error for each in known]
    style = {"color": COLORS[0], "marker": "o", "capsize": 2}
    label = f"after {steps} steps at this rate"
    ax.errorbar(rates, losses, errors, label=label, **style)
    label = "without training"
    ax.axhline(untrained_loss, color="0.5", linestyle="--", label=label)
    lost = [each.learning_rate for each in trials if not math.isfinite(each.loss)]
    if lost:
        edge = ax.get_xaxis_transform()
        style = {"color": COLORS[0], "transform": edge, "clip_on": False}
        ax.plot(lost, [0.97] * len(lost), "x", label="not finite", **style)
    style = {"color": COLORS[1], "linestyle": "-.", "linewidth": 2}
    ax.axvline(suggestion, label=f"suggestion: {suggestion:.3g}", **style)
    # A training that diverged may end at any number.
    top = untrained_loss + max(untrained_loss - min(losses, default=0.0), 0.0)
    if losses and max(losses) > top > min(losses):
        ax.set_ylim(top=top)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("training loss")
    ax.grid(alpha=0.3)
    # Low rates leave the loss where it was.
    ax.legend(loc="lower left", fontsize="small")
    return ax
