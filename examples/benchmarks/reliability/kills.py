"""Is anything lost if a training is killed, and started again?

    python examples/benchmarks/reliability/kills.py --write

kills (`kill -9`) each training, search and comparison of `continued.py` at a random
moment of its work and runs the same again in the same directory, up to four times; then
lets it come to its end. What it comes to is compared bit by bit with what it comes to
without a kill: weights, the optimizer's variables and the logs of the last epoch, or
rates and scores of a search, or what the tables hold. So it continues until each has
been killed 20 times. The rows are in `results/kills.csv`, one for each chain of kills;
those that are there are not run again. Some 25 minutes on one core. Linux only.

Keras's `BackupAndRestore` writes its files in place. A kill at that moment leaves a
torn one, which the next `fit` cannot read, or weights and a number of epochs of two
moments. Both are looked for after each kill, and counted. The backup is then deleted,
as a user has to do, and the training begins anew.
"""

import argparse
import contextlib
import functools
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1] / "guard"))

import runs
from continued import BACKUP, CASES, STEPS, Outcome, Say
from runs import append, read

PAGE = runs.DOCS / "reliability.md"
KILLS, LONGEST_CHAIN = 20, 4
# Seconds after which something hangs.
LONGEST = 600.0
Case = Callable[[Path, Say, Say], Outcome]


class Whole(NamedTuple):
    """What an uninterrupted run comes to.

    Attributes:
        outcome: What it returns.
        parts: Parts of its work: epochs, trainings, outer steps.
        seconds: Time from the beginning of its work to the end.
    """

    outcome: Outcome
    parts: int
    seconds: float


class Process:
    """A run in a process of its own, which is forked from this one.

    This process has loaded TensorFlow and never uses it, so that a fork may.

    Args:
        case: What to run.
        folder: Folder of the run: its directory, and what it says.
    """

    def __init__(self, case: Case, folder: Path) -> None:
        self.begun, self.result = folder / "begun", folder / "result.json"
        self.begun.unlink(missing_ok=True)
        arguments = (case, folder, self.begun, self.result)
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_run, args=arguments)
        self._process.start()

    def wait_until_begun(self) -> None:
        """Wait until the work begins, or the process ends."""
        end = time.monotonic() + LONGEST
        while self._process.is_alive() and not self.begun.exists():
            _require(time.monotonic() < end, "hangs")
            time.sleep(0.01)

    def wait(self, seconds: float = LONGEST) -> bool:
        """Return whether the process has ended after so many seconds."""
        self._process.join(seconds)
        return not self._process.is_alive()

    def kill(self) -> None:
        """Kill the process; it cannot know."""
        self._process.kill()
        self._process.join()


