"""Which runs the long suite consists of, and which half a problem is in."""

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from long_policies import GRIDS, METHODS, SHAPES, WITH_DEFAULT, is_meant_for
from long_problems import OPTIMIZERS, keras_rate, problems
from plan import Run, add_around_best, around_best, rate_texts
from policies import make_policy
from results import RESULTS

from keras_lr.comparison.policies import default_rates

CSV = RESULTS / "long.csv"
SPLIT = Path(__file__).parent / "split.json"
HALVES = ("choose", "report")
QUICK = ("regression_friedman", "second_fit_characters")
MEASURES = ("final_metric", "area")


def halves() -> dict[str, str]:
    """Return the half of each problem, as it was drawn up before any method was run."""
    split = json.loads(SPLIT.read_text(encoding="utf-8"))
    return {name: half for name, half in split.items() if name != "comment"}


def parse(
    description: str, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--problems", nargs="+", help="default: all")
    parser.add_argument("--half", choices=HALVES, help="only problems of this half")
    parser.add_argument("--policies", nargs="+", default=list(SHAPES))
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument(
        "--quick", action="store_true", help="two problems, one seed, three rates"
    )
    add_around_best(parser)
    parser.add_argument(
        "--starts",
        nargs="+",
        type=float,
        metavar="FACTOR",
        help="run methods from so many times Keras's rate, too",
    )
    parser.add_argument("--data", type=Path, help="file of California housing")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--output", type=Path)
    selected = parser.parse_args(arguments)
    named = QUICK if selected.quick else problems(selected.data)
    selected.problems = selected.problems or list(named)
    if unknown := set(selected.problems) - set(problems(selected.data)):
        parser.error(f"unknown problems, or without --data: {', '.join(unknown)}")
    for spec in selected.policies:
        if spec not in SHAPES:
            make_policy(spec, None, METHODS)
    if selected.half:
        of_half = halves()
        selected.problems = [
            name for name in selected.problems if of_half[name] == selected.half
        ]
    if selected.seeds is None:
        selected.seeds = [0] if selected.quick else [0, 1, 2]
    if selected.output is None:
        selected.output = RESULTS / "long_quick.csv" if selected.quick else CSV
    return selected


def plan(selected: argparse.Namespace) -> Iterator[Run]:
    """Yield every run of a selection, all of one seed before the next seed."""
    named = problems(selected.data)
    is_near = None
    if selected.around_best:
        is_near = around_best(selected.output, GRIDS, MEASURES)
    for seed, problem in itertools.product(selected.seeds, selected.problems):
        for optimizer, policy in itertools.product(
            named[problem].optimizers, selected.policies
        ):
            if is_meant_for(policy, problem, optimizer):
                rates = rates_of(policy, optimizer, is_quick=selected.quick)
                if policy not in SHAPES:
                    rates += starts(optimizer, selected.starts or ())
                for rate in rates:
                    run = Run(problem, optimizer, policy, rate, seed)
                    if not (is_near and rate and policy in GRIDS) or is_near(run):
                        yield run


def rates_of(policy: str, optimizer: str, *, is_quick: bool) -> list[str]:
    """Return the rates of a policy as the CSV has them, "" for the default."""
    default = [""] if policy in WITH_DEFAULT or policy not in SHAPES else []
    if policy not in GRIDS:
        return default
    rates = default_rates(OPTIMIZERS[optimizer]())
    # In the quick form the three in the middle, a decade apart.
    return default + rate_texts(rates[2:7:2] if is_quick else rates)


def starts(optimizer: str, factors: Sequence[float]) -> list[str]:
    """Return multiples of Keras's rate as the CSV has them."""
    return rate_texts([factor * keras_rate(optimizer) for factor in factors])
