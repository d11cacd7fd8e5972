"""Hyperparameters that move while a fit goes on, around the optimizer's step."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import PureStep, StepState, replicas
from keras_lr._typing import Tensor
from keras_lr.training.derivatives.batches import leaves
from keras_lr.training.derivatives.curvature import dense

LEARNING_RATE = "learning_rate"

# What a rate that let the training diverge is multiplied by.
CUT = 0.1

# Names of hyperparameters that move by their distance from 1, and where they end.
AVERAGES = ("momentum", "rho", "beta_", "adam_beta_")
LARGEST_AVERAGE = 0.9999

Gradients = list[Tensor | None]


def moves_by_complement(name: str) -> bool:
    """Return whether a hyperparameter is the decay of an average."""
    return name.startswith(AVERAGES)


class Tuned(Protocol):
    """A hyperparameter that moves.

    Attributes:
        name: `"learning_rate"` or an attribute of the optimizer.
        value: Its variable.
    """

    name: str
    value: keras.Variable

    def start(self, value: float) -> None:
        """Set the state to what it is before the first step, on the host."""

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        ...


class TakeStep(Protocol):
    """The optimizer's own step."""

    def __call__(self, gradients: Gradients | None = None) -> None:
        """Take it, with other gradients of the weights if they are given."""


class OnlineTuning:
    """Takes part in the training steps of a fit, and moves hyperparameters in them.

    A subclass has the hyperparameters in `tuned`, the learning rate first, and says in
    `_around` what happens beside the optimizer's step.

    Args:
        model: A built, compiled model whose optimizer has a pure step.

    Attributes:
        model: The same.
        weights: Those that are trained.
        leaf: The optimizer that owns the rate.
        step: Its pure step.
        dtype: Of the scalars.
        sees_loss: Whether the traced step says its loss.
    """

    signal: str
    """What it moves them by; in the name of the file that a fit resumes from."""
    tuned: Sequence[Tuned]
    renews_optimizer = True
    """Whether the optimizer's state is cleared where a training is put back."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.weights = model.trainable_variables
        self.leaf = _keras.leaf_optimizers(model.optimizer)[0]
        self._rate = _keras.learning_rate_variable(self.leaf)
        self.step = PureStep(self.leaf, self.weights)
        is_double = any(each.dtype == "float64" for each in self.weights)
        self.dtype = "float64" if is_double else "float32"
        self.sees_loss = False
        with model.distribute_strategy.scope():
            self._written = replicas.shared_scalar("written", self._rate.dtype)

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a fit resumes from, by names."""
        named: dict[str, keras.Variable] = {}
        for each in self.tuned:
            named |= each.variables()
        return named

    def start(self, values: Sequence[float]) -> None:
        """Set the state to what it is before the first step, on the host."""
        for each, value in zip(self.tuned, values, strict=True):
            each.start(value)

    def restart(self, values: Sequence[float]) -> tuple[list[float], str]:
        """Begin anew after a divergence.

        Args:
            values: Of the hyperparameters, as they were in the good state.

        Returns:
            Those that it goes on with, and the same in words.
        """
        rate, *others = values
        self.start([CUT * rate, *others])
        return [CUT * rate, *others], f"a learning rate of {CUT * rate:.3g}"

    @contextlib.contextmanager
    def watching(self, data: Any, factor: Tensor) -> Iterator[dict[str, Tensor]]:
        """Take part in the training step that is called in this context.

        Args:
            data: Its batch.
            factor: What the learning rate is multiplied by in this step.

        Yields:
            A dict that says afterwards, in scalars, what the step was like.
        """
        row: dict[str, Tensor] = {}
        calls: list[None] = []

        def scale_loss(plain: Callable[..., Any], loss: Tensor) -> Tensor:
            # The step's own comes first; those of further passes follow.
            if not row:
                row["loss"] = replicas.sum_over_replicas(loss)
            return plain(loss)

        def apply(
            plain: Callable[..., Any], grads: Any, trainable_variables: Any = None
        ) -> None:
            calls.append(None)
            _require_one_call(len(calls))
            self.sees_loss = "loss" in row
            row.setdefault("loss", ops.full((), math.nan, self.dtype))

            def take_step(gradients: Gradients | None = None) -> None:
                if gradients is None:
                    plain(grads, trainable_variables)
                else:
                    plain(gradients, self.weights)

            gradients = self._aligned(grads, trainable_variables)
            # Where a data set runs out, nothing may move that needs no data.
            with _after(data):
                row.update(
                    self._around(take_step, gradients, recorded, factor, row["loss"])
                )

        optimizer = self.model.optimizer
        with (
            self._recorded(data) as recorded,
            _keras.intercepted(optimizer, apply=apply, scale_loss=scale_loss),
        ):
            yield row
        _require_one_call(len(calls))

    def _recorded(self, data: Any) -> contextlib.AbstractContextManager[Any]:
        """Return a context for the step, which gives what `_around` needs of it."""
        return contextlib.nullcontext(data)

    def _around(
        self,
        take_step: TakeStep,
        gradients: Gradients,
        recorded: Any,
        factor: Tensor,
        loss: Tensor,
    ) -> dict[str, Tensor]:
        """Take the optimizer's step, and do beside it what there is to do.

        Args:
            take_step: The step.
            gradients: Dense ones of the weights, of this replica and scaled as the
                loss is; `None` where there is none.
            recorded: What `_recorded` gave.
            factor: What the learning rate is multiplied by in this step.
            loss: Of the global batch before the step; NaN if the step does not say it.

        Returns:
            Scalars by the names of the columns that are recorded.
        """
        raise NotImplementedError

    def _aligned(self, grads: Any, variables: Any) -> Gradients:
        """Return a dense gradient, or `None`, for each of the weights."""
        pairs = zip(variables or self.weights, grads, strict=True)
        found = {id(variable): grad for variable, grad in pairs}
        return dense([found.get(id(each)) for each in self.weights])

    def write_rate(self, factor: Tensor) -> None:
        """Set the optimizer's learning rate, in a step or on the host."""
        value = self.tuned[0].value.value
        value = value * ops.cast(factor, value.dtype)
        self._rate.assign(ops.cast(value, self._rate.dtype))
        self._written.assign(self._rate.value)

    def wrote_last(self) -> bool:
        """Return whether the optimizer's rate is the one that was written here."""
        return _keras.to_float(self._rate) == _keras.to_float(self._written)

    def write_others(self) -> None:
        """Set the optimizer's other hyperparameters, on the host."""
        for each in self.tuned[1:]:
            setattr(self.leaf, each.name, _keras.to_float(each.value))

    def _set_hyperparameters(self, factor: Tensor) -> dict[str, Tensor]:
        """Set the optimizer's for the step; return them as it will read them."""
        self.write_rate(factor)
        used = {each.name: each.value.value + 0.0 for each in self.tuned}
        return used | {LEARNING_RATE: self._rate.value + 0.0}

    def _taking(
        self, used: Mapping[str, Tensor]
    ) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the optimizer's step is taken with these values."""
        others = {name: v for name, v in used.items() if name != LEARNING_RATE}
        return _keras.with_hyperparameters(self.leaf, others)

    def _state(self) -> StepState:
        """Return weights and slots as they are."""
        parts = self.step.variables
        return StepState(
            *([ops.convert_to_tensor(each.value) for each in part] for part in parts)
        )


