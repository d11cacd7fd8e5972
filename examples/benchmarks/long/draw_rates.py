"""Draw the learning rates of a method in one long training beside the best cosine.

    python examples/benchmarks/long/draw_rates.py california --data california.npz

trains the problem with each of its optimizers, one seed, and writes
`docs/images/rates_california.png`: a panel for each optimizer, with the rate after each
epoch and the best of nine cosine decays of `results/long_california.csv`. About a
minute for an optimizer on one core.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before TensorFlow is imported.
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import matplotlib.pyplot as plt
import numpy as np
from long_policies import cosine_decay
from long_problems import LongProblem, problems
from page import DOCS
from plan import Run
from results import RESULTS, best, read
from robustness import TITLES
from run_long import train_once


def draw(
    problem: LongProblem,
    rates: dict[str, Sequence[float]],
    scores: dict[str, float],
    results: Path,
    policy: str,
) -> Any:
    """Return the figure.

    Args:
        problem: What was trained.
        rates: Learning rate after each epoch, by optimizer.
        scores: Metric at the end in points, by optimizer.
        results: CSV with runs of the cosine decays of this problem.
        policy: Name of the method.
    """
    table = read(results)
    figure, axes = plt.subplots(
        1, len(rates), figsize=(4 * len(rates), 3.4), sharey=True, layout="constrained"
    )
    for ax, (optimizer, of_epochs) in zip(
        np.atleast_1d(axes), rates.items(), strict=True
    ):
        top = best(table[problem.name, optimizer]["cosine_decay"])
        ax.plot(range(1, problem.epochs + 1), of_epochs, color="#0072B2", label=policy)
        ax.plot(
            np.arange(problem.steps) * problem.epochs / problem.steps,
            (top.rate or np.nan) * cosine_decay(problem.steps),
            color="#D55E00",
            linestyle="--",
            label="best of nine cosine decays",
        )
        title = f"{TITLES[optimizer]}: {scores[optimizer]:.1f}, cosine {top.text}"
        ax.set(yscale="log", xlabel="epoch", title=title, ylim=(1e-5, None))
        ax.title.set_size(9)
    np.atleast_1d(axes)[0].set_ylabel("learning rate")
    np.atleast_1d(axes)[0].legend(fontsize=8)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("problem")
    parser.add_argument("--data", type=Path, help="file of California housing")
    parser.add_argument("--policy", default="marthe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args(arguments)
    problem = problems(options.data)[options.problem]
    results = options.results or RESULTS / f"long_{problem.name}.csv"
    rates, scores = {}, {}
    for optimizer in problem.optimizers:
        run = Run(problem.name, optimizer, options.policy, "", options.seed)
        record = train_once(run, problem, options.data)
        rates[optimizer] = record.learning_rates
        scores[optimizer] = 100 * record.metric[-1]
    figure = draw(problem, rates, scores, results, options.policy)
    name = f"rates_{problem.name}.png"
    figure.savefig(options.figure or DOCS / "images" / name, dpi=120)


if __name__ == "__main__":
    main()
