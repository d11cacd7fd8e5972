"""`plot_learning_rate`: the rates of one training or of several."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_lr.plotting.axes import COLORS, LINES, new_axes

_RATE, _EFFECTIVE = "learning_rate", "effective_learning_rate"


def plot_learning_rate(
    history: Any, ax: Any = None, *, label: str | None = None
) -> Any:
    """Draw the learning rate of a training, or of several, on a logarithmic axis.

    Where the optimizer has an effective rate, it is drawn in place of the optimizer's
    `learning_rate`. Each of several optimizers has a line. Where a rate is 0, as after
    a step that was left out, or not finite, the line has a gap.

    Args:
        history: What `fit` returned, a `keras_lr.LearningRateRecorder`, any other
            callback with a `history`, or the dictionary of lists in one. For several
            trainings, a dictionary of them with their names, or a list.
        ax: The matplotlib axes to draw on, also after a plot of another training.
            Defaults to those of a new figure.
        label: Name of the training in the legend, in front of those in a dictionary.
            Trainings in a list are numbered.

    Returns:
        The axes.

    Raises:
        ValueError: If there is no learning rate in `history`, or if the entries of one
            training are epochs and those of another batches or steps.
        ImportError: Without matplotlib.

    Example:
        >>> import keras_lr
        >>> ax = keras_lr.plot_learning_rate({"learning_rate": [0.1, 0.05]})
        >>> ax.get_xlabel(), ax.get_yscale()
        ('epoch', 'log')
        >>> runs = {name: {"learning_rate": [0.1, 0.05]} for name in ("one", "other")}
        >>> ax = keras_lr.plot_learning_rate(runs)
        >>> [line.get_label() for line in ax.get_lines()]
        ['one', 'other']
    """
    trainings = [
        (", ".join(filter(None, [label, name])), _curves(each), _positions(each))
        for name, each in _named_histories(history)
    ]
    _require_one_unit({unit for _, _, (unit, _) in trainings})
    if ax is None:
        ax = new_axes("plot_learning_rate")
    for name, curves, (unit, positions) in trainings:
        _draw_rates(ax, name, curves, positions)
        effective = all(key.startswith(_EFFECTIVE) for key in curves)
        _name_axes(ax, unit, is_effective=effective)
    if ax.get_legend_handles_labels()[1]:
        ax.legend()
    return ax


def _named_histories(history: Any) -> Iterator[tuple[str, Any]]:
    """Yield the trainings in `history`, each with its name, empty for a single one."""
    if isinstance(history, list | tuple):
        named = {str(number): each for number, each in enumerate(history, start=1)}
    else:
        named = history
    if isinstance(named, Mapping) and any(map(_is_history, named.values())):
        yield from ((str(name), each) for name, each in named.items())
    else:
        yield "", history


def _is_history(value: Any) -> bool:
    return isinstance(getattr(value, "history", value), Mapping)


def _require_one_unit(units: set[str]) -> None:
    if len(units) > 1:
        raise ValueError(
            "Trainings on one pair of axes must be recorded alike, by epoch, batch or "
            f"step. Received: {', '.join(sorted(units))}. Draw what `fit` returned, or "
            "`keras_lr.LearningRateRecorder`s with the same `every`."
        )


def _draw_rates(
    ax: Any,
    label: str,
    curves: Mapping[str, Sequence[float]],
    positions: npt.NDArray[np.float64],
) -> None:
    """Draw a line for each optimizer of a training."""
    for key, values in curves.items():
        rates = np.array(values, dtype=float)
        rates[~(np.isfinite(rates) & (rates > 0))] = np.nan
        name = key.removeprefix("effective_").removeprefix(_RATE).removeprefix("_")
        text = ", ".join(filter(None, [label, name]))
        x = positions if len(positions) == len(rates) else np.arange(len(rates)) + 1
        ax.plot(x, rates, **_style(ax, text), **_points(rates))


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
    keys = [key for key in lists if key == _RATE or key.startswith(f"{_RATE}_")]
    effective = [key for key in lists if key.startswith(_EFFECTIVE)]
    hidden = {key.removeprefix("effective_") for key in effective}
    shown = [key for key in keys if key not in hidden] + effective
    curves = {key: lists[key] for key in shown if len(lists[key])}
    if not curves:
        advice = "Add `keras_lr.LearningRateRecorder()` to the callbacks of `fit`."
        raise ValueError(
            "`history` must hold a learning rate for each epoch or batch. Received: "
            + (
                f"an empty list of {', '.join(shown)}. Call `fit` before."
                if shown
                else f"keys {list(lists)}. {advice}"
            )
        )
    return curves


def _positions(history: Any) -> tuple[str, npt.NDArray[np.float64]]:
    """Return what the entries count, such as epochs, and the count at each of them."""
    batches = _lists(history).get("batch")
    if batches is not None:
        return "batch", np.asarray(batches, dtype=float)
    # Only Keras's history knows from which epoch a fit was resumed.
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
