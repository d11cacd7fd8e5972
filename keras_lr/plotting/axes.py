"""Colors, dashes, axes and figures that all plots share."""

from typing import Any

from keras_lr._optional import imported

# Okabe and Ito's colors, told apart by the color-blind; yellow, too light, left out.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = ("-", "--", "-.", ":")


def as_text(name: str) -> str:
    """Return a name such that matplotlib draws it, and takes no `$` for mathematics."""
    return name.replace("$", r"\$")


def new_axes(function: str) -> Any:
    """Return the axes of a new figure, for the public function of this name."""
    return new_figure(function).add_subplot()


def new_figure(function: str, size: tuple[float, float] | None = None) -> Any:
    """Return a new figure, for the public function of this name.

    Args:
        function: Name for the error without matplotlib.
        size: Width and height in inches. Defaults to matplotlib's setting.
    """
    pyplot = imported("matplotlib.pyplot", extra="plot", function=function)
    return pyplot.figure(figsize=size, layout="constrained")
