r"""Short-sighted and far-sighted hypergradients
=============================================

How far should a learning rate look? Hypergradient descent (HD) asks what the last step
did, RTHO what all steps did. Donini et al. show on two functions of two variables that
neither is right everywhere ("MARTHE: Scheduling the Learning Rate Via Online
Hypergradients", IJCAI 2020, https://arxiv.org/abs/1910.08525, Figure 1): on a plateau
one step says too little, and at the bottom of a valley the past is misleading.
:class:`keras_lr.MARTHE` discounts the past by a factor, which may adapt itself.

The paper does not say where its trajectories start, nor at which rates and with which
:math:`\varepsilon`; those below are ours.

``python examples/plot_hypergradients.py --save FILE.png`` writes the figure.
"""

import argparse
import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import ops

import keras_lr
from keras_lr.plotting import COLORS

STEPS = 500

# %%
# Two functions
# -------------
# Beale's function is flat where it starts here, and has its minimum 0 at (3, 0.5). The
# simplified and smoothed Bukin function is a straight valley, :math:`y = 0.01 x`, with
# steep walls: a smooth bottom is all that :math:`\varepsilon` adds. Both work on arrays
# and on tensors.


def beale(x, y):
    """Return Beale's function."""
    terms = (1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3)
    return sum(term**2 for term in terms)


def bukin(x, y, epsilon=1e-3):
    """Return the paper's version of Bukin's function number 6."""
    return (((y - 0.01 * x) ** 2 + epsilon) ** 0.5 + epsilon) ** 0.5


@dataclass(frozen=True)
class Problem:
    """A function, where to start, and how to draw it.

    Attributes:
        name: Name of the function.
        function: Function of two coordinates.
        start: The first point.
        learning_rate: The first rate.
        hyper_learning_rates: The grid that each method gets its own from.
        too_high: One at which RTHO fails.
        x_limits: Limits of the picture.
        y_limits: Limits of the picture.
        legend: Where it has a free corner.
    """

    name: str
    function: Callable
    start: tuple[float, float]
    learning_rate: float
    hyper_learning_rates: tuple[float, ...]
    too_high: float
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    legend: str


BEALE = Problem(
    "Beale",
    beale,
    start=(-1.0, 1.5),
    learning_rate=1e-4,
    hyper_learning_rates=(1e-7, 1e-6, 1e-5, 1e-4),
    too_high=1e-5,
    x_limits=(-2.4, -0.7),
    y_limits=(1.2, 1.65),
    legend="upper left",
)
BUKIN = Problem(
    "Bukin",
    bukin,
    start=(-10.0, 3.0),
    learning_rate=1e-2,
    hyper_learning_rates=(1e-6, 1e-5, 1e-4, 1e-3),
    too_high=1e-4,
    x_limits=(-10.02, -9.93),
    y_limits=(-1.0, 3.4),
    legend="upper right",
)

# %%
# Three methods
# -------------
# All of them are one callback with a different discount: 0, 1, and the paper's adaptive
# one. The functions are the same at each step, so the curvature of the "whole batch" is
# asked for, and the objective is what is trained: the validation data are the training
# data.

ROW = np.zeros((1, 1))
EXACT = {"update": "additive", "validation_batch_size": 1}

METHODS = {
    "HD": functools.partial(keras_lr.HypergradientDescent, **EXACT),
    "RTHO": functools.partial(keras_lr.RTHO, **EXACT, curvature_batch_size=None),
    "MARTHE": functools.partial(
        keras_lr.MARTHE, **EXACT, curvature_batch_size=None, discount="adaptive"
    ),
}

# %%
# A function as a model
# ---------------------
# Two scalar weights, which the only layer puts into the function; its value is the
# loss.


class Surface(keras.layers.Layer):
    """Adds the value of a function at its own two weights to its inputs."""

    def __init__(self, function, start):
        super().__init__()
        self.function = function
        self.point = [
            self.add_weight(
                shape=(), initializer=keras.initializers.Constant(coordinate)
            )
            for coordinate in start
        ]

    def call(self, inputs):
        """Return the value for each input, which is 0."""
        return inputs + self.function(*map(ops.convert_to_tensor, self.point))


def build_model(problem: Problem) -> keras.Model:
    """Return a compiled model whose loss is the function."""
    model = keras.Sequential(
        [keras.Input((1,)), Surface(problem.function, problem.start)]
    )
    model.compile(
        keras.optimizers.SGD(problem.learning_rate),
        loss=lambda _, value: ops.mean(value),
        jit_compile=False,
    )
    return model


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Let Keras work in float64, and go back to what was before."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


# %%
# A run
# -----
# One step of ``fit`` for each row of the data. ``history`` knows the rate and the value
# of each step; another callback notes where it is.


@dataclass(frozen=True)
class Run:
    """What became of one training.

    Attributes:
        label: Method and hyper-learning rate.
        callback: With the `history` of its steps.
        path: The points, `(STEPS + 1, 2)`.
        values: The function at them; NaN from where it diverged.
    """

    label: str
    callback: keras_lr.MARTHE
    path: np.ndarray
    values: np.ndarray

    @property
    def best(self) -> float:
        """The lowest value that was reached, NaN if the run diverged."""
        return self.values.min()

    @property
    def rates(self) -> np.ndarray:
        """The learning rate of each step."""
        return np.array(self.callback.history["learning_rate"])


