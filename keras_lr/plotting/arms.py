"""`plot_arms`: the trials of a search over learning rates, and its result."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lr.plotting.axes import COLORS, new_axes


def plot_arms(search: Any, ax: Any = None) -> Any:
    """Draw the trials of a search over learning rates, and its result.

    A point is a trial, at its learning rate and its score, with its number in the order
    of the search. The bar through it is the arm's ball: rates that cannot be told apart
    from it. Trials without a finite score are crosses at the lower edge. What the
    search has cut off, because the loss blew up or never moved, is gray; the range of
    rates that are as good as the best one within 2 % is orange.

    Args:
        search: `keras_lr.Zooming`, `keras_lr.BLiE`, or one of their oracles.
        ax: Matplotlib axes to draw on. Defaults to those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the search has no trials yet.
        ImportError: If matplotlib is not installed.

    Example:
        >>> import keras_lr, keras_tuner
        >>> space = keras_tuner.HyperParameters()
        >>> _ = space.Float("learning_rate", 1e-4, 1.0, sampling="log")
        >>> class Tuner(keras_lr.Zooming):
        ...     def run_trial(self, trial, **kwargs):
        ...         return (trial.hyperparameters.get("learning_rate") - 0.02) ** 2
        >>> tuner = Tuner(
        ...     max_trials=5, hyperparameters=space, directory=getfixture("tmp_path")
        ... )
        >>> tuner.search(verbose=0)
        >>> keras_lr.plot_arms(tuner).get_xscale()
        'log'
    """
    oracle = getattr(search, "bandit", search)
    arms = oracle.arms()
    if not arms:
        raise ValueError(
            "`search` must have trials to draw. Received: a search without any. "
            "Call its `search` first."
        )
    if ax is None:
        ax = new_axes("plot_arms")
    axis = oracle.axis()
    ax.set_xscale("log" if axis.is_log else "linear")
    ax.set_xlim(axis.low, axis.high)
    _draw_cuts(ax, axis, oracle.live_interval())
    _draw_balls(ax, arms)
    _draw_trainings(ax, oracle.trainings())
    _draw_best(ax, oracle.best_arm(), arms)
    ax.set_xlabel("learning rate")
    ax.set_ylabel(oracle.objective.name)
    # Room for the numbers above the points.
    ax.margins(y=0.1)
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def _draw_cuts(ax: Any, axis: Any, live: tuple[float, float]) -> None:
    label = "cut off: the loss blew up, or never moved"
    for low, high in ((axis.low, live[0]), (live[1], axis.high)):
        if low < high:
            ax.axvspan(low, high, color="0.88", zorder=0, label=label)
            label = None


def _draw_balls(ax: Any, arms: Sequence[Any]) -> None:
    label = "ball of the arm"
    for arm in arms:
        if np.isfinite(arm.mean_score):
            ends = [arm.low, arm.high]
            style = {"color": COLORS[4], "linewidth": 6, "alpha": 0.6, "zorder": 2}
            ax.plot(ends, [arm.mean_score] * 2, label=label, **style)
            label = None


def _draw_trainings(ax: Any, trainings: Sequence[Any]) -> None:
    """Draw and number the trials; those without a finite score stand at the edge."""
    edge = ax.get_xaxis_transform()
    labels = {"o": "trial, in order", "x": "diverged or failed"}
    for number, training in enumerate(trainings, start=1):
        rate, score = training.learning_rate, training.score
        if score is None:
            continue
        marker, y, place = (
            ("o", score, {}) if np.isfinite(score) else ("x", 0.04, {"transform": edge})
        )
        ax.plot(
            rate, y, marker, color=COLORS[0], label=labels.pop(marker, None), **place
        )
        ax.annotate(
            str(number),
            (rate, y),
            xycoords="data" if marker == "o" else edge,
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
        )


def _draw_best(ax: Any, best: Any, arms: Sequence[Any]) -> None:
    # It imports KerasTuner, which is loaded by now.
    from keras_lr.tuners.arms import is_recommended, near_best

    if best is None or not (is_recommended(best) and np.isfinite(best.mean_score)):
        return
    low, high = near_best([arm for arm in arms if arm.scores], best)
    if low < high:
        style = {"color": COLORS[1], "alpha": 0.15, "zorder": 1}
        ax.axvspan(low, high, label="as good within 2 %", **style)
    ax.plot(
        best.learning_rate,
        best.mean_score,
        "*",
        color=COLORS[1],
        markersize=14,
        zorder=3,
        label=f"recommended: {best.learning_rate:.3g}",
    )
