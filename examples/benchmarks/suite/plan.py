"""Which runs the suite consists of: the full one, the quick one, or a selection."""

import argparse
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from policies import (
    FROM_EACH_RATE,
    FROM_STARTS,
    IGNORES_START,
    ONLY_WITH,
    POLICIES,
)
from problems import OPTIMIZERS, PROBLEMS, keras_rate
from results import CSV, GRIDS, RESULTS, best, of_seed, read
from search import SEARCHES

from keras_lr.comparison.policies import default_rates

FULL = {
    "problems": list(PROBLEMS),
    "policies": [*POLICIES, *SEARCHES],
    "seeds": [0, 1, 2],
    "output": CSV,
}
QUICK = {
    "problems": ["mlp_digits", "regression_diabetes"],
    "policies": [
        *("default", "constant", "cosine_decay", "lipschitz", "marthe", "walk"),
        *("adamo", "auto_adam"),
    ],
    "seeds": [0],
    "output": RESULTS / "quick.csv",
}


class Run(NamedTuple):
    """What identifies a row of the CSV."""

    problem: str
    optimizer: str
    policy: str
    learning_rate: str
    seed: int


def parse(
    description: str, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--problems", nargs="+")
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    parser.add_argument("--policies", nargs="+", help="default: all, from all starts")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument(
        "--from-each-rate",
        action="store_true",
        help="start every policy from each of the nine rates, not from Keras's",
    )
    parser.add_argument("--rates", nargs="+", type=float, help="instead of the nine")
    add_around_best(parser)
    parser.add_argument(
        "--quick", action="store_true", help="two problems, one seed, every second rate"
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--output", type=Path)
    given = vars(parser.parse_args(arguments))
    defaults = QUICK if given["quick"] else FULL
    missing = {name: defaults[name] for name in defaults if given[name] is None}
    starts = not (given["policies"] or given["quick"])
    return argparse.Namespace(**given | missing, starts=starts)


def add_around_best(parser: argparse.ArgumentParser) -> None:
    """Add the argument that leaves out rates far from the best one."""
    parser.add_argument(
        "--around-best",
        action="store_true",
        help="of each grid, the best rate of the runs in the CSV, and its neighbors",
    )


def plan(selected: argparse.Namespace) -> Iterator[Run]:
    """Yield every run of a selection, all of one seed before the next seed."""
    is_near = around_best(selected.output, GRIDS) if selected.around_best else None
    for run in _plan(selected):
        is_of_grid = run.learning_rate and run.policy in GRIDS
        if not (is_near and is_of_grid) or is_near(run):
            yield run


def _plan(selected: argparse.Namespace) -> Iterator[Run]:
    for seed, problem, optimizer, policy in itertools.product(
        selected.seeds, selected.problems, selected.optimizers, selected.policies
    ):
        if optimizer not in ONLY_WITH.get(policy, OPTIMIZERS):
            continue
        is_grid = selected.from_each_rate or policy in FROM_EACH_RATE
        for rate in rate_texts(grid(optimizer, selected)) if is_grid else [""]:
            yield Run(problem, optimizer, policy, rate, seed)
    if selected.starts:
        yield from plan_of_starts(selected)


def plan_of_starts(selected: argparse.Namespace) -> Iterator[Run]:
    """Yield the runs from other rates than Keras's, of the first seed."""
    for problem, optimizer, policy in itertools.product(
        selected.problems, selected.optimizers, FROM_STARTS
    ):
        if optimizer in FROM_STARTS[policy]:
            for rate in rate_texts(starts(optimizer, policy)):
                yield Run(problem, optimizer, policy, rate, selected.seeds[0])


def grid(optimizer: str, selected: argparse.Namespace) -> Sequence[float]:
    """Return the rates that every policy with rates starts from."""
    if selected.rates:
        return selected.rates
    if selected.quick:
        return every_second(optimizer)
    return nine_rates(optimizer)


@functools.cache
def nine_rates(optimizer: str) -> Sequence[float]:
    """Return the rates that constants and cosines are tried at."""
    return default_rates(OPTIMIZERS[optimizer]())


def starts(optimizer: str, policy: str) -> Sequence[float]:
    """Return one rate a decade, up to ten times what any constant rate is tried at.

    Without the one that every policy is run from.
    """
    rates = every_second(optimizer)
    rates = [*rates, 10 * rates[-1]]
    if policy in IGNORES_START:
        return [rates[0], rates[-1]]
    default = keras_rate(optimizer)
    return [rate for rate in rates if not math.isclose(rate, default, rel_tol=1e-6)]


def every_second(optimizer: str) -> Sequence[float]:
    """Return five of the nine rates of an optimizer, the outermost among them."""
    return nine_rates(optimizer)[::2]


def around_best(
    path: Path, grids: Sequence[str], measures: Sequence[str] = ("final_metric",)
) -> Callable[[Run], bool]:
    """Return whether a run of a grid is at its best rate or beside it.

    The best rate is that of the first seed in the CSV which has the grid.

    Args:
        path: CSV of raw runs.
        grids: Policies that are grids of rates.
        measures: Columns in which a rate can be the best.
    """
    near: set[tuple[str, ...]] = set()
    for measure in measures:
        for case, policies in read(path, measure).items():
            for policy in policies.keys() & set(grids):
                cells = [cell for cell in policies[policy] if cell.rate is not None]
                first = cells[0].seeds[0]
                cells = [of_seed(cell, first) for cell in cells]
                top = cells.index(best(cells))
                rates = [cell.rate for cell in cells[max(top - 1, 0) : top + 2]]
                near |= {(*case, policy, rate) for rate in rate_texts(rates)}
    return lambda run: run[:4] in near


def rate_texts(rates: Sequence[float]) -> list[str]:
    """Return rates as the CSV has them."""
    return [f"{rate:.3g}" for rate in rates]
