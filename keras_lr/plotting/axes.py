"""Colors, dashes and axes that all plots share."""

from typing import Any

# Okabe and Ito's colors, told apart by the color-blind; yellow, too light, left out.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = ("-", "--", "-.", ":")


def new_axes(function: str) -> Any:
    """Return the axes of a new figure, for the public function of this name."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            f"`{function}` needs matplotlib. "
            'Install it with `pip install "keras_lr[plot]"`.'
        ) from error
    return pyplot.figure(layout="constrained").add_subplot()
