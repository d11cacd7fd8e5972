"""The rate as the inverse of the largest Lipschitz constant so far."""

import math

import keras
from keras import ops

from keras_lr import _keras, _warnings
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.rules import lipschitz
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.fit.horizon import FitLength
from keras_lr.training.lipschitz.constant_feed import ConstantFeed, takes_constants

ROUNDING = 1e-6


class InverseRate:
    """Holds the largest constant so far, and moves the rate to its inverse.

    A rate that was saved with the optimizer is enough to `resume` from: the constant
    follows from it. So no constant is held that is larger than the one of the lowest
    rate.

    Args:
        model: A built, compiled model.
        rate: Owner of the learning rate.
        factor: Multiple of the inverse.
        memory: Part of the largest constant so far that counts at the next one, from 0
            to 1; `None` for one that grows with the steps of the training.
        limits: Lowest and highest inverse, before annealing.
        feeds_batches: Whether optimizers that take the constant itself get that of each
            batch, from `observe`, or that of each epoch, from `hold`.
    """

    def __init__(
        self,
        model: keras.Model,
        rate: AnnealedRate,
        *,
        factor: float,
        memory: float | None,
        limits: tuple[float, float],
        feeds_batches: bool = True,
    ) -> None:
        self.rate = rate
        self._feed = ConstantFeed(model)
        self._feeds_batches = feeds_batches
        self._multiple = factor
        self._memory = memory
        self._minimum, self._maximum = limits
        with model.distribute_strategy.scope():
            self._constant = replicas.shared_scalar("constant")
            self._observes = replicas.shared_scalar("observes")
            self._steps = replicas.shared_scalar("steps")
            self._last = replicas.shared_scalar("last")

    @property
    def constant(self) -> float:
        """The constant that is held; 0 before the first."""
        return _keras.to_float(self._constant)

    @property
    def state(self) -> tuple[float, float, float]:
        """The arguments of `start` with which another fit goes on."""
        held = (self._constant, self._steps, self._last)
        constant, steps, last = (_keras.to_float(each) for each in held)
        return constant, steps, last

    def start(
        self, constant: float = 0.0, steps: float = 0.0, last: float = 0.0
    ) -> None:
        """Start a training, or go on with one.

        Args:
            constant: The constant that is held; 0 for none.
            steps: Number of steps that are done.
            last: Number of steps that were done when a constant was observed last.
        """
        self._constant.assign(constant)
        self._steps.assign(steps)
        self._last.assign(last)

    def resume(self, epoch: int, length: FitLength, age: int) -> None:
        """Start from the constant that follows from a restored optimizer's rate.

        Args:
            epoch: The epoch that begins, or is begun again.
            length: Length of the training.
            age: Steps from the last observation to the start of that epoch.
        """
        optimizer = self.rate.optimizers[0]
        steps = _keras.to_float(optimizer.iterations)
        steps *= optimizer.gradient_accumulation_steps or 1
        if length.steps is not None:
            steps = float(epoch * length.steps)
        self.start(steps=steps, last=max(steps - age, 0.0))
        self.rate.resume(epoch, length)
        self._constant.assign(self._told_by_rates())

    def _told_by_rates(self) -> float:
        """Return the constant that the rates tell of; 0 if there is none."""
        low, high = self._minimum * (1 + ROUNDING), self._maximum * (1 - ROUNDING)
        exact: list[float] = []
        # A rate at a limit says what the constant is at least, or at most.
        least: list[float] = []
        most: list[float] = []
        for optimizer, rate in zip(self.rate.optimizers, self.rate.rates, strict=True):
            if is_gradient_descent(optimizer):
                value = _keras.to_float(rate.value)
                told = least if value <= low else most if value >= high else exact
                told.append(self._scale(optimizer) / value)
        return (exact or [max(least, default=0.0) or min(most, default=0.0)])[0]

    def start_epoch(self, epoch: int, length: FitLength) -> None:
        """Say where in the training the next step is.

        Where the length of an epoch is unknown, `advance` has counted one step too
        many: the one for which there was no batch.
        """
        if length.steps is not None:
            steps = float(epoch * length.steps)
            self._steps.assign(steps)
            # The batches of an earlier fit may have been smaller.
            self._last.assign(min(_keras.to_float(self._last), steps))

    def listen(self, *, to_batches: bool) -> None:
        """Say whether the constants that `observe` gets count."""
        self._observes.assign(float(to_batches))

    def observe(self, constant: Tensor, weight_term: Tensor = 0.0) -> None:
        """Count a batch's constant and the regularizers' part of it, in the step."""
        if self._feeds_batches:
            self._feed.give(constant, weight_term)
        # By epochs, what the batches of the first one show is as old as its end.
        memory = self._memory_now() if self._feeds_batches else self._memory
        self._hold(constant, 1.0 if memory is None else memory, self._observes.value)

    def hold(self, constant: float, weight_term: float = 0.0) -> None:
        """Count an epoch's constant and the regularizers' part of it, on the host."""
        if not self._feeds_batches:
            self._feed.give(constant, weight_term)
        self._hold(constant, self._memory_now(), ops.ones_like(self._observes.value))

    def advance(self) -> None:
        """Count a step, in it."""
        self._steps.assign(self._steps.value + 1.0)

    def _memory_now(self) -> Tensor | float:
        """Return what is left of the constant that is held."""
        if self._memory is None:
            return lipschitz.memory_after(self._last.value, self._steps.value)
        return self._memory

    def _hold(
        self, constant: Tensor | float, memory: Tensor | float, counts: Tensor
    ) -> None:
        """Hold the largest constant, with a new one that says something and counts."""
        old = self._constant.value
        held = lipschitz.held_maximum(constant, old, memory)
        counts = ops.logical_and(counts > 0.0, lipschitz.is_usable(constant))
        held = ops.minimum(held, self._largest())
        self._constant.assign(ops.where(counts, held, old))
        self._last.assign(ops.where(counts, self._steps.value, self._last.value))

    def move(self) -> None:
        """Move the rate to the inverse, in a step before its update or on the host."""
        for optimizer, rate in zip(self.rate.optimizers, self.rate.rates, strict=True):
            if is_gradient_descent(optimizer):
                inverse = lipschitz.learning_rate(
                    self._constant.value,
                    rate.value.value,
                    scale=self._scale(optimizer),
                    minimum=self._minimum,
                    maximum=self._maximum,
                )
                rate.value.assign(ops.cast(inverse, rate.value.dtype))

    def _largest(self) -> float:
        """Return the largest constant of which some optimizer's rate still tells."""
        leaves = filter(is_gradient_descent, self.rate.optimizers)
        # Of a momentum of 1, or of none, no rate tells anything.
        return max(map(self._scale, leaves), default=0.0) / self._minimum or math.inf

    def _scale(self, optimizer: keras.optimizers.SGD) -> float:
        # The paper's velocity is an average of gradients, beta V + (1 - beta) g in its
        # Algorithm 1; Keras's is a sum, 1 / (1 - beta) times as long.
        return self._multiple * (1.0 - float(optimizer.momentum))


def warn_unless_gradient_descent(
    optimizer: keras.optimizers.Optimizer, owner: str
) -> None:
    """Warn about the optimizers whose rate is only annealed.

    Args:
        optimizer: The compiled optimizer.
        owner: Name of the callback, for the message.
    """
    leaves = _keras.leaf_optimizers(optimizer)
    others = [
        leaf.name
        for leaf in leaves
        if not (is_gradient_descent(leaf) or takes_constants(leaf))
    ]
    if others:
        _warnings.warn(
            f"`{owner}` gives a learning rate for gradient descent "
            "(`keras.optimizers.SGD`, with or without momentum). Received: "
            f"{', '.join(others)}, which divides the gradient by its own size. Its "
            "compiled rate is kept and only annealed."
        )


def is_gradient_descent(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether the optimizer's step is proportional to its gradients.

    Adam and its kin divide the gradient by its own size: a bound on the gradient says
    nothing about their rate.
    """
    return isinstance(optimizer, keras.optimizers.SGD)
