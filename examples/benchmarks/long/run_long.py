"""Run the long suite: cases x policies x seeds -> one CSV of raw runs.

    python examples/benchmarks/long/run_long.py --quick
    python examples/benchmarks/long/run_long.py --seeds 0
    python examples/benchmarks/long/run_long.py --policies marthe --half report

The first takes some minutes and prints a table. The second is all baselines of one
seed, more than an hour of one core; the third is a method on the problems that nothing
was chosen on. Runs that are in the CSV already are skipped.
"""

import functools
import os
from pathlib import Path

# Before TensorFlow is imported, here and in the workers that inherit them.
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from long_plan import parse, plan
from long_policies import SHAPES, method
from long_problems import LongProblem, keras_rate, problems
from make_long_tables import quick_table
from page import markdown
from plan import Run
from results import LOWEST
from run_suite import VALIDATION_BATCH_SIZE, finished_runs, outcome, run_all
from traced_models import fresh_model

from keras_lr.comparison.policies import Policy
from keras_lr.comparison.runner import RunRecord, RunSettings, train


def execute(run: Run, data: Path | None) -> dict[str, object]:
    """Return the row of a run; an exception becomes the row's `error`."""
    row: dict[str, object] = run._asdict()
    problem = problems(data)[run.problem]
    try:
        record = train_once(run, problem, data)
    except Exception as error:
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        return row | {"error": message, "area": ""}
    value = area([100 * each for each in record.metric], problem.epochs)
    return row | outcome(record) | {"area": f"{value:.6g}"}


def train_once(run: Run, problem: LongProblem, data: Path | None) -> RunRecord:
    """Train the model of a run with its policy."""
    build = functools.partial(build_model, run.optimizer, run.seed, problem)
    if run.policy in SHAPES:
        build = functools.partial(
            fresh_model,
            run.problem,
            "schedule_free" if run.policy == "schedule_free" else run.optimizer,
            run.seed,
            planned_rates(run, problem.steps),
            data,
        )
        policy = Policy(run.policy)
    else:
        rate = float(run.learning_rate) if run.learning_rate else None
        policy = method(run.policy, problem, rate)
    settings = RunSettings(
        problem.epochs,
        problem.batch_size,
        VALIDATION_BATCH_SIZE,
        monitor=problem.metric,
        mode="max",
    )
    return train(build, problem.load(), policy, settings, seed=run.seed)


def planned_rates(run: Run, steps: int) -> np.ndarray:
    """Return the learning rate of each step of a baseline."""
    if run.learning_rate:
        highest = float(run.learning_rate)
    else:
        name = "schedule_free" if run.policy == "schedule_free" else run.optimizer
        highest = keras_rate(name)
    return highest * SHAPES[run.policy](steps)


def build_model(optimizer: str, seed: int, problem: LongProblem) -> keras.Model:
    """Return a new compiled model, one step in each call."""
    keras.backend.clear_session()
    return problem.build_model(problem.make_optimizer(optimizer), seed)


def area(metric: list[float], epochs: int) -> float:
    """Return the mean over the epochs, each at least `LOWEST`.

    A training that was stopped, because its loss was not finite, stays where it was.

    Args:
        metric: Points after each epoch.
        epochs: Number of epochs of the whole training.
    """
    points = [each if each > LOWEST else float(LOWEST) for each in metric]
    return float(np.mean(points + points[-1:] * (epochs - len(points))))


def main() -> None:
    """Run what is selected and not yet done."""
    selected = parse((__doc__ or "").partition("\n")[0])
    finished = finished_runs(selected.output)
    runs = [run for run in plan(selected) if run not in finished]
    print(f"{len(runs)} runs to do, {len(finished)} in {selected.output.name}.")
    run_one = functools.partial(execute, data=selected.data)
    failed = run_all(runs, selected.output, selected.jobs, run_one)
    print(f"Done, {failed} failed.")
    if selected.quick:
        print(markdown(quick_table(selected.output)))


if __name__ == "__main__":
    main()
