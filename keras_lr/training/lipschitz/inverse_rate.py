"""Set an optimizer's learning rate to the inverse of a measured constant."""

import warnings

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas
from keras_lr._typing import Tensor
from keras_lr.rules import lipschitz
from keras_lr.training.fit.horizon import FitLength, Horizon
from keras_lr.training.lipschitz.constant_feed import ConstantFeed, takes_constants


class InverseRate:
    """Holds the largest constant seen, and writes its inverse into the optimizer.

    The state of one fit: what `observe` and `apply` change inside the step, and `hold`
    on the host. An optimizer saved with `settle`d rates is enough to `restore` from,
    since the constant that is held follows from the rate.

    Args:
        model: A built, compiled model.
        factor: Multiple of the inverse.
        memory: Of `lipschitz.held_maximum`.
        anneal: Of `lipschitz.annealing`.
        limits: Lowest and highest rate, before annealing.
        feeds_batches: Whether optimizers that take the constant itself are given that
            of each batch, `observe`, or that of each epoch, `hold`.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        factor: float,
        memory: float,
        anneal: float,
        limits: tuple[float, float],
        feeds_batches: bool = True,
    ) -> None:
        self._feed = ConstantFeed(model)
        self._feeds_batches = feeds_batches
        self._leaves = _keras.leaf_optimizers(model.optimizer)
        self._multiple = factor
        self._memory = memory
        self._anneal = anneal
        self._minimum, self._maximum = limits
        self._horizon = Horizon(model)
        with model.distribute_strategy.scope():
            self._constant = replicas.shared_scalar("constant")
            self._observes = replicas.shared_scalar("observes")
            self._own_rates = [replicas.shared_scalar("own_rate") for _ in self._leaves]
            self._written = [replicas.shared_scalar("written") for _ in self._leaves]
        self._has_started = False

    @property
    def constant(self) -> float:
        """The constant that is held."""
        return _keras.to_float(self._constant)

    def start_epoch(self, epoch: int, length: FitLength) -> None:
        """Say where in the fit the next step is."""
        self._horizon.start_epoch(epoch, length)

    def listen(self, *, to_batches: bool) -> None:
        """Say whether the constants that `observe` is given count."""
        self._observes.assign(float(to_batches))

    def start(self, constant: float = 0.0) -> None:
        """Start from the optimizer's rates and a constant, 0 for none."""
        for leaf, own_rate in zip(self._leaves, self._own_rates, strict=True):
            own_rate.assign(leaf.learning_rate.value)
        self._constant.assign(constant)
        self._has_started = True

    def restore(self) -> None:
        """Start from what the rates of a restored optimizer say."""
        self.start()
        factor = self._factor()
        for leaf, own_rate in zip(self._leaves, self._own_rates, strict=True):
            own_rate.assign(own_rate.value / factor)
            if is_gradient_descent(leaf):
                self._constant.assign(self._scale(leaf) / own_rate.value)

    def observe(self, constant: Tensor, weight_term: Tensor = 0.0) -> None:
        """Count a batch's constant, inside the step; `weight_term` is its part."""
        if self._feeds_batches:
            self._feed.give(constant, weight_term)
        held = lipschitz.held_maximum(constant, self._constant.value, self._memory)
        observes = self._observes.value > 0.0
        self._constant.assign(ops.where(observes, held, self._constant.value))

    def apply(self) -> None:
        """Set the rates for the step that is being taken, before its update."""
        self._assign_rates(self._factor())

    def advance(self) -> None:
        """Count the step, inside it."""
        self._horizon.advance()

    def hold(self, constant: float, weight_term: float = 0.0) -> None:
        """Count an epoch's constant, on the host; `weight_term` is its part."""
        if not self._feeds_batches:
            self._feed.give(constant, weight_term)
        held = lipschitz.held_maximum(constant, self._constant.value, self._memory)
        self._constant.assign(held)

    def settle(self) -> None:
        """Leave the rates in the optimizer that the next step would take."""
        if _keras.to_float(self._horizon.remaining()) > 0.0:
            self._assign_rates(self._factor())

    def release(self) -> None:
        """Take the annealing off the rates, but for those that the user has set."""
        rates = zip(self._leaves, self._written, strict=True)
        is_ours = [
            _keras.to_float(x.learning_rate) == _keras.to_float(w) for x, w in rates
        ]
        if self._has_started and all(is_ours):
            self._assign_rates(ops.ones(()))

    def _factor(self) -> Tensor:
        return lipschitz.annealing(self._horizon.remaining(), self._anneal)

    def _assign_rates(self, factor: Tensor) -> None:
        states = zip(self._leaves, self._own_rates, self._written, strict=True)
        for leaf, own_rate, written in states:
            variable = _keras.learning_rate_variable(leaf)
            if is_gradient_descent(leaf):
                rate = lipschitz.learning_rate(
                    self._constant.value,
                    own_rate.value,
                    scale=self._scale(leaf),
                    minimum=self._minimum,
                    maximum=self._maximum,
                )
            else:
                rate = own_rate.value
            variable.assign(ops.cast(rate * factor, variable.dtype))
            written.assign(variable.value)

    def _scale(self, optimizer: keras.optimizers.SGD) -> float:
        # The paper's velocity is an average of gradients, beta V + (1 - beta) g in its
        # Algorithm 1; Keras's is a sum, 1 / (1 - beta) times as long.
        return self._multiple * (1.0 - float(optimizer.momentum))


def warn_unless_gradient_descent(optimizer: keras.optimizers.Optimizer) -> None:
    """Warn of the optimizers whose rate is left alone."""
    leaves = _keras.leaf_optimizers(optimizer)
    others = [
        leaf.name
        for leaf in leaves
        if not (is_gradient_descent(leaf) or takes_constants(leaf))
    ]
    if others:
        warnings.warn(
            "`LipschitzLR` gives a learning rate for gradient descent "
            "(`keras.optimizers.SGD`, with or without momentum). Received: "
            f"{', '.join(others)}, which divides the gradient by its own size. Its "
            "compiled rate is kept and only annealed.",
            stacklevel=3,
        )


def is_gradient_descent(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether the optimizer's step is proportional to its gradients.

    Adam and its kin divide the gradient by its own size: a bound on the gradient says
    nothing about their rate.
    """
    return isinstance(optimizer, keras.optimizers.SGD)