def summed(gradients: Sequence[Tensor | None], scale: Tensor | None) -> Gradients:
    """Return gradients summed over the replicas, without the scale of the loss.

    Args:
        gradients: `None` where there is none.
        scale: Of a `LossScaleOptimizer`, or `None`.
    """
    present = [each for each in gradients if each is not None]
    if scale is not None:
        present = [each / ops.cast(scale, each.dtype) for each in present]
    sums = iter(replicas.sum_over_replicas(present))
    return [None if each is None else next(sums) for each in gradients]


def optimizer_with_pure_step(
    model: keras.Model, hyperparameters: Sequence[str], owner: str
) -> keras.optimizers.Optimizer:
    """Return the optimizer that owns the rate, built, or raise a `ValueError`.

    Args:
        model: A built, compiled model.
        hyperparameters: Names of others that it must have.
        owner: Who needs it, for the message.
    """
    leaf = _keras.require_single_update(model.optimizer, owner)
    for name in hyperparameters:
        _keras.require_float_attribute(leaf, name, owner)
    _keras.build_optimizer(model)
    _keras.PureStep(leaf, model.trainable_variables).require_pure(owner)
    return leaf


def _after(batch: Any) -> contextlib.AbstractContextManager[None]:
    """Return a context in which whatever happens does so after a batch is there."""
    import tensorflow as tf

    parts = tf.nest.flatten(leaves(batch), expand_composites=True)
    return tf.control_dependencies([each for each in parts if tf.is_tensor(each)])


def _require_one_call(number: int) -> None:
    if number != 1:
        raise ValueError(
            "The learning rate is tuned around a training step that calls its "
            "optimizer's `apply` once. Received: a `train_step` that calls it "
            f"{number} times."
        )
