"""A file that one process should write: what replaces it besides is noticed.

Two trainings or searches in one directory write under partial names of their own, so
that neither fails; but the one that writes last wins, and the other cannot resume.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from keras_lr import _warnings

# Inode and time of the last change, of a file that is not there.
_ABSENT = (0, 0)


class SoleWriter:
    """Warns once if somebody else writes to a file that it writes to.

    A process that was killed leaves no trace: what an object has not written or looked
    at itself may be anybody's.

    Args:
        consequence: What follows from two writers and what to do, for the message.
    """

    def __init__(self, consequence: str) -> None:
        self._consequence = consequence
        self.start_over()

    def start_over(self) -> None:
        """Begin anew: the next write may replace anything."""
        self._last: dict[Path, tuple[int, int]] = {}
        self._has_warned = False

    def look_at(self, path: Path) -> None:
        """Expect the file to stay as it is, or absent, until it is written."""
        self._last[path] = stamp(path)

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Return the context in which the file is written.

        Args:
            path: The file. One that is not on a local disk is not watched.
        """
        is_shared = self._last.get(path, stamp(path)) != stamp(path)
        if is_shared and not self._has_warned:
            self._has_warned = True
            _warnings.warn(
                f"Something else writes {path.name} to the same directory, "
                f"{str(path.parent)!r}. {self._consequence}"
            )
        yield
        self.look_at(path)


def stamp(path: Path) -> tuple[int, int]:
    """Return what tells a file from its successor."""
    try:
        status = path.stat()
    except OSError:
        return _ABSENT
    return status.st_ino, status.st_mtime_ns
