"""Is a model as it should be after an exception in its `fit`, or beside another one?

    python examples/benchmarks/reliability/exceptions.py --write

raises an exception at each place of a `fit` where code of a user's runs: in each hook
of a callback, a `RuntimeError` in one that is listed before ours and a
`KeyboardInterrupt` in one after it, and both in the iterator of a data set, which runs
ahead in another thread and whose exception TensorFlow wraps. Then: the exception comes
out as it is; `train_step` is the model's own; weights are those of the
moment; a plain `fit` starts with the rate without annealing and equals that of a twin
which never had a callback, to the last bit; and a `fit` with the callback equals one
without an exception before it.

Two models are trained in two threads at once, each with its callback, and must equal
the same ones trained alone. And 200 fits are made in one process, after which threads
and open files are counted; what they leave in memory is in `overhead/refits.py`.

The rows are in `results/exceptions.csv`; those that are there are not run again. Some
10 minutes on one core. Linux only.
"""

import argparse
import contextlib
import functools
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).resolve().parents[1] / "guard"))

import keras
import numpy as np
import runs
from continued import BATCH_SIZE, build, data
from runs import append, read

import keras_lr

PAGE = runs.DOCS / "reliability.md"
EPOCHS, LAST = 3, 2
REFITS, WARM = 200, 20
HOOKS = (
    *("on_train_begin", "on_epoch_begin", "on_train_batch_begin"),
    *("on_train_batch_end", "on_test_begin", "on_test_batch_begin"),
    *("on_test_batch_end", "on_test_end", "on_epoch_end", "on_train_end"),
)
ITERATOR = "iterator of the data"
ERRORS = {each.__name__: each for each in (RuntimeError, KeyboardInterrupt)}
CALLBACKS: dict[str, Callable[[], Any]] = {
    "LipschitzLR": keras_lr.LipschitzLR,
    "LearningRateWalk": lambda: keras_lr.LearningRateWalk(every=3, anneal=0.5),
    "HypergradientDescent": keras_lr.HypergradientDescent,
    "RTHO": keras_lr.RTHO,
    "MARTHE": keras_lr.MARTHE,
}
PAIRS = (
    *((name, name) for name in CALLBACKS),
    *(("MARTHE", "LipschitzLR"), ("LearningRateWalk", "RTHO")),
)
KEY = ("part", "callback", "place", "error", "order")
State = list[np.ndarray]


def variables_of(model: keras.Model) -> list[Any]:
    """Return the variables of a model and of its optimizer."""
    return [*model.weights, *model.optimizer.variables]


def state_of(model: keras.Model) -> State:
    """Return the values of a model and of its optimizer."""
    return [each.numpy() for each in variables_of(model)]


def assign(model: keras.Model, state: State) -> None:
    """Set a model and its optimizer."""
    for variable, value in zip(variables_of(model), state, strict=True):
        variable.assign(value)


def are_equal(state: State, other: State) -> bool:
    """Return whether two states are equal to the last bit."""
    return all(map(np.array_equal, state, other))


class _Moment:
    """When to raise, and what the model is like then."""

    def __init__(self, callback: Any, error: type[BaseException]) -> None:
        self.callback, self.error = callback, error
        self.weights: State = []
        self.rate = 0.0

    def raise_now(self, model: keras.Model) -> None:
        self.weights = [each.numpy() for each in model.weights]
        self.note_rate(model)
        raise self.error("on purpose")

    def raise_ahead(self) -> None:
        """Raise in the thread that makes batches, while steps are taken."""
        raise self.error("on purpose")

    def note_rate(self, model: keras.Model) -> None:
        callback = self.callback
        # Before the first epoch, its fit is that of an earlier training.
        is_begun = callback._fit is not None and callback._epoch is not None
        own = callback._fit.rate.rate.value if is_begun else None
        self.rate = float(model.optimizer.learning_rate if own is None else own)


