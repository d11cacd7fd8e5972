"""Second derivatives of a loss: right where TensorFlow's are not, or refused."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any, Never

from keras_lr._keras import missing_gradients, moments, root
from keras_lr._keras.substitution import substituted


@contextlib.contextmanager
def made_right() -> Iterator[None]:
    """Make TensorFlow's second derivatives right in this context.

    The pass forward and both passes back have to run in it. Values and first
    derivatives stay what they were, to the last bit.
    """
    with (
        moments.twice_differentiable(),
        missing_gradients.added(),
        root.twice_differentiable(),
    ):
        yield


@contextlib.contextmanager
def second_pass_back() -> Iterator[None]:
    """Run the second pass back in this context, in which roots have derivatives at 0.

    Raises:
        ValueError: If an operation of the first pass has no derivative. It is raised
            where the pass is traced.
    """
    from tensorflow.python.ops import gen_functional_ops

    try:
        with (
            root.second_pass_back(),
            # TensorFlow inserts it for a function without a derivative; it cannot run.
            substituted(gen_functional_ops, "symbolic_gradient", _refuse_function),
        ):
            yield
    except LookupError as error:
        kind = re.search(r"(?:no entry for: |op type: )(\w+)", str(error))
        if kind is None:
            raise
        # In forward mode it is missed where the operation itself is.
        place = _place_of(kind[1]) or _place_of(kind[1].removesuffix("Grad"))
        raise _refusal(kind[1], place) from error


def _refuse_function(*_: Any, **__: Any) -> Never:
    import tensorflow as tf

    raise _refusal("a function of TensorFlow's", tf.get_current_name_scope())


def _place_of(kind: str) -> str:
    """Return the name of the first operation of a kind, empty if it is not here."""
    import tensorflow as tf

    operations = tf.compat.v1.get_default_graph().get_operations()
    return next((each.name for each in operations if each.type == kind), "")


def _refusal(kind: str, place: str) -> ValueError:
    # TensorFlow names operations by the layers in which they were made.
    layer = place.removeprefix("gradient_tape/").rpartition("/")[0]
    at = f" at {layer!r}" if layer else ""
    return ValueError(
        "Second derivatives of the training loss are needed, so every operation must "
        f"have a derivative, and that of its gradient too. Received: {kind}{at}, which "
        "has none in TensorFlow. Use another operation there, or set the learning rate "
        "by `HypergradientDescent` (`MARTHE` with `discount=0`), `LearningRateWalk` or "
        "`LipschitzLR`, which need first derivatives only."
    )
