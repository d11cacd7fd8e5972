"""How good is the suggestion of `find_learning_rate`, and that of other range tests?

    python examples/benchmarks/find_learning_rate.py

asks for a learning rate in every case of both suites, from Keras's rate, with three
seeds; with the first one also what fastai's four rules read off a ramp of 100 steps,
and off the mean of three such ramps. Adds what is missing in
`results/find_learning_rate.csv`, and prints how far the suggestions are from the best
of nine constants and of nine cosine decays, and what they cost in points, by
interpolation between the nine measured rates in the CSVs of the suites. `--write` puts
the tables on the page of the function. Half an hour on one core.

The rule was chosen on the `choose` half of the long suite and the first five problems
of the short one; the tables report the other problems beside them.
"""

import argparse
import functools
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
for _folder in ("suite", "long"):
    sys.path.append(str(Path(__file__).parent / _folder))

import keras
import numpy as np
from long_plan import CSV as LONG_CSV
from long_plan import halves
from long_problems import EMBEDDED
from page import DOCS, markdown, rewrite
from problems import OPTIMIZERS, PROBLEMS, keras_rate
from results import CSV as SHORT_CSV
from results import LOWEST, RESULTS, Case, Cell, best, of_seed
from results import read as cells_of
from rows import append, read

import keras_lr
from keras_lr.rules import range_test
from keras_lr.rules.range_test import Trial

CSV = RESULTS / "find_learning_rate.csv"
PAGE = DOCS / "find_learning_rate.md"
SCRIPT = "find_learning_rate.py"
SEEDS = 3
LONG = {problem.name: problem for problem in EMBEDDED}
CHOSEN_ON = tuple(PROBLEMS)[:5]
"""Problems of the short suite that the rule was chosen on."""
OURS = "find_learning_rate"
RAMPS, RAMP_STEPS, LOWEST_RATE, HIGHEST_RATE = 3, 100, 1e-7, 10.0
REFERENCES = ("constant", "cosine_decay")
CLOSE, MOST = 2.0, 20.0
"""Points that are close, and above which it does not matter how many there are."""


class Run(NamedTuple):
    """What identifies a row of the CSV."""

    problem: str
    optimizer: str
    rule: str
    seed: int


