"""Plots with matplotlib; each function takes and returns the axes it draws on."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

# Okabe and Ito's colors, told apart by the color-blind; yellow, too light, left out.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = ("-", "--", "-.", ":")

_OWN, _EFFECTIVE = "learning_rate", "effective_learning_rate"


def plot_learning_rate(
    history: keras.callbacks.Callback | Mapping[str, Sequence[float]],
    ax: Any = None,
    *,
    label: str | None = None,
) -> Any:
    """Draw the learning rate of a training, on a logarithmic axis.

    The rate drawn is the effective one where the optimizer has one, which its own rate
    is only a multiple of. Several optimizers have a line each. Where a rate is 0, as
    after a step that was left out, or not finite, the line has a gap.

    Args:
        history: What `fit` returned, a `keras_lr.LearningRateRecorder`, any other
            callback with a `history`, or the dictionary of lists in one.
        ax: The matplotlib axes to draw on, also after a plot of another training.
            Defaults to those of a new figure.
        label: Name of the training in the legend.

    Returns:
        The axes.

    Raises:
        ValueError: If there is no learning rate in `history`.
        ImportError: Without matplotlib.

    Example:
        >>> import keras_lr
        >>> ax = keras_lr.plot_learning_rate({"learning_rate": [0.1, 0.05]})
        >>> ax.get_xlabel(), ax.get_yscale()
        ('epoch', 'log')
    """
    curves = _curves(history)
    unit, positions = _positions(history)
    if ax is None:
        ax = _new_axes("plot_learning_rate")
    for key, values in curves.items():
        rates = np.array(values, dtype=float)
        rates[~(np.isfinite(rates) & (rates > 0))] = np.nan
        name = key.removeprefix("effective_").removeprefix(_OWN).removeprefix("_")
        text = ", ".join(filter(None, [label, name]))
        x = positions if len(positions) == len(rates) else np.arange(len(rates)) + 1
        ax.plot(x, rates, **_style(ax, text), **_points(rates))
    _name_axes(ax, unit, is_effective=all(key.startswith(_EFFECTIVE) for key in curves))
    if ax.get_legend_handles_labels()[1]:
        ax.legend()
    return ax


def plot_arms(search: Any, ax: Any = None) -> Any:
    """Draw the trials of a search over learning rates: what was tried, and found.

    A point is a trial, at its learning rate and its score, with its number in the order
    of the search. The bar through it is the arm's ball: rates that are not told apart
    from it. Trials without a finite score are crosses at the lower edge. What the
    search has cut off, because the loss blew up or never moved, is gray; the range of
    rates that are as good as the best one within 2 % is orange.

    Args:
        search: A `keras_lr.Zooming` or `keras_lr.BLiE`, or their oracle.
        ax: The matplotlib axes to draw on. Defaults to those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the search has no trials yet.
        ImportError: Without matplotlib.

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
        ax = _new_axes("plot_arms")
    axis = oracle.space.axis
    ax.set_xscale("log" if axis.is_log else "linear")
    ax.set_xlim(axis.low, axis.high)
    _draw_cuts(ax, axis, oracle.live_interval())
    _draw_balls(ax, arms)
    _draw_trainings(ax, oracle.trainings())
    _draw_best(ax, oracle.best_arm(), arms)
    ax.set_xlabel("learning rate")
    ax.set_ylabel(oracle.objective.name)
    # For the numbers above the points.
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
            ("o", score, {})
            if np.isfinite(score)
            else (*("x", 0.04), {"transform": edge})
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
    # With KerasTuner, which is loaded by now.
    from keras_lr.tuners.arms import near_best

    if best is None or not np.isfinite(best.mean_score):
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


def _lists(history: Any) -> Mapping[str, Sequence[float]]:
    """Return the dictionary of lists in whatever holds one."""
    lists = getattr(history, "history", history)
    if not isinstance(lists, Mapping):
        raise ValueError(
            "`history` must be what `fit` returned, a callback with a `history`, or a "
            f"dictionary of lists. Received: history={history!r}."
        )
    return lists


def _curves(history: Any) -> dict[str, Sequence[float]]:
    """Return the rates to draw, the effective ones in place of the others."""
    lists = _lists(history)
    keys = [key for key in lists if key == _OWN or key.startswith(f"{_OWN}_")]
    effective = [key for key in lists if key.startswith(_EFFECTIVE)]
    hidden = {key.removeprefix("effective_") for key in effective}
    shown = [key for key in keys if key not in hidden] + effective
    curves = {key: lists[key] for key in shown if len(lists[key])}
    if not curves:
        raise ValueError(
            "`history` must hold a learning rate for each epoch or batch. "
            f"Received: keys {list(lists)}. Add `keras_lr.LearningRateRecorder()` to "
            "the callbacks of `fit`."
        )
    return curves


def _positions(history: Any) -> tuple[str, npt.NDArray[np.float64]]:
    """Return what the entries are counted in, and the count at each of them."""
    batches = _lists(history).get("batch")
    if batches is not None:
        return "batch", np.asarray(batches, dtype=float)
    # Of a fit that resumed, Keras's own history knows the epochs.
    epochs = history.epoch if isinstance(history, keras.callbacks.History) else []
    unit = getattr(history, "history_unit", "epoch")
    return unit, np.asarray(epochs, dtype=float) + 1


def _points(rates: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Mark the values without a neighbor that a line would join them with."""
    is_known = np.pad(np.isfinite(rates), 1)
    alone = np.flatnonzero(is_known[1:-1] & ~is_known[:-2] & ~is_known[2:])
    return {"marker": ".", "markevery": alone.tolist()} if len(alone) else {}


def _style(ax: Any, text: str) -> dict[str, Any]:
    """Return the color, the dash and the name of the next line."""
    number = len(ax.get_lines())
    style = {
        "color": COLORS[number % len(COLORS)],
        "linestyle": LINES[number % len(LINES)],
    }
    return style | ({"label": text} if text else {})


def _name_axes(ax: Any, unit: str, *, is_effective: bool) -> None:
    name = "effective learning rate" if is_effective else "learning rate"
    # The rates of several trainings on one pair of axes may be of both kinds.
    ax.set_ylabel(name if ax.get_ylabel() in ("", name) else "learning rate")
    ax.set_xlabel(unit)
    ax.set_yscale("log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(alpha=0.3)


def _new_axes(function: str) -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            f"`{function}` needs matplotlib. "
            'Install it with `pip install "keras_lr[plot]"`.'
        ) from error
    return pyplot.figure(layout="constrained").add_subplot()
