"""Colors, dashes, axes and figures that all plots share."""

from typing import Any

# Okabe and Ito's colors, told apart by the color-blind; yellow, too light, left out.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = ("-", "--", "-.", ":")


def new_axes(function: str) -> Any:
    """Return the axes of a new figure, for the public function of this name."""
    return new_figure(function).add_subplot()


def new_figure(function: str, size: tuple[float, float] | None = None) -> Any:
    """Return a new figure, for the public function of this name.

    Args:
        function: Name for the error without matplotlib.
        size: Width and height in inches. Defaults to matplotlib's setting.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise matplotlib_is_missing(function) from error
    return pyplot.figure(figsize=size, layout="constrained")


def matplotlib_is_missing(function: str) -> ImportError:
    """Return the error of a public function without matplotlib."""
    return ImportError(
        f"`{function}` needs matplotlib. "
        'Install it with `pip install "keras_lr[plot]"`.'
    )
