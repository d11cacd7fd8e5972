"""Which line of the user's is behind what happens, past the frames of libraries."""

import sys
import threading
from collections.abc import Iterator
from types import FrameType

# `contextlib` and `threading` stand between parts of ours, or of TensorFlow's.
_PASSED_OVER = {
    *("keras_lr", "keras", "keras_tuner", "tensorflow"),
    *("contextlib", "threading"),
}


def user_frame() -> FrameType:
    """Return the frame of the user's code that called `fit`.

    Within the training step that is not the innermost one, which may be that of a layer
    or of a `train_step`. Outside of `fit` it is the innermost.
    """
    caller = sys._getframe(1)
    fit = next(filter(_is_fit, _outward(caller)), caller)
    theirs = (each for each in _outward(fit) if _package(each) not in _PASSED_OVER)
    return next(theirs, caller)


def _outward(frame: FrameType) -> Iterator[FrameType]:
    """Yield a frame and its callers; from a replica's thread, also the main thread's.

    A `MirroredStrategy` traces in threads of its own, for which another one waits.
    """
    yield from _callers(frame)
    if type(threading.current_thread()).__module__.startswith("tensorflow."):
        yield from _callers(sys._current_frames()[threading.main_thread().ident or 0])


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_fit(frame: FrameType) -> bool:
    return frame.f_code.co_name == "fit" and _package(frame) == "keras"


def _package(frame: FrameType) -> str:
    # Not by its file: AutoGraph compiles a function anew, from a temporary one.
    return str(frame.f_globals.get("__name__")).partition(".")[0]
