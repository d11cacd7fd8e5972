"""Wrap a model's training step for the length of one `fit`.

Keras's callbacks never see a batch. A callback that needs one, or the gradient, wraps
`model.train_step` on the instance: several wrappers nest, each is removed by itself,
and when the last one goes the model is as it was before, its traced training function
included.

A `fit` that raises never reaches `on_train_end`, so its wrappers stay behind. They can
do no harm: whoever asks the model for its training function next (`fit`,
`train_on_batch`) gets it without them, because an installed hook also watches
`make_train_function`. A callback whose hook was removed during a fit, by another
callback that calls `train_on_batch`, sees that in `is_installed` and installs it again.
"""

from collections.abc import Callable
from typing import Any

import keras

Step = Callable[[Any], Any]
Wrapper = Callable[[Step], Step]

_ATTRIBUTE = "_keras_lr_step_hook"


def install(model: keras.Model, owner: object, wrapper: Wrapper) -> None:
    """Let `wrapper` replace the training step by one that calls it, until `remove`.

    Args:
        model: A compiled model, in or before `on_train_begin`.
        owner: Object that installs it. It has one wrapper: a second replaces the first.
        wrapper: Function that takes the step `data -> logs` and returns another one.
    """
    hook = _hook_of(model)
    if hook is None:
        hook = _StepHook(model)
        setattr(model, _ATTRIBUTE, hook)
    hook.add(owner, wrapper)


def remove(model: keras.Model, owner: object) -> None:
    """Remove what `owner` installed; do nothing if it has nothing installed."""
    hook = _hook_of(model)
    if hook is not None:
        hook.discard(owner)


def is_installed(model: keras.Model, owner: object) -> bool:
    """Return whether a wrapper of `owner` is in place."""
    hook = _hook_of(model)
    return hook is not None and id(owner) in hook.wrappers


def forget_plain_function(model: keras.Model) -> None:
    """Let the plain step be traced anew: values that its trace has frozen changed."""
    hook = _hook_of(model)
    if hook is None:
        model.train_function = None
    else:
        hook.plain_train_function = None


def _hook_of(model: keras.Model) -> "_StepHook | None":
    return model.__dict__.get(_ATTRIBUTE)


class _StepHook:
    """The wrappers of one model, and what has to be restored after them."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        # The owner is stored with its wrapper so that its id is not reused.
        self.wrappers: dict[int, tuple[object, Wrapper]] = {}
        # A user may have set these on the instance too.
        self.shadowed = {
            name: model.__dict__[name]
            for name in ("train_step", "make_train_function")
            if name in model.__dict__
        }
        self.plain_step = model.train_step
        self.plain_make_train_function = model.make_train_function
        self.plain_train_function = model.train_function

    def add(self, owner: object, wrapper: Wrapper) -> None:
        self.wrappers[id(owner)] = (owner, wrapper)
        self._rebuild()

    def discard(self, owner: object) -> None:
        if self.wrappers.pop(id(owner), None) is None:
            return
        if self.wrappers:
            self._rebuild()
        else:
            self._restore()

    def _rebuild(self) -> None:
        step = self.plain_step
        for _, wrapper in self.wrappers.values():
            step = wrapper(step)
        self.model.train_step = step
        self.plain_make_train_function(force=True)
        self.hooked_train_function = self.model.train_function
        self.model.make_train_function = self._make_train_function

    def _make_train_function(self, force: bool = False) -> Any:
        # Keras asks for the function at the start of a fit, before `on_train_begin`:
        # whatever is still installed then was left behind by a fit that raised.
        self.wrappers.clear()
        self._restore()
        return self.model.make_train_function(force=force)

    def _restore(self) -> None:
        model = self.model
        for name in ("train_step", "make_train_function"):
            if name in self.shadowed:
                setattr(model, name, self.shadowed[name])
            else:
                delattr(model, name)
        delattr(model, _ATTRIBUTE)
        # After a `compile` in between there is no function of ours to replace, and the
        # old plain one was traced for another optimizer.
        if model.train_function is self.hooked_train_function:
            model.train_function = self.plain_train_function
