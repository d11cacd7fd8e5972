"""One fit of `keras_lr.LipschitzLR`: where in it L is measured, and the rate is set."""

from typing import Any

from keras_lr import _keras
from keras_lr._keras import step_hook
from keras_lr._typing import Tensor
from keras_lr.training.fit.fit import Fit
from keras_lr.training.fit.horizon import FitLength
from keras_lr.training.lipschitz.forward_pass import ForwardPass
from keras_lr.training.lipschitz.gradient_meter import GradientMeter
from keras_lr.training.lipschitz.inverse_rate import InverseRate
from keras_lr.training.lipschitz.meter import LipschitzMeter


class LipschitzFit(Fit):
    """Measures L in the training steps.

    Args:
        meter: Meter of L.
        inverse: Owner of the largest L, which moves the rate to its inverse.
        by_batches: Whether the rate follows from the L of the current batch, or from
            the largest one of the epoch before.
    """

    def __init__(
        self,
        meter: LipschitzMeter | GradientMeter,
        inverse: InverseRate,
        *,
        by_batches: bool,
    ) -> None:
        super().__init__(inverse.rate)
        self.inverse = inverse
        self._meter = meter
        self._by_batches = by_batches

    def wrapped(self, step: step_hook.Step) -> step_hook.Step:
        """Return the training step, which sets its rate as soon as L is known."""

        def set_rate(constant: Tensor, weight_term: Tensor) -> None:
            self.inverse.observe(constant, weight_term)
            self._write()

        def measured_step(data: Any) -> Any:
            with self._meter.watching(data, set_rate):
                logs = step(data)
            self._advance()
            return logs

        return measured_step

    def start(self, rate: float | None = None, scale: float = 1.0) -> None:
        """Set the state to what it is before the first step."""
        super().start(rate, scale)
        self.inverse.start()

    def resume(self, epoch: int, length: FitLength) -> None:
        """Set the state from a restored optimizer."""
        self.inverse.resume(epoch, length, self._age(length))

    def _age(self, length: FitLength) -> int:
        """Return the steps from the last L to the epoch that a resumed fit begins."""
        return int(self._by_batches)

    def start_epoch(self, epoch: int, length: FitLength) -> None:
        """Start the epoch's measurement."""
        super().start_epoch(epoch, length)
        self.inverse.start_epoch(epoch, length)
        self._meter.reset()
        # Without a constant from an earlier epoch, the rate follows the batches.
        is_unknown = self.inverse.constant == 0.0
        self.inverse.listen(to_batches=self._by_batches or is_unknown)

    def settle(self, epoch: int, length: FitLength) -> dict[str, list[float]]:
        """Read the epoch's L, and leave the rate that the next one begins with."""
        measured = self._meter.read()
        if not self._by_batches:
            weight_term = measured.get("weight_term", 0.0)
            self.inverse.hold(measured["lipschitz_constant"], weight_term)
        return self._settled(measured, epoch, length)

    def _settled(
        self, measured: dict[str, float], epoch: int, length: FitLength
    ) -> dict[str, list[float]]:
        """Leave the rate of the next epoch; return what is recorded of this one."""
        rate = _keras.to_float(self.rate.in_optimizer)
        self.inverse.move()
        self.rate.settle(epoch, length)
        row = {"learning_rate": rate} | measured
        return {name: [value] for name, value in row.items()}

    def _write(self) -> None:
        self.inverse.move()
        self.rate.write()

    def _advance(self) -> None:
        self.rate.advance()
        self.inverse.advance()


class ForwardPassFit(LipschitzFit):
    """Measures L before each epoch, by a forward pass over given data.

    Args:
        meter: Meter of L.
        inverse: Owner of the largest L, which moves the rate to its inverse.
        forward_pass: Forward pass of the model over the data.
    """

    def __init__(
        self, meter: LipschitzMeter, inverse: InverseRate, forward_pass: ForwardPass
    ) -> None:
        super().__init__(meter, inverse, by_batches=False)
        self._forward_pass = forward_pass
        self._measured: dict[str, float] = {}

    def wrapped(self, step: step_hook.Step) -> step_hook.Step:
        """Return the training step at the rate of its epoch."""

        def step_at_rate(data: Any) -> Any:
            self._write()
            logs = step(data)
            self._advance()
            return logs

        return step_at_rate

    def start_epoch(self, epoch: int, length: FitLength) -> None:
        """Measure L."""
        super().start_epoch(epoch, length)
        self._forward_pass.run()
        self._measured = measured = self._meter.read()
        self.inverse.hold(measured["lipschitz_constant"], measured["weight_term"])

    def _age(self, length: FitLength) -> int:
        # An epoch that is begun again has its own L already.
        return 0 if length.restored else length.steps or 0

    def settle(self, epoch: int, length: FitLength) -> dict[str, list[float]]:
        """Leave the rate that the next epoch begins with."""
        return self._settled(self._measured, epoch, length)
