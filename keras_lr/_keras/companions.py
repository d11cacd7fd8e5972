"""What a callback cannot know by itself: which others are in its list."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import keras

_KERAS = str(Path(keras.__file__).parent)


def companions(callback: keras.callbacks.Callback) -> list[Any]:
    """Return the callbacks that a fit calls, in their order, this one among them.

    Keras tells a callback nothing about the others. But it is a `CallbackList` that
    calls it, so this works inside of `on_train_begin` and its kin; elsewhere, and where
    something else calls the callback, there are none.
    """
    lists = _lists_with(callback, sys._getframe(1))
    return list(next((each.callbacks for each in lists), []))


def is_in_a_fit(callback: object) -> bool:
    """Return whether this is called by a fit that calls the callback."""
    return any(True for _ in _lists_with(callback, sys._getframe(1)))


def is_in_another_fit(callback: keras.callbacks.Callback, model: keras.Model) -> bool:
    """Return whether a fit of another model is running that calls the callback.

    A fit that ended in an exception tells nobody. So it is looked for where it would be
    running, in this thread or in another one.

    Args:
        callback: Callback that gets a model.
        model: Model that it gets.
    """
    frames = sys._current_frames().values()
    every = (each for frame in frames for each in _lists_with(callback, frame))
    return any(each.model not in (None, model) for each in every)


def _lists_with(callback: object, frame: FrameType | None) -> Iterator[Any]:
    """Return the lists with a callback that a frame and its callers work with."""
    while frame is not None:
        # To read the variables of a frame keeps what they are alive for as long as it
        # runs, before Python 3.13. So those of users are left alone.
        is_of_keras = frame.f_code.co_filename.startswith(_KERAS)
        # A list that calls its callbacks, or that of `fit`.
        for name in ("self", "callbacks") if is_of_keras else ():
            value = frame.f_locals.get(name)
            if isinstance(value, keras.callbacks.CallbackList):
                every: list[Any] = getattr(value, "callbacks", None) or []
                if any(each is callback for each in every):
                    yield value
        frame = frame.f_back


def restored_batches(callback: keras.callbacks.Callback, steps: int | None) -> int:
    """Return how far into an epoch a backup was made, 0 if at the end of one.

    Args:
        callback: Callback in whose `on_train_begin` this is called.
        steps: Number of batches of an epoch, if it is known.

    Returns:
        Number of batches before the one whose learning rate the optimizer has.
    """
    every = companions(callback)
    for index, each in enumerate(every):
        is_backup = isinstance(each, keras.callbacks.BackupAndRestore)
        if not is_backup or each.save_freq == "epoch":
            continue
        try:
            with open(each._training_metadata_path, encoding="utf-8") as file:
                batch = int(json.load(file)["batch"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        # At the last batch of an epoch, the rate of the next one is left behind.
        is_after = any(other is callback for other in every[:index])
        return batch + 1 if is_after and batch + 1 == steps else batch
    return 0
