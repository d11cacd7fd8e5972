"""The search for a schedule: outer steps, what is stored of them, how it resumes."""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_lr._sole_writer import SoleWriter
from keras_lr._typing import FloatArray
from keras_lr.rules import lrs_opt
from keras_lr.schedules.descent import Descent
from keras_lr.training.fit import state_file
from keras_lr.training.schedule.inner_training import JUDGMENT, SEARCH, InnerTraining

HISTORY = ("objective", "hypergradient_norm", "outer_learning_rate", "seconds")

# How many of the best schedules are judged, and by how many trainings each.
FINALISTS, DRAWS = 4, 3
# The first schedule and the last one are judged too.
MOST_JUDGMENTS = (FINALISTS + 2) * DRAWS

_FILE = "keras_lr_schedule.npz"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A schedule by which a model was trained.

    Attributes:
        objective: Loss after the training.
        values: Values of the schedule.
    """

    objective: float
    values: FloatArray


class ScheduleSearch:
    """Descends on the values of a schedule, one training for each step.

    Args:
        training: Training by the schedule.
        descent: Descent that moves the values.
        directory: Directory in which each step is saved, or `None`.
    """

    def __init__(
        self,
        training: InnerTraining,
        descent: Descent,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        self._training = training
        self._descent = descent
        self._settings = training.settings() | descent.settings
        self._path = None if directory is None else Path(directory) / _FILE
        self._start = np.full(training.values, training.learning_rate)
        self._gradient: FloatArray | None = None
        self.history: dict[str, list[float]] = {name: [] for name in HISTORY}
        self._last = Candidate(np.inf, self._start)
        self._best: list[Candidate] = []
        self._writer = SoleWriter(state_file.ONE_WRITER)
        if self._path is not None:
            state_file.require_writable(self._path.parent)
            if self._path.exists():
                self._read(self._path)

    @property
    def steps(self) -> int:
        """Number of outer steps so far."""
        return len(self.history["objective"])

    @property
    def best_objective(self) -> float:
        """Lowest loss after a training."""
        return min((each.objective for each in self._best), default=np.inf)

    def step(self) -> None:
        """Train by the next schedule, and take its gradient.

        A setback is rolled back: the next step is half as long, from the same values.
        """
        start = time.perf_counter()
        before = self._descent.state()
        values, rate = self._start, 0.0
        if self._gradient is not None:
            values = self._descent.step(self._last.values, self._gradient)
            rate = self._descent.learning_rate
        loss, gradient = self._training.gradient(values, (SEARCH, self.steps))
        if lrs_opt.is_setback(loss, gradient, self.best_objective):
            self._roll_back(before, loss)
            gradient = np.full_like(gradient, np.nan)
        else:
            self._accept(Candidate(loss, values), gradient)
        norm = float(np.linalg.norm(gradient))
        row = loss, norm, rate, time.perf_counter() - start
        for name, number in zip(HISTORY, row, strict=True):
            self.history[name].append(number)
        self._write()

    def best(self, on_training: Callable[[], None] = lambda: None) -> Candidate:
        """Return the best schedule, by trainings on the same draws for each candidate.

        Args:
            on_training: Function called after each training.
        """
        if self._training.is_fixed:
            return self.lowest()
        candidates = {each.values.tobytes(): each for each in self._contenders()}
        judged = []
        for candidate in candidates.values():
            values, losses = candidate.values, []
            for number in range(DRAWS):
                losses.append(self._training.loss(values, (JUDGMENT, number)))
                on_training()
            judged.append(Candidate(float(np.mean(losses)), values))
        return min(judged, key=_objective)

    def lowest(self) -> Candidate:
        """Return the schedule with the lowest loss of its own training."""
        return min(self._best, key=_objective)

    def _contenders(self) -> Iterator[Candidate]:
        yield Candidate(np.inf, self._start)
        yield self._last
        yield from self._best

    def _accept(self, candidate: Candidate, gradient: FloatArray) -> None:
        self._last, self._gradient = candidate, gradient
        self._best = sorted([*self._best, candidate], key=_objective)[:FINALISTS]

    def _roll_back(self, before: list[Any], loss: float) -> None:
        if self._gradient is None:
            rates = sorted({*self._start.tolist()})
            raise ValueError(
                "The training that the search starts from must come to a finite loss "
                f"and a finite hypergradient. Received: learning_rate={rates[-1]:.3g}, "
                f"after which the loss is {loss:.3g}. Compile with a lower one."
            )
        self._descent.restore(before)
        self._descent.halve()

    def _write(self) -> None:
        if self._path is None or self._gradient is None:
            return
        arrays = {f"history_{name}": np.array(x) for name, x in self.history.items()}
        arrays |= {f"descent_{i}": x for i, x in enumerate(self._descent.state())}
        arrays |= {
            "settings": np.array(json.dumps(self._settings)),
            "gradient": self._gradient,
            "start": self._start,
            "values": np.array([each.values for each in [self._last, *self._best]]),
            "objectives": np.array([x.objective for x in [self._last, *self._best]]),
        }
        with self._writer.writing(self._path):
            state_file.write_arrays(self._path, arrays)

    def _read(self, path: Path) -> None:
        try:
            arrays = state_file.read_arrays(path)
            settings = dict(json.loads(str(arrays["settings"])))
        except (*state_file.UNREADABLE, KeyError, TypeError, ValueError) as error:
            raise _not_this_search(path, str(error)) from error
        differences = [
            f"{name}={settings.get(name)!r}, not {value!r}"
            for name, value in self._settings.items()
            # 0.1.0 did not note the layers and the losses.
            if settings.get(name, value) != value
        ]
        if differences:
            raise _not_this_search(path, ", ".join(differences))
        try:
            self._set(arrays)
        # The arrays of a broken file are of any kind.
        except Exception as error:
            raise _not_this_search(path, f"{type(error).__name__}: {error}") from error

    def _set(self, arrays: dict[str, Any]) -> None:
        steps, size = len(arrays["history_objective"]), self._training.values
        history = {x: _numbers(arrays, f"history_{x}", (steps,)) for x in HISTORY}
        before = [np.asarray(each) for each in self._descent.state()]
        named = [(f"descent_{i}", each.shape) for i, each in enumerate(before)]
        state = [_finite(arrays, name, shape) for name, shape in named]
        # The first one is the size of the steps.
        _finite(arrays, "descent_0", (), lowest=0.0)
        start = _finite(arrays, "start", (size,), lowest=0.0)
        gradient = _finite(arrays, "gradient", (size,))
        objectives = _finite(arrays, "objectives", (len(arrays["values"]),))
        values = _finite(arrays, "values", (len(objectives), size), lowest=0.0)
        self._descent.restore(state)
        self.history = {name: each.tolist() for name, each in history.items()}
        self._start, self._gradient = start, gradient
        pairs = zip(objectives.tolist(), values, strict=True)
        self._last, *self._best = [Candidate(*pair) for pair in pairs]


def _objective(candidate: Candidate) -> float:
    # One that is not a number is worse than any.
    return candidate.objective if np.isfinite(candidate.objective) else np.inf


def _numbers(arrays: dict[str, Any], name: str, shape: tuple[int, ...]) -> Any:
    """Return an array of numbers of this shape, or raise."""
    array = arrays[name]
    if array.dtype.kind not in "iuf" or array.shape != shape:
        raise ValueError(f"{name} of {array.dtype} and shape {array.shape}")
    return array


def _finite(
    arrays: dict[str, Any],
    name: str,
    shape: tuple[int, ...],
    lowest: float = -np.inf,
) -> Any:
    """Return an array of finite numbers that are not too low, or raise."""
    array = _numbers(arrays, name, shape)
    if not np.all(np.isfinite(array) & (array >= lowest)):
        raise ValueError(f"{name}={array}, which is out of range")
    return array


def _not_this_search(path: Path, reason: str) -> ValueError:
    return ValueError(
        "`backup_dir` must hold the search that is to continue, or none. Received: "
        f"{path.name} with {reason}. Take another directory, or delete the file."
    )
