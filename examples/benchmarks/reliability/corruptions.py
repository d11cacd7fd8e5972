"""What happens to a user whose state files are damaged?

    python examples/benchmarks/reliability/corruptions.py --write

damages one of the files of a training, a search, a comparison or an optimized schedule
in one of the ways of `damages.py`, and lets the package continue from it. 5000 draws by
seed; the rows are in `results/corruptions.csv`, and those that are there are not drawn
again. Allowed are: a warning, after which it continues without the file; a `ValueError`
of the package's own; and where a stored number has become another one that is possible,
to continue with it. Anything else is a fault: another exception, a rate or weights that
are not finite, more than half a minute. Some 15 minutes on one core.
"""

import argparse
import contextlib
import io
import random
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "guard"))

import runs
from damages import DAMAGES
from runs import append, read
from state_files import KINDS, Kind, UsedError, write_files

import keras_lr

PAGE = runs.DOCS / "reliability.md"
PACKAGE = str(Path(keras_lr.__file__).parent)
# A draw of a callback is a fit, one of the others some milliseconds.
DRAWS = {
    "optimize_schedule": 1075,
    "compare_policies": 1075,
    "Zooming": 1075,
    "BLiE": 1075,
    "LearningRateWalk": 250,
    "MARTHE": 300,
    "HypergradientDescent": 150,
}
LONGEST = 30
ALLOWED = {
    "warned": "warned, continued without",
    "refused": "refused in our words",
    "same": "no difference",
    "used": "continued with other numbers",
}


class TooLong(BaseException):
    """Ends what hangs; nothing catches it."""


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)


def is_of_ours(error: BaseException) -> bool:
    """Return whether the package itself raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.startswith(PACKAGE)


def outcome(kind: Kind, files: dict[str, bytes], expected: Any) -> tuple[str, str]:
    """Return what happens to somebody with these files: a word, and a remark."""
    with (
        tempfile.TemporaryDirectory() as name,
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("always")
        write_files(Path(name), files)
        try:
            with _limited():
                result = kind.use(Path(name))
        except TooLong:
            return "fault", "it hangs"
        except UsedError as error:
            return "fault", f"UsedError: {error}"
        except ValueError as error:
            word = "refused" if is_of_ours(error) else "fault"
            return word, f"ValueError: {_place(error)}: {error}"
        except Exception as error:
            return "fault", f"{type(error).__name__}: {_place(error)}: {error}"
        texts = [
            str(each.message).replace(f"{name}/", "").replace(name, "DIRECTORY")
            for each in caught
            if each.category is UserWarning
        ]
        if texts:
            return "warned", texts[0]
        return ("same" if repr(result) == repr(expected) else "used"), ""


def _place(error: BaseException) -> str:
    """Return the last place in the package before an error."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if each.filename.startswith(PACKAGE)]
    if not own:
        return ""
    return f"{Path(own[-1].filename).name}:{own[-1].name}"


def draw(name: str, kind: Kind, expected: Any, seed: int) -> dict[str, Any]:
    """Return the row of a damaged file."""
    chance = random.Random(f"{name} {seed}")
    damage = chance.choice(list(DAMAGES))
    file = chance.choice(list(kind.files))
    files = dict(kind.files)
    if damage == "foreign" and chance.random() < 0.3 and len(files) > 1:
        files[file] = files[chance.choice([each for each in files if each != file])]
    else:
        files[file] = DAMAGES[damage](files[file], chance)
    word, remark = outcome(kind, files, expected)
    short = " ".join(remark.split())[:100]
    row = {"state": name, "seed": seed, "file": file, "damage": damage}
    return row | {"outcome": word, "remark": short}


def table(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """Return the outcomes of each kind of state file."""
    lines = [["state of", "files damaged", *ALLOWED.values(), "faults"]]
    for name in dict.fromkeys(row["state"] for row in rows):
        words = [row["outcome"] for row in rows if row["state"] == name]
        counts = [words.count(word) for word in (*ALLOWED, "fault")]
        lines.append([f"`{name}`", *map(str, (len(words), *counts))])
    return lines


def run(options: argparse.Namespace) -> None:
    """Draw what has not been drawn."""
    done = {(row["state"], row["seed"]) for row in read(options.output)}
    for name in options.states:
        number = round(options.part * DRAWS[name])
        seeds = [seed for seed in range(number) if (name, str(seed)) not in done]
        if not seeds:
            continue
        kind = KINDS[name]()
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), kind.files)
            with contextlib.redirect_stdout(io.StringIO()):
                expected = kind.use(Path(folder))
        for seed in seeds:
            append(options.output, draw(name, kind, expected, seed))


def main(arguments: Any = None) -> None:
    """Draw what is missing, and print the table."""
    command_line = runs.parser(__doc__, "corruptions.csv", PAGE)
    add = command_line.add_argument
    add("--states", nargs="+", choices=DRAWS, default=list(DRAWS))
    add("--part", type=float, default=1.0, help="of the draws")
    options = command_line.parse_args(arguments)
    if not options.summary:
        run(options)
    lines = table(read(options.output))
    runs.publish(options, lines, "corruptions.py", PAGE, "reliability")


if __name__ == "__main__":
    main()