def raiser(place: str, moment: _Moment) -> keras.callbacks.Callback:
    """Return a callback that raises in one hook, in the last epoch."""

    class Raises(keras.callbacks.Callback):
        epoch = 0

    def hook(self: Any, *args: Any, **kwargs: Any) -> None:
        if place == "on_epoch_begin":
            self.epoch = args[0]
        is_once = place in ("on_train_begin", "on_train_end")
        if is_once or self.epoch == LAST:
            moment.raise_now(self.model)

    def on_epoch_begin(self: Any, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    if place in HOOKS:
        Raises.on_epoch_begin = on_epoch_begin
        setattr(Raises, place, hook)
    return Raises()


class Batches(keras.utils.PyDataset):
    """The rows in order; may raise in the second batch of the last epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.epoch = data(), 0
        self.act: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self.rows[0]) // BATCH_SIZE

    def __getitem__(self, index: int) -> Any:
        if self.epoch == LAST and index == 1:
            self.act()
        part = slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE)
        return tuple(each[part] for each in self.rows)

    def on_epoch_begin(self) -> None:
        """Count nothing: the first batch may be asked for before the first epoch."""

    def on_epoch_end(self) -> None:
        """Count the epoch."""
        self.epoch += 1


def fit(
    model: keras.Model, callbacks: Sequence[Any], epochs: int, batches: Any = None
) -> dict[str, list[float]]:
    """Fit silently, with validation data."""
    x, y = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = model.fit(
            Batches() if batches is None else batches,
            epochs=epochs,
            callbacks=list(callbacks),
            validation_data=(x[:BATCH_SIZE], y[:BATCH_SIZE]),
            shuffle=False,
            verbose=0,
        )
    return history.history


@functools.lru_cache(maxsize=1)
def subject(name: str) -> tuple[keras.Model, keras.Model, State, list[float]]:
    """Return a model, a plain twin, the first state, and the losses of a fit."""
    model, twin = build(), build()
    for each in (model, twin):
        each.optimizer.build(each.trainable_variables)
    first = state_of(model)
    losses = fit(model, [CALLBACKS[name]()], EPOCHS)["loss"]
    return model, twin, first, losses


def faults_after(name: str, place: str, error: str, is_first: bool) -> list[str]:
    """Return what is wrong after an exception.

    Args:
        name: Name of our callback.
        place: Where it is raised.
        error: Name of the exception.
        is_first: Whether the callback that raises comes before ours.
    """
    model, _, first, _ = subject(name)
    assign(model, first)
    callback = CALLBACKS[name]()
    moment, batches = _Moment(callback, ERRORS[error]), Batches()
    if place == ITERATOR:
        batches.act = moment.raise_ahead
    callbacks = [callback, raiser(place, moment)]
    faults = []
    try:
        fit(model, callbacks[::-1] if is_first else callbacks, EPOCHS, batches)
        faults.append("nothing was raised")
    except BaseException as raised:
        # TensorFlow wraps what the maker of batches raises.
        is_same = type(raised) is ERRORS[error] or place == ITERATOR
        if not is_same or "on purpose" not in str(raised):
            faults.append(f"raised {type(raised).__name__}")
    if place == ITERATOR:
        moment.note_rate(model)
    if "train_step" in vars(model):
        faults.append("train_step is wrapped")
    now = [each.numpy() for each in model.weights]
    if moment.weights and not are_equal(now, moment.weights):
        faults.append("other weights")
    return faults + _faults_of_next_fits(name, moment)


def _faults_of_next_fits(name: str, moment: _Moment) -> list[str]:
    """Return what is wrong in a plain fit, and in one with the callback after it."""
    model, twin, first, losses = subject(name)
    faults, rates, states = [], [], []

    def note(logs: Any = None) -> None:
        rates.append(float(model.optimizer.learning_rate))
        states.append(state_of(model))

    fit(model, [keras.callbacks.LambdaCallback(on_train_begin=note)], 1)
    if not np.isclose(rates[0], moment.rate, rtol=1e-5):
        faults.append(f"starts at {rates[0]:.3g}, not {moment.rate:.3g}")
    if {"train_step", "make_train_function"} & vars(model).keys():
        faults.append("the hook is there after a plain fit")
    assign(twin, states[0])
    fit(twin, [], 1)
    if not are_equal(state_of(model), state_of(twin)):
        faults.append("a plain fit is another one")
    assign(model, first)
    if fit(model, [CALLBACKS[name]()], EPOCHS)["loss"] != losses:
        faults.append("the next fit with it is another one")
    return faults


def faults_of_threads(pair: Sequence[str], repeats: int) -> list[str]:
    """Return what differs between two trainings at once and one after the other."""

    def train(model: keras.Model, name: str) -> None:
        fit(model, [CALLBACKS[name]()], EPOCHS)

    alone = []
    for name in pair:
        model = build()
        train(model, name)
        alone.append(state_of(model))
    faults = []
    for _ in range(repeats):
        models = [build() for _ in pair]
        threads = [
            threading.Thread(target=train, args=each)
            for each in zip(models, pair, strict=True)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        for name, model, expected in zip(pair, models, alone, strict=True):
            if not are_equal(state_of(model), expected):
                faults.append(f"{name} differs")
    return faults


def left_by_refits(name: str, number: int, warm: int) -> tuple[int, int]:
    """Return how many threads and open files fits leave, after the first ones."""

    def count() -> tuple[int, int]:
        process = Path("/proc/self")
        return len(list((process / "task").iterdir())), len(os.listdir(process / "fd"))

    model, counts = build(), [(0, 0)]
    with _backup(name) as make:
        for index in range(number):
            fit(model, [make()], 1)
            if index + 1 == warm:
                counts = [count()]
    (threads, files), (more_threads, more_files) = counts[0], count()
    return more_threads - threads, more_files - files


@contextlib.contextmanager
def _backup(name: str) -> Iterator[Callable[[], Any]]:
    """Give a function that makes a callback, with a directory if it takes one."""
    with tempfile.TemporaryDirectory() as folder:
        options = {} if name == "LipschitzLR" else {"backup_dir": folder}
        yield functools.partial(getattr(keras_lr, name), **options)


def cases(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield what identifies each row."""
    for pair in PAIRS:
        if set(pair) <= set(names):
            yield _key("threads", " and ".join(pair))
    for name in names:
        yield _key("refits", name)
    for name in names:
        for place in (*HOOKS, ITERATOR):
            for error, order in zip(ERRORS, ("before", "after"), strict=True):
                where = order if place in HOOKS else "data"
                yield _key("exception", name, place, error, where)


def _key(part: str, name: str, *rest: str) -> dict[str, str]:
    values = (part, name, *rest, *("" for _ in range(3 - len(rest))))
    return dict(zip(KEY, values, strict=True))


def row(key: dict[str, str], refits: int = REFITS, repeats: int = 3) -> dict[str, Any]:
    """Return the row of a case."""
    number = 1
    if key["part"] == "exception":
        arguments = key["callback"], key["place"], key["error"]
        faults = faults_after(*arguments, is_first=key["order"] == "before")
    elif key["part"] == "threads":
        number = repeats
        faults = faults_of_threads(key["callback"].split(" and "), repeats)
    else:
        number = refits
        threads, files = left_by_refits(key["callback"], refits, min(WARM, refits))
        faults = [f"{threads} threads"] if threads > 0 else []
        faults += [f"{files} open files"] if files > 0 else []
    return key | {"number": number, "faults": "; ".join(faults)}


def table(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """Return how often something was wrong, for each place and for each callback."""
    tried = {name for row in rows for name in row["callback"].split(" and ")}
    names = [name for name in CALLBACKS if name in tried]
    lines = [["an exception in", *(f"`{name}`" for name in names)]]

    def cell(group: Sequence[dict[str, str]]) -> str:
        number = sum(int(each["number"]) for each in group)
        wrong = sum(bool(each["faults"]) for each in group)
        return f"{wrong} of {number}" if group else ""

    for place in (*HOOKS, ITERATOR):
        at_place = [each for each in rows if each["place"] == place]
        groups = [[r for r in at_place if r["callback"] == name] for name in names]
        if at_place:
            title = place if place == ITERATOR else f"`{place}`"
            lines.append([title, *map(cell, groups)])
    for part, title in (
        ("threads", "two threads"),
        ("refits", "many fits: threads, open files"),
    ):
        of_part = [each for each in rows if each["part"] == part]
        groups = [
            [row for row in of_part if name in row["callback"].split(" and ")]
            for name in names
        ]
        if of_part:
            lines.append([title, *map(cell, groups)])
    return lines


def run(options: argparse.Namespace) -> None:
    """Run what is missing."""
    done = [{key: each[key] for key in KEY} for each in read(options.output)]
    for case in cases(options.callbacks):
        if case not in done:
            append(options.output, row(case))


def main(arguments: Any = None) -> None:
    """Run what is missing, and print the table."""
    command_line = runs.parser(__doc__, "exceptions.csv", PAGE)
    names = list(CALLBACKS)
    command_line.add_argument("--callbacks", nargs="+", choices=names, default=names)
    options = command_line.parse_args(arguments)
    if not options.summary:
        run(options)
    lines = table(read(options.output))
    runs.publish(options, lines, "exceptions.py", PAGE, "reliability")


if __name__ == "__main__":
    main()
