"""The owner of a fit's learning rate: its value, its limits and its annealing."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._checks import LEARNING_RATE
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.rules.annealing import annealing
from keras_lr.training.fit.horizon import FitLength, Horizon
from keras_lr.training.fit.hyperparameter import Hyperparameter

# Part of the first rate below which nothing is left of one: its steps are lost in the
# last digits of the weights that steps at the first rate have made.
VANISHED = 1e-7
# Part of the first rate that the optimizer is left with in its place.
LEFT = 1e-3
# Below it, float32 has fewer digits.
TINY = 2.0**-126


class AnnealedRate:
    """Holds the learning rate of a fit, and writes it into the optimizer, annealed.

    The value is the rate before annealing: that is what a rule moves. In each step the
    optimizer gets the value times a factor, which falls from 1 to 0 over the last part
    of the fit. After the fit it gets the value, unless the user has set another rate.
    If the value has vanished, as a rule may have it, it gets a part of the first one
    between two steps, so that a later fit can train. Fits that continue with what the
    one before has left have the first rate in common: the highest that one began with.

    `move_to`, `factor`, `write` and `advance` are for the training step, the rest for
    the host.

    Args:
        model: A compiled model. Its `MultiOptimizer`, if it has one, has a rate for
            each optimizer in it.
        anneal: Part of the fit over which the rate falls to zero; 0 for never.
        limits: Lowest and highest rate, before annealing.
        floor: Part of the first rate below which the rate does not fall.
        vanished: Part of the first rate below which the value has vanished; 0 for a
            rate that does not depend on the first one.

    Attributes:
        optimizers: Optimizers that own a rate, without their wrappers.
        rates: Rate of each of the optimizers.
        firsts: First rate of each of the optimizers.
        dtype: Dtype of the values, float64 for a float64 model, else float32.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        anneal: float = 0.0,
        limits: tuple[float, float] = (0.0, math.inf),
        floor: float = 0.0,
        vanished: float = VANISHED,
    ) -> None:
        is_double = any(each.dtype == "float64" for each in model.trainable_variables)
        self.dtype = "float64" if is_double else "float32"
        self.optimizers = _keras.leaf_optimizers(model.optimizer)
        self.rates = [
            Hyperparameter(model, LEARNING_RATE, self.dtype, limits)
            for _ in self.optimizers
        ]
        self._reduction = 1.0
        self._paused: list[float] = []
        self._floor = floor
        self._vanished = vanished
        self._anneal = anneal
        self._horizon = Horizon(model)
        variables = [_keras.learning_rate_variable(each) for each in self.optimizers]
        with model.distribute_strategy.scope():
            self._written = [
                replicas.shared_scalar("written", each.dtype) for each in variables
            ]
            self.firsts = [
                replicas.shared_scalar("first", self.dtype) for _ in self.optimizers
            ]

    @property
    def is_annealed(self) -> bool:
        """Whether the rate falls to zero at the end."""
        return self._anneal > 0.0

    @property
    def rate(self) -> Hyperparameter:
        """Rate of the first optimizer, which is usually the only one."""
        return self.rates[0]

    @property
    def value(self) -> Tensor:
        """The rate before annealing, as a tensor."""
        return self.rate.value.value

    @property
    def in_optimizer(self) -> keras.Variable:
        """Variable in which the first optimizer has its rate, annealed."""
        return _keras.learning_rate_variable(self.optimizers[0])

    def start(self, rate: float | None = None, scale: float = 1.0) -> None:
        """Begin a training.

        Args:
            rate: Rate to start from; `None` for the optimizer's current one.
            scale: Factor on the current rate of an optimizer that has not taken a step.
        """
        self._reduction = 1.0
        quadruples = zip(
            self.optimizers, self.rates, self._written, self.firsts, strict=True
        )
        for optimizer, hyperparameter, written, first in quadruples:
            value = rate
            is_continued = False
            if value is None:
                is_fresh = _keras.to_float(optimizer.iterations) == 0.0
                value = _keras.to_float(optimizer.learning_rate)
                is_continued = not is_fresh and value == _keras.to_float(written)
                self._reduction = scale if is_fresh else 1.0
                value *= self._reduction
            hyperparameter.start(value)
            self._begin(hyperparameter, first, is_continued=is_continued)
            written.assign(0.0)

    def proceed(self) -> None:
        """Begin the next fit of the same training: only what the user set is new."""
        pairs = zip(self.optimizers, self.rates, self._written, strict=True)
        for optimizer, rate, written in pairs:
            value = _keras.to_float(optimizer.learning_rate)
            if value != _keras.to_float(written):
                rate.start(value)
                written.assign(value)

    def resume(self, epoch: int, length: FitLength) -> None:
        """Begin at an epoch with a restored optimizer, whose rate is annealed."""
        self._reduction = 1.0
        self._horizon.start_epoch(epoch, length, length.restored)
        factor = self._factor_on_host()
        self.start_epoch(epoch, length)
        quadruples = zip(
            self.optimizers, self.rates, self._written, self.firsts, strict=True
        )
        for optimizer, rate, written, first in quadruples:
            annealed = _keras.to_float(optimizer.learning_rate)
            rate.start(annealed / factor)
            written.assign(annealed)
            self._begin(rate, first, is_continued=False)

    def _begin(
        self, rate: Hyperparameter, first: keras.Variable, *, is_continued: bool
    ) -> None:
        """Note the first rate, and set the floor that follows from it."""
        value = _keras.to_float(rate.value)
        highest = max(value, _keras.to_float(first)) if is_continued else value
        first.assign(highest)
        # What an interrupted fit has left may be annealed.
        rate.floor.assign(min(self._floor * highest, value))

    def start_epoch(self, epoch: int, length: FitLength) -> None:
        """Say where in the fit the next step is."""
        self._horizon.start_epoch(epoch, length)

    def settle(self, epoch: int, length: FitLength) -> None:
        """Leave in the optimizer the rate that the epoch begins with."""
        self._horizon.start_epoch(epoch, length)
        if _keras.to_float(self._horizon.remaining()) > 0.0:
            self.write_on_host()

    def release(self) -> None:
        """Remove the annealing, unless the user has set another rate."""
        if not any(self._differences()):
            self._write_between_steps(1.0)

    def pause(self) -> None:
        """Remove the annealing until `go_on`, while no step is taken."""
        self._paused = [_keras.to_float(x.learning_rate) for x in self.optimizers]
        self.release()

    def go_on(self) -> None:
        """Set what the optimizers had before `pause`, unless another rate is set."""
        if not any(self._differences()):
            pairs = zip(self.optimizers, self._written, strict=True)
            for (optimizer, written), rate in zip(pairs, self._paused, strict=True):
                _keras.learning_rate_variable(optimizer).assign(rate)
                written.assign(rate)

    def is_overwritten(self) -> bool:
        """Return whether an optimizer has another rate than was written last."""
        was_written = any(_keras.to_float(each) for each in self._written)
        return was_written and any(self._differences())

    def _differences(self) -> list[bool]:
        pairs = zip(self.optimizers, self._written, strict=True)
        return [
            _keras.to_float(x.learning_rate) != _keras.to_float(w) for x, w in pairs
        ]

    def cut(self, factor: float) -> float:
        """Multiply the value, for a training that diverged, and return it."""
        for rate in self.rates:
            rate.value.assign(rate.clipped(factor * rate.value.value))
        return _keras.to_float(self.rate.value)

    def undo_reduction(self) -> None:
        """Return to the rates that the optimizers had, if the first one was lower."""
        for rate in self.rates:
            rate.value.assign(rate.clipped(rate.value.value / self._reduction))
        self._reduction = 1.0
        self.write_on_host()

    def write_on_host(self) -> None:
        """Set the optimizer's rate between two steps."""
        self._write_between_steps(self._factor_on_host())

    def move_to(self, value: Tensor) -> None:
        """Set the value, within the limits, in a step or on the host."""
        for rate in self.rates:
            rate.value.assign(rate.clipped(ops.cast(value, self.dtype)))

    def factor(self) -> Tensor:
        """Return what the value is multiplied by in this step."""
        return annealing(self._horizon.remaining(), self._anneal)

    def write(self, factor: Tensor | None = None) -> None:
        """Set the optimizer's rate for this step.

        Args:
            factor: Result of `factor`, if it is known already.
        """
        self._write(self.factor() if factor is None else factor)

    def steps(self) -> Tensor:
        """Return the steps of the training, 0 as long as nobody knows them."""
        return self._horizon.steps()

    def advance(self) -> None:
        """Count the step."""
        self._horizon.advance()

    def _write(self, factor: Tensor | float) -> None:
        self._assign([each.value.value for each in self.rates], factor)

    def _write_between_steps(self, factor: float) -> None:
        pairs = zip(self.rates, self.firsts, strict=True)
        self._assign([self._left(*each) for each in pairs], factor)

    def _left(self, rate: Hyperparameter, first: keras.Variable) -> Tensor:
        """Return the value, or what the optimizer has in its place if it vanished."""
        highest = _keras.to_float(first)
        if _keras.to_float(rate.value) >= max(self._vanished * highest, TINY):
            return rate.value.value
        return ops.convert_to_tensor(max(LEFT * highest, TINY), self.dtype)

    def _assign(self, values: Sequence[Tensor], factor: Tensor | float) -> None:
        triples = zip(self.optimizers, values, self._written, strict=True)
        for optimizer, value, written in triples:
            variable = _keras.learning_rate_variable(optimizer)
            annealed = value * ops.cast(factor, value.dtype)
            variable.assign(ops.cast(annealed, variable.dtype))
            written.assign(variable.value)

    def _factor_on_host(self) -> float:
        # After the last step the factor is 0, by which no rate can be divided.
        return _keras.to_float(self.factor()) or 1.0
