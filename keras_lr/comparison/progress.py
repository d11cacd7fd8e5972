"""Progress of a comparison on the terminal: a bar with rich, plain lines without."""

import sys
import time
from typing import Any, Protocol

from keras_lr._keras import print_message
from keras_lr.comparison.runner import RunRecord


class Progress(Protocol):
    """What a comparison reports while it runs."""

    def start(self, policy: str, seed: int) -> None:
        """Say that a run begins."""

    def epoch(self, epoch: int) -> None:
        """Say that an epoch of the run has ended."""

    def finish(self, record: RunRecord) -> None:
        """Say that a run has ended, or had ended before."""

    def close(self) -> None:
        """Say that nothing more comes."""


def make_progress(total: int, epochs: int, verbose: int) -> Progress:
    """Return the display that suits the terminal.

    Args:
        total: Number of runs.
        epochs: Number of epochs of a run.
        verbose: 0 for silence.
    """
    if not verbose:
        return _Silent()
    if sys.stdout.isatty():
        try:
            return _Bar(total, epochs)
        except ImportError:
            pass
    return _Lines(total)


class _Silent:
    def start(self, policy: str, seed: int) -> None:
        pass

    def epoch(self, epoch: int) -> None:
        pass

    def finish(self, record: RunRecord) -> None:
        pass

    def close(self) -> None:
        pass


class _Lines(_Silent):
    """A line for each finished run."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.start_time = time.perf_counter()

    def finish(self, record: RunRecord) -> None:
        self.done += 1
        elapsed = time.perf_counter() - self.start_time
        left = elapsed / self.done * (self.total - self.done)
        print_message(
            f"Run {self.done}/{self.total}, {left:.0f} s left: {_describe(record)}"
        )


class _Bar(_Silent):
    """A progress bar of epochs with the current run beside it."""

    def __init__(self, total: int, epochs: int) -> None:
        from rich import progress

        self.epochs = epochs
        self.done = 0
        self.bar: Any = progress.Progress(
            # A name in brackets is no markup.
            progress.TextColumn("{task.description:<36}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("epochs,"),
            progress.TimeRemainingColumn(),
        )
        self.task = self.bar.add_task("Comparing policies", total=total * epochs)
        self.bar.start()

    def start(self, policy: str, seed: int) -> None:
        self.bar.update(self.task, description=f"{policy}, seed {seed}")

    def epoch(self, epoch: int) -> None:
        done = self.done * self.epochs + epoch + 1
        self.bar.update(self.task, completed=done)

    def finish(self, record: RunRecord) -> None:
        self.done += 1
        self.bar.update(self.task, completed=self.done * self.epochs)
        if record.error is not None:
            self.bar.console.print(_describe(record), markup=False, highlight=False)

    def close(self) -> None:
        self.bar.stop()


def _describe(record: RunRecord) -> str:
    run = f"{record.policy}, seed {record.seed}"
    if record.error is not None:
        return f"{run} failed: {record.error[:200]}"
    diverged = " (diverged)" if record.diverged else ""
    return f"{run}: {record.monitor} {record.final_metric:.4g}{diverged}"