def _run(case: Case, folder: Path, begun: Path, result: Path) -> None:
    """Run a case in this process; leave its result, or its error, in a file."""
    with (
        (folder / "said").open("a", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        try:
            note = functools.partial(_note, folder)
            text = json.dumps(case(folder / "work", begun.touch, note))
        except BaseException as error:
            traceback.print_exc()
            text = json.dumps({"error": f"{type(error).__name__}: {error}"})
    partial = result.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(result)


def _note(folder: Path) -> None:
    with (folder / "parts").open("a", encoding="utf-8") as file:
        file.write("\n")


def _parts(folder: Path) -> int:
    path = folder / "parts"
    return path.stat().st_size if path.exists() else 0


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise RuntimeError(f"The run {what}.")


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "work").mkdir()
        yield folder


def whole(case: Case) -> Whole:
    """Return what a case comes to that nobody kills."""
    with _folder() as folder:
        process = Process(case, folder)
        process.wait_until_begun()
        begun = time.monotonic()
        _require(process.wait(), "hangs")
        seconds = time.monotonic() - begun
        outcome = json.loads(process.result.read_text(encoding="utf-8"))
        _require("error" not in outcome, f"failed: {outcome.get('error')}")
        return Whole(outcome, _parts(folder), seconds)


def backup_fault(backup: Path) -> str:
    """Return what is wrong with Keras's backup: `torn`, `two moments` or nothing."""
    import h5py

    weights, metadata = backup / "latest.weights.h5", backup / "training_metadata.json"
    if not weights.exists() and not metadata.exists():
        return ""
    try:
        with h5py.File(weights) as file:
            updates = int(file["optimizer/vars/0"][()])
        # Without the second file, Keras takes the weights for those of epoch 0.
        epoch = 0
        if metadata.exists():
            epoch = int(json.loads(metadata.read_text(encoding="utf-8"))["epoch"])
    except (OSError, KeyError, ValueError):
        return "torn"
    return "" if updates == epoch * STEPS else "two moments"


def chain(name: str, number: int, most_kills: int, uncut: Whole) -> dict[str, Any]:
    """Kill a case some times in one directory; return the row of it."""
    moments = random.Random(f"{name} {number}")
    faults = {"torn": 0, "two moments": 0}
    kills = 0
    with _folder() as folder:
        while True:
            process = Process(CASES[name], folder)
            process.wait_until_begun()
            moment = moments.uniform(0.0, uncut.seconds)
            if kills == most_kills or process.wait(moment):
                break
            process.kill()
            if process.result.exists():
                break
            kills += 1
            fault = backup_fault(folder / "work" / BACKUP)
            if fault:
                faults[fault] += 1
                shutil.rmtree(folder / "work" / BACKUP)
        has_ended = process.wait()
        if not has_ended:
            process.kill()
        outcome = {"error": "it hangs"}
        if process.result.exists():
            outcome = json.loads(process.result.read_text(encoding="utf-8"))
        keys = uncut.outcome.keys() | outcome.keys()
        differing = [k for k in keys if uncut.outcome.get(k) != outcome.get(k)]
        again = _parts(folder) - uncut.parts
    return {
        "case": name,
        "chain": number,
        "kills": kills,
        "torn": faults["torn"],
        "two_moments": faults["two moments"],
        "is_equal": int(not differing),
        "done_again": again,
        "differing": outcome.get("error", " ".join(sorted(differing)[:6])),
    }


def table(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """Return what came of the kills of each case."""
    header = ["killed", "kills", "chains", "equal to the last bit", "failed or differs"]
    lines = [[*header, "Keras's backup torn", "of two moments", "done again"]]
    for name in dict.fromkeys(row["case"] for row in rows):
        group = [row for row in rows if row["case"] == name]
        total = {
            key: sum(int(row[key]) for row in group)
            for key in ("kills", "is_equal", "torn", "two_moments", "done_again")
        }
        wrong = len(group) - total["is_equal"]
        numbers = total["kills"], len(group), total["is_equal"], wrong
        backups = total["torn"], total["two_moments"], total["done_again"]
        lines.append([f"`{name}`", *map(str, (*numbers, *backups))])
    return lines


def missing_kills(path: Path, name: str, kills: int) -> tuple[int, int]:
    """Return how many kills of a case are missing, and the number of the next chain."""
    group = [row for row in read(path) if row["case"] == name]
    return kills - sum(int(row["kills"]) for row in group), len(group)


def run(options: argparse.Namespace) -> None:
    """Kill what has not been killed often enough."""
    for name in options.cases:
        uncut = None
        while True:
            missing, number = missing_kills(options.output, name, options.kills)
            if missing <= 0:
                break
            uncut = uncut or whole(CASES[name])
            most = min(missing, LONGEST_CHAIN)
            append(options.output, chain(name, number, most, uncut))


def main(arguments: Any = None) -> None:
    """Run what is missing, and print the table."""
    command_line = runs.parser(__doc__, "kills.csv", PAGE)
    command_line.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    command_line.add_argument("--kills", type=int, default=KILLS)
    options = command_line.parse_args(arguments)
    if not options.summary:
        run(options)
    lines = table(read(options.output))
    runs.publish(options, lines, "kills.py", PAGE, "reliability")


if __name__ == "__main__":
    main()