def steepest(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return where the loss falls fastest."""
    slopes = np.diff(losses) / np.diff(np.log(rates))
    return float(rates[slopes.argmin()])


def minimum(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return a tenth of where the loss is lowest."""
    return float(rates[losses.argmin()] / 10)


def valley(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return a point in the middle of the longest subsequence of falling losses."""
    lengths = np.ones(len(losses), int)
    for start, end in sorted(
        itertools.combinations(range(len(losses)), 2), key=lambda pair: pair[1]
    ):
        if losses[end] < losses[start]:
            lengths[end] = max(lengths[end], lengths[start] + 1)
    last = int(lengths.argmax())
    first = max(last - int(lengths[last]), 0)
    third = (last - first) / 3
    return float(rates[first + int(third) + int(third / 2)])


def slide(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return where an interval, moved from the right, has equal slopes at both ends."""
    slopes, width = np.gradient(losses), 15
    right = len(losses) - 1
    rate = rates[max(right - width, 0)]
    while right >= width and abs(slopes[right] - slopes[right - width]) > 0.005:
        rate = rates[right - width]
        right -= 1
    return float(rate)


FASTAI: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "steepest": steepest,
    "minimum / 10": minimum,
    "valley": valley,
    "slide": slide,
}
RULES = (OURS, *FASTAI, *(f"{name}, 3 ramps" for name in FASTAI))


def plan() -> Iterator[tuple[str, str, int]]:
    """Yield problem, optimizer and seed, those that the rule is chosen on first."""
    cases = [(name, each) for name in PROBLEMS for each in OPTIMIZERS]
    cases += [(name, each) for name, of in LONG.items() for each in of.optimizers]
    for seed, half in itertools.product(range(SEEDS), ("choose", "report")):
        yield from ((*case, seed) for case in cases if half_of(case[0]) == half)


def half_of(problem: str) -> str:
    """Return whether a problem is one to choose on, or to report on."""
    if problem in LONG:
        return halves()[problem]
    return "choose" if problem in CHOSEN_ON else "report"


def build_model(problem: str, optimizer: str, seed: int) -> keras.Model:
    """Return a new compiled model."""
    keras.backend.clear_session()
    if problem in LONG:
        of = LONG[problem]
        return of.build_model(of.make_optimizer(optimizer), seed)
    keras.utils.set_random_seed(seed)
    return PROBLEMS[problem].build_model(optimizer)


def suggestions(problem: str, optimizer: str, seed: int) -> Iterator[dict[str, object]]:
    """Yield a row for each rule."""
    of = LONG.get(problem) or PROBLEMS[problem]
    data, size = of.load()[0], of.batch_size
    model = build_model(problem, optimizer, seed)
    result = keras_lr.find_learning_rate(
        model, data, batch_size=size, seed=seed, verbose=0
    )
    steps = (len(result.trials) + 1) * result.steps
    trials = json.dumps([[float(f"{x:.4g}") for x in _row(t)] for t in result.trials])
    yield {
        **Run(problem, optimizer, OURS, seed)._asdict(),
        "suggestion": f"{result.suggestion:.4g}",
        "is_sure": int(result.is_sure),
        "steps": steps,
        "seconds": f"{result.seconds:.2f}",
        "trials": trials,
    }
    if seed > 0:
        return
    start, state = time.perf_counter(), _state(model)
    rates = np.geomspace(LOWEST_RATE, HIGHEST_RATE, RAMP_STEPS)
    ramps = []
    for number in range(RAMPS):
        ramps.append(ramp(model, rates, data, size, seed=[seed, number]))
        for variable, value in state:
            variable.assign(value)
        if number in (0, RAMPS - 1):
            seconds = f"{time.perf_counter() - start:.2f}"
            for name, rate in readings(rates, ramps).items():
                yield {
                    **Run(problem, optimizer, name, seed)._asdict(),
                    "suggestion": f"{rate:.4g}",
                    "is_sure": "",
                    "steps": len(ramps) * RAMP_STEPS,
                    "seconds": seconds,
                    "trials": "",
                }


def _row(trial: Trial) -> tuple[float, ...]:
    return trial.learning_rate, trial.loss, trial.gain, trial.standard_error


def _state(model: keras.Model) -> list[tuple[keras.Variable, np.ndarray]]:
    variables = [*model.variables, *model.optimizer.variables]
    return [(each, each.numpy()) for each in variables]


def ramp(
    model: keras.Model,
    rates: np.ndarray,
    data: tuple[np.ndarray, ...],
    batch_size: int,
    seed: Sequence[int],
) -> np.ndarray:
    """Return the smoothed losses of a training whose rate rises in each step.

    It ends early where the smoothed loss is four times its lowest value so far.
    """
    generator = np.random.default_rng(seed)
    size, average, lowest, losses = len(data[0]), 0.0, math.inf, []
    order: list[int] = []
    for step, rate in enumerate(rates):
        if len(order) < batch_size:
            order = [int(each) for each in generator.permutation(size)]
        rows, order = order[:batch_size], order[batch_size:]
        model.optimizer.learning_rate = float(rate)
        batch = [array[rows] for array in data]
        loss = model.train_on_batch(*batch, return_dict=True)["loss"]
        average = 0.98 * average + 0.02 * float(loss)
        smoothed = average / (1 - 0.98 ** (step + 1))
        if not smoothed <= 4 * lowest:
            break
        lowest = min(lowest, smoothed)
        losses.append(smoothed)
    return np.array(losses)


def readings(rates: np.ndarray, ramps: Sequence[np.ndarray]) -> dict[str, float]:
    """Return what each of fastai's rules reads off the mean of ramps."""
    shortest = min(map(len, ramps))
    mean = np.mean([each[:shortest] for each in ramps], axis=0)
    # As fastai does.
    shown = slice(RAMP_STEPS // 10, max(shortest - 5, RAMP_STEPS // 10 + 3))
    suffix = "" if len(ramps) == 1 else f", {len(ramps)} ramps"
    return {
        name + suffix: rule(rates[:shortest][shown], mean[shown])
        for name, rule in FASTAI.items()
    }


@functools.cache
def measured() -> dict[Case, dict[str, list[Cell]]]:
    """Return the nine constants and the nine cosine decays of each case.

    With the first seed, with which all nine were run.
    """
    tables = {**cells_of(SHORT_CSV), **cells_of(LONG_CSV)}
    return {
        case: {
            name: [of_seed(cell, 0) for cell in policies[name] if cell.rate]
            for name in REFERENCES
        }
        for case, policies in tables.items()
    }


class Score(NamedTuple):
    """How good a rate is as a constant, or as the start of a decay.

    Attributes:
        decades: How many times it is ten times the best of nine.
        points: How much less it reaches than the best of nine, at most `MOST`.
    """

    decades: float
    points: float


def score(rate: float, cells: Sequence[Cell]) -> Score:
    """Return the score of a rate by interpolation between those that were measured."""
    top = best(cells)
    rates = [math.log10(cell.rate or math.nan) for cell in cells]
    means = [max(cell.mean, LOWEST) for cell in cells]
    here = float(np.interp(math.log10(rate), rates, means))
    decades = math.log10(rate / (top.rate or math.nan))
    return Score(decades, min(top.mean - here, MOST))


def rows_of(
    rows: Sequence[dict[str, str]], rule: str, half: str
) -> list[dict[str, str]]:
    """Return the rows of a rule on a half of the problems."""
    return [
        row for row in rows if row["rule"] == rule and half_of(row["problem"]) == half
    ]


def line(name: str, pairs: Sequence[tuple[Case, float]], cost: str) -> list[str]:
    """Return a line of the table: decades, points, and what they cost."""
    texts = [name]
    for reference in REFERENCES:
        scores = [score(rate, measured()[case][reference]) for case, rate in pairs]
        points = [each.points for each in scores]
        close = fmean(each <= CLOSE for each in points)
        texts += [
            f"{median(abs(each.decades) for each in scores):.2f}",
            f"{fmean(points):.1f}",
            f"{max(points):.0f}",
            f"{close:.0%}",
        ]
    return [*texts, cost]


HEADER = ["", "decades", "points", "worst", "close", "decades", "points", "worst"]
HEADER += ["close", "steps"]


def table(rows: Sequence[dict[str, str]], half: str) -> list[list[str]]:
    """Return a line for each rule, and for Keras's own rate."""
    lines = [HEADER]
    for rule in RULES:
        of_rule = rows_of(rows, rule, half)
        if of_rule:
            steps = f"{fmean(int(row['steps']) for row in of_rule):.0f}"
            lines.append(line(_title(rule), _pairs(of_rule), steps))
    ours = rows_of(rows, OURS, half)
    defaults = [(case, keras_rate(_plain(case[1]))) for case, _ in _pairs(ours)]
    if ours:
        lines.append(line("Keras's default rate", defaults, "0"))
    return lines


def _plain(optimizer: str) -> str:
    return "adam" if optimizer == "adamw" else optimizer


def _title(rule: str) -> str:
    return "`find_learning_rate`" if rule == OURS else f"ramp, {rule}"


def _pairs(rows: Sequence[dict[str, str]]) -> list[tuple[Case, float]]:
    return [
        ((row["problem"], row["optimizer"]), float(row["suggestion"])) for row in rows
    ]


def margins(rows: Sequence[dict[str, str]], half: str) -> list[list[str]]:
    """Return a line for each part of the best rate that could be suggested."""
    lines = [["margin", *HEADER[1:-1]]]
    ours = rows_of(rows, OURS, half)
    for margin in (1.0, 0.7, 0.5, 0.3):
        pairs = [
            ((row["problem"], row["optimizer"]), _with_margin(row, margin))
            for row in ours
        ]
        lines.append(line(f"{margin:g}", pairs, "")[:-1])
    return lines


def _with_margin(row: dict[str, str], margin: float) -> float:
    trials = [Trial(*values) for values in json.loads(row["trials"])]
    rates = [each.learning_rate for each in trials]
    return range_test.verdict(trials, rates, margin).learning_rate


def certainty(rows: Sequence[dict[str, str]], half: str) -> list[list[str]]:
    """Return a line for suggestions with and without a warning."""
    lines = [["", "suggestions", *HEADER[1:-1]]]
    for name, is_sure in (("no warning", "1"), ("a warning", "0")):
        of = [row for row in rows_of(rows, OURS, half) if row["is_sure"] == is_sure]
        if of:
            scored = line(name, _pairs(of), "")[:-1]
            lines.append([name, str(len(of)), *scored[1:]])
    return lines


def cases(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """Return a line for each case: suggestions, best rates, and points."""
    header = ["problem", "optimizer", "half", "suggestions"]
    lines = [[*header, "best constant", "points", "best cosine", "points"]]
    ours = [row for row in rows if row["rule"] == OURS]
    for case in measured():
        of = [row for row in ours if (row["problem"], row["optimizer"]) == case]
        if not of:
            continue
        found = [float(row["suggestion"]) for row in of]
        texts = [*case, half_of(case[0]), ", ".join(f"{each:.2g}" for each in found)]
        for reference in REFERENCES:
            cells = measured()[case][reference]
            points = fmean(score(each, cells).points for each in found)
            texts += [f"{best(cells).rate:.3g}", f"{points:.1f}"]
        lines.append(texts)
    return lines


def page_tables(rows: Sequence[dict[str, str]]) -> str:
    """Return the tables of the page."""
    titles = {
        "report": "On the other problems",
        "choose": "On the problems that the rule was chosen on",
    }
    parts = []
    for half, title in titles.items():
        parts += [f"**{title}:**", markdown(table(rows, half))]
    seconds = sorted(float(row["seconds"]) for row in rows if row["rule"] == OURS)
    parts.append(
        f"Seconds of `find_learning_rate` on one core, of {len(seconds)} runs: "
        f"{median(seconds):.0f} as a median, {seconds[len(seconds) // 10]:.0f} to "
        f"{seconds[-1 - len(seconds) // 10]:.0f} in four of five."
    )
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=CSV)
    parser.add_argument("--summary", action="store_true", help="run nothing")
    parser.add_argument("--write", action="store_true", help=f"into docs/{PAGE.name}")
    options = parser.parse_args(arguments)
    finished = {_run(row) for row in read(options.output)}
    for problem, optimizer, seed in () if options.summary else plan():
        rules = RULES if seed == 0 else (OURS,)
        runs = {Run(problem, optimizer, rule, seed) for rule in rules}
        if runs <= finished:
            continue
        for row in suggestions(problem, optimizer, seed):
            if Run(*(row[key] for key in Run._fields)) not in finished:
                append(options.output, row)
    rows = read(options.output)
    for half in ("choose", "report"):
        print(half, markdown(table(rows, half)), sep="\n\n", end="\n\n")
        print(markdown(margins(rows, half)), end="\n\n")
        print(markdown(certainty(rows, half)), end="\n\n")
    print(markdown(cases(rows)))
    if options.write:
        rewrite(PAGE, page_tables(rows), SCRIPT, "")


def _run(row: dict[str, str]) -> Run:
    return Run(row["problem"], row["optimizer"], row["rule"], int(row["seed"]))


if __name__ == "__main__":
    main()
