"""Listen to what goes through a layer while a training step runs or is traced."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_lr._typing import Tensor

Listener = Callable[[Tensor, Tensor], None]

_ATTRIBUTE = "_keras_lr_layer_tap"
_LOCK = threading.RLock()


@contextlib.contextmanager
def tapped(layer: keras.Layer, listener: Listener) -> Iterator[None]:
    """Call `listener(inputs, outputs)` at each call of `layer` in this thread.

    The layer's `call` is replaced on the instance for the length of the context, and
    nothing stays behind. A `MirroredStrategy` traces its replicas in threads that take
    turns in the middle of a step, so their contexts overlap without nesting: one tap
    serves them all, and a listener hears its own thread only.
    """
    with _LOCK:
        tap = layer.__dict__.get(_ATTRIBUTE)
        if tap is None:
            tap = _LayerTap(layer)
            setattr(layer, _ATTRIBUTE, tap)
        entry = (threading.get_ident(), listener)
        tap.listeners.append(entry)
    try:
        yield
    finally:
        with _LOCK:
            tap.listeners.remove(entry)
            if not tap.listeners:
                tap.remove()


class _LayerTap:
    """A layer's replaced `call` and its listeners."""

    def __init__(self, layer: keras.Layer) -> None:
        self.layer = layer
        self.listeners: list[tuple[int, Listener]] = []
        self.shadowed = layer.__dict__.get("call")
        self.plain_call = layer.call
        layer.call = self._call

    def _call(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        outputs = self.plain_call(inputs, *args, **kwargs)
        thread = threading.get_ident()
        for owner, listener in list(self.listeners):
            if owner == thread:
                listener(inputs, outputs)
        return outputs

    def remove(self) -> None:
        if self.shadowed is None:
            del self.layer.call
        else:
            self.layer.call = self.shadowed
        delattr(self.layer, _ATTRIBUTE)
