"""Wrap a model's training step for the length of one `fit`.

Keras's callbacks never see a batch. A callback that needs one, or the gradient, wraps
`model.train_step` on the instance: several wrappers nest, each is removed by itself,
and when the last one goes the model is as it was before, its traced training function
included.

**A trace is used again.** Tracing takes seconds, and TensorFlow never frees all of it.
So the function that was traced last stays on the model, and is used again with equal
wrappers around the same plain step, until Keras makes a new plain function (`compile`).
It goes with the model: no copy, file or clone has it. What a wrapper holds lives as
long.

A `fit` that raises never reaches `on_train_end`. If it was the training function that
raised, as Ctrl-C mostly does, its hook sees that: it goes, and tells the owners. After
an exception elsewhere, as in another callback, wrappers stay behind. They can do no
harm: `model.train_step` is replaced only while Keras's training function is made or
called, and whoever asks the model for that function next (`fit`, `train_on_batch`) gets
it without them, because an installed hook also watches `make_train_function`, and the
owners are told then. A callback whose hook was removed during a fit, by another
callback that calls `train_on_batch` or `compile`, is not told. It sees that in
`is_installed` and installs it again.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras

from keras_lr._keras.companions import is_in_a_fit

Step = Callable[[Any], Any]
Wrapper = Callable[[Step], Step]

_ATTRIBUTE = "_keras_lr_step_hook"
_TRACE = "_keras_lr_trace"


class _Installed(NamedTuple):
    # The owner is stored so that its id is not reused.
    owner: object
    wrapper: Wrapper
    on_interrupted: Callable[[], None]


def _nothing() -> None:
    pass


def install(
    model: keras.Model,
    owner: object,
    wrapper: Wrapper,
    on_interrupted: Callable[[], None] = _nothing,
) -> None:
    """Let `wrapper` replace the training step by one that calls it, until `remove`.

    Args:
        model: A compiled model, in or before `on_train_begin`.
        owner: Object that installs it. It has one wrapper: a second replaces the first.
        wrapper: Function that takes the step `data -> logs` and returns another one. If
            it is equal to the one of an earlier trace, that trace is used again.
        on_interrupted: Function that is called after a fit that ended in an exception,
            once its wrappers are removed: at once if a step raised it, else as soon as
            the model is trained again.
    """
    hook = _hook_of(model)
    if hook is not None and not hook.is_in_place:
        # Made around the step of the optimizer before `compile`.
        hook.remove_all()
        hook = None
    if hook is None:
        hook = _StepHook(model)
        setattr(model, _ATTRIBUTE, hook)
    hook.add(_Installed(owner, wrapper, on_interrupted))


def remove(model: keras.Model, owner: object) -> None:
    """Remove what `owner` installed; do nothing if it has nothing installed."""
    hook = _hook_of(model)
    if hook is not None:
        hook.discard(owner)


def is_installed(model: keras.Model, owner: object) -> bool:
    """Return whether a wrapper of `owner` is in place, and no `compile` came since."""
    hook = _hook_of(model)
    return hook is not None and id(owner) in hook.installed and hook.is_in_place


def reusable_wrappers(model: keras.Model) -> list[Wrapper]:
    """Return the wrappers whose trace can be used again, except those in place."""
    hook = _hook_of(model)
    trace = model.__dict__.get(_TRACE)
    if hook is None:
        plain = model.train_step, model.train_function
    else:
        plain = hook.plain_step, hook.plain_train_function
    if trace is None or not trace.is_around(*plain):
        return []
    in_place = [] if hook is None else hook.wrappers
    return [each for each in trace.wrappers if each not in in_place]


def forget_plain_function(model: keras.Model) -> None:
    """Let the plain step be traced anew: values that its trace has frozen changed."""
    hook = _hook_of(model)
    if hook is None:
        model.train_function = None
    else:
        hook.plain_train_function = None


def _hook_of(model: keras.Model) -> "_StepHook | None":
    return model.__dict__.get(_ATTRIBUTE)


@dataclasses.dataclass(frozen=True)
class _Trace:
    """A training function, and what it was made from.

    It is traced in the first call.
    """

    plain_step: Step
    plain_function: Any
    wrappers: list[Wrapper]
    function: Any

    def is_around(self, step: Step, function: Any) -> bool:
        """Return whether it was made around this step, and no `compile` came since."""
        is_same = function is not None and function is self.plain_function
        return is_same and step == self.plain_step


class _StepHook:
    """The wrappers of one model, and what has to be restored after them."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.installed: dict[int, _Installed] = {}
        # A user may have set these on the instance too.
        self.shadowed = {
            name: model.__dict__[name]
            for name in ("train_step", "make_train_function")
            if name in model.__dict__
        }
        self.plain_step = model.train_step
        self.plain_make_train_function = model.make_train_function
        self.plain_train_function = model.train_function
        # One object: a method is a new one each time that it is read.
        self.hooked_train_function = self._run

    @property
    def wrappers(self) -> list[Wrapper]:
        return [each.wrapper for each in self.installed.values()]

    @property
    def is_in_place(self) -> bool:
        """Whether the model still has the function that was put there."""
        return self.model.train_function is self.hooked_train_function

    def add(self, installed: _Installed) -> None:
        self.installed[id(installed.owner)] = installed
        self._rebuild()

    def discard(self, owner: object) -> None:
        if self.installed.pop(id(owner), None) is None:
            return
        if self.installed:
            self._rebuild()
        else:
            self._restore()

    def _rebuild(self) -> None:
        model, wrappers = self.model, self.wrappers
        self.step = self.plain_step
        for wrapper in wrappers:
            self.step = wrapper(self.step)
        plain = self.plain_step, self.plain_train_function
        trace = model.__dict__.get(_TRACE)
        if trace is None or not trace.is_around(*plain) or trace.wrappers != wrappers:
            with self._replaced_step():
                self.plain_make_train_function(force=True)
            trace = _Trace(*plain, wrappers, model.train_function)
            setattr(model, _TRACE, trace)
        self.function = trace.function
        model.train_function = self.hooked_train_function
        model.make_train_function = self._make_train_function

    @contextlib.contextmanager
    def _replaced_step(self) -> Iterator[None]:
        # Not by assignment, which Keras would track, in each step.
        attributes = self.model.__dict__
        attributes["train_step"] = self.step
        try:
            yield
        finally:
            attributes.pop("train_step")
            if "train_step" in self.shadowed:
                attributes["train_step"] = self.shadowed["train_step"]

    def _run(self, *args: Any) -> Any:
        try:
            with self._replaced_step():
                return self.function(*args)
        except BaseException as error:
            if not _is_end_of_data(error):
                self._remove(self._all())
            raise

    def _make_train_function(self, force: bool = False) -> Any:
        # Keras asks for the function at the start of a fit, before `on_train_begin`:
        # whatever is still installed then was left behind by a fit that raised. A
        # callback's `train_on_batch` asks too, in the middle of a fit.
        self._remove([x for x in self._all() if not is_in_a_fit(x.owner)])
        return self.model.make_train_function(force=force)

    def remove_all(self) -> None:
        """Remove all wrappers, of fits that are not over."""
        self._remove([])

    def _all(self) -> list[_Installed]:
        return [*self.installed.values()]

    def _remove(self, interrupted: Sequence[_Installed]) -> None:
        """Remove all wrappers, and tell the owners whose fit was interrupted."""
        self.installed.clear()
        self._restore()
        for each in interrupted:
            each.on_interrupted()

    def _restore(self) -> None:
        model = self.model
        if _hook_of(model) is not self:
            return
        if "make_train_function" in self.shadowed:
            model.make_train_function = self.shadowed["make_train_function"]
        else:
            del model.make_train_function
        delattr(model, _ATTRIBUTE)
        # After a `compile` in between there is no function of ours to replace, and the
        # old plain one was traced for another optimizer.
        if model.train_function is self.hooked_train_function:
            model.train_function = self.plain_train_function


def _is_end_of_data(error: BaseException) -> bool:
    import tensorflow as tf

    return isinstance(error, StopIteration | tf.errors.OutOfRangeError)
