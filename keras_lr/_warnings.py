"""Warnings that point at the user's line: the one that called `fit`, or that asked us.

`warnings.warn` counts frames, and how many there are between that line and ours depends
on Keras, on TensorFlow and on what is traced.
"""

import warnings

from keras_lr._keras.user_frame import user_frame


def warn(message: str) -> None:
    """Warn at the line of the user's file that called `fit`.

    Args:
        message: What to say.
    """
    frame = user_frame()
    names = frame.f_globals
    warnings.warn_explicit(
        message,
        UserWarning,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=names.get("__name__", "<unknown>"),
        registry=names.setdefault("__warningregistry__", {}),
    )