def train(problem: Problem, method: str, hyper_learning_rate: float) -> Run:
    """Take `STEPS` steps of gradient descent."""
    with double_precision():
        model = build_model(problem)
        path = [np.array(problem.start)]
        note = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: path.append(
                np.array(model.get_weights())
            )
        )
        callback = METHODS[method]((ROW, ROW), hyper_learning_rate=hyper_learning_rate)
        rows = np.zeros((STEPS, 1))
        model.fit(rows, rows, batch_size=1, verbose=0, callbacks=[callback, note])
    history = callback.history
    values = np.array([*history["loss"][:1], *history["validation_loss"]])
    # A rate of 0 may leave the point far away for good: it has diverged all the same.
    values[np.maximum.accumulate(~(values <= 1e3 * values[0]))] = np.nan
    label = f"{method} {hyper_learning_rate:.0e}"
    return Run(label, callback, np.array(path), values)


# %%
# The best hyper-learning rate
# ----------------------------
# The lowest value that each method reaches within 500 steps, for each hyper-learning
# rate: what the paper shows between its two pictures. On Beale's function RTHO gets
# further than HD wherever it does not diverge. On Bukin's all get to the bottom, 0.181,
# but not from the same hyper-learning rate: at 1e-4 HD is still on its way, and the
# rate of RTHO grows, carries the point past the valley, and is 0 from then on. The
# adaptive discount gets there. Its rate stays high, though, and the point continues to
# jump from one side of the valley to the other.
#
# Where a rate is about to be too high, a difference in the last digit is a hundred
# times as large ten steps later. The third digit of such a run is another one on
# another machine.

Runs = dict[tuple[str, float], Run]


def train_all(problem: Problem) -> Runs:
    """Run each method with each hyper-learning rate."""
    return {
        (method, beta): train(problem, method, beta)
        for method in METHODS
        for beta in problem.hyper_learning_rates
    }


def best_run(runs: Runs, method: str) -> Run:
    """Return the run of a method that got lowest."""
    of_method = [run for (name, _), run in runs.items() if name == method]
    finite = [run for run in of_method if math.isfinite(run.best)]
    # Of those that are equal in three digits, that of the largest hyper-learning rate.
    return min(reversed(finite), key=lambda run: round(run.best, 3))


def print_table(problem: Problem, runs: Runs) -> None:
    """Print the lowest values, a line for each method."""
    rates = problem.hyper_learning_rates
    print(f"{problem.name:8}" + "".join(f"{beta:>10.0e}" for beta in rates))
    for method in METHODS:
        values = [runs[method, beta].best for beta in rates]
        cells = [
            "diverges" if math.isnan(value) else f"{value:.3f}" for value in values
        ]
        print(f"{method:8}" + "".join(f"{cell:>10}" for cell in cells))


# %%
# The figure
# ----------
# Each method at its best hyper-learning rate, and RTHO at ten or a hundred times its
# own. Above: where the points go, from the circle to the squares. All gradients of
# Bukin's function are parallel, so that the paths lie on top of each other. Below: the
# rates. A line has a gap where the rate is 0, and it ends where a run diverges.


def draw_paths(problem: Problem, runs: Sequence[Run], ax: plt.Axes) -> plt.Axes:
    """Draw the level lines of a function and the paths of the runs."""
    x = np.linspace(*problem.x_limits, 200)
    y = np.linspace(*problem.y_limits, 200)
    levels = problem.function(*np.meshgrid(x, y))
    ax.contour(x, y, levels, 20, colors="0.8", linewidths=0.7)
    for number, run in enumerate(runs):
        path = run.path[np.isfinite(run.values)]
        # Of paths on top of each other, each is seen beside the next.
        ax.plot(
            *path.T,
            color=COLORS[number],
            linewidth=(7.0, 5.0, 3.0, 1.2)[number],
            marker="s",
            markersize=(11.0, 8.0, 6.0, 4.0)[number],
            markevery=[-1],
            label=run.label,
        )
    ax.plot(*problem.start, "o", color="black", markersize=9)
    ax.set(
        xlim=problem.x_limits,
        ylim=problem.y_limits,
        xlabel="x",
        ylabel="y",
        title=problem.name,
    )
    ax.locator_params(axis="x", nbins=5)
    ax.legend(loc=problem.legend, framealpha=1.0, labelspacing=0.8)
    return ax


def draw_rates(runs: Sequence[Run], ax: plt.Axes) -> plt.Axes:
    """Draw the learning rates over the steps."""
    for run in runs:
        rates = run.rates[np.isfinite(run.values[1:])]
        keras_lr.plot_learning_rate({"learning_rate": rates}, ax, label=run.label)
    ax.set(xlabel="step")
    ax.get_legend().remove()  # That of the paths serves both.
    return ax


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print the tables and draw."""
    parser = argparse.ArgumentParser(description="Hypergradients on two functions")
    parser.add_argument("--save", metavar="FILE")
    options = parser.parse_args(arguments)
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    for problem, column in zip((BEALE, BUKIN), axes.T, strict=True):
        runs = train_all(problem)
        print_table(problem, runs)
        shown = [best_run(runs, method) for method in METHODS]
        shown.append(runs["RTHO", problem.too_high])
        draw_paths(problem, shown, column[0])
        draw_rates(shown, column[1])
    if options.save:
        figure.savefig(options.save, dpi=110)
    else:
        plt.show()


if __name__ == "__main__":
    main()
