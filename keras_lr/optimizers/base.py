"""What our optimizers share: constants measured from gradients or given to them."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._checks import one_of, positive_number
from keras_lr._typing import Tensor
from keras_lr.rules import average, gradient_norms

VARIANTS = ("supremum", "paper")


class AdaptiveOptimizer(_keras.WholeBatchOptimizer):
    """Base of the optimizers whose rate follows from constants of the gradients.

    A subclass names its slots and constants, and defines `_observed`, how a pair of
    norms changes the constants, `_adaptive_rate`, which rate follows from them, and
    `_step`, the step at a rate. A step whose gradients are not all finite,
    or whose squares overflow, changes nothing but `iterations`.

    Args:
        learning_rate: Multiple of the adaptive rate: a float or a schedule.
        variant: `"supremum"` or `"paper"`.
        lipschitz: `"gradient"` or `"analytic"`.
        bias_correction: Of the averages and the constants of the paper's variant.
        initial_constants: For each constant the name of the argument that starts it,
            and its value; `None` for 0, and with `lipschitz="analytic"` for `_FIRST`.
        kwargs: Those of every Keras optimizer.
    """

    _SLOTS: tuple[str, ...] = ()
    _FIRST: ClassVar[dict[str, float]] = {}

    def __init__(
        self,
        learning_rate: Any,
        *,
        variant: str,
        lipschitz: str,
        bias_correction: bool,
        initial_constants: dict[str, float | None],
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        one_of("variant", variant, VARIANTS)
        one_of("lipschitz", lipschitz, ("gradient", "analytic"))
        self.variant = variant
        self.lipschitz = lipschitz
        self.bias_correction = bool(bias_correction)
        self._starts = _checked_starts(initial_constants)
        self._is_fed = False
        if variant != "paper" and (bias_correction or any(self._starts.values())):
            raise ValueError(
                "`bias_correction` and initial constants belong to `variant='paper'`. "
                f"Received: variant={variant!r}, bias_correction={bias_correction}, "
                + ", ".join(f"{k}={v}" for k, v in self._starts.items())
            )

    def build(self, variables: Sequence[Any]) -> None:
        """Make the state: slots like the variables, and a few scalars."""
        if self.built:
            return
        super().build(variables)
        is_double = any(each.dtype == "float64" for each in variables)
        self._precision = "float64" if is_double else "float32"
        self._number_of_weights = gradient_norms.number_of_weights(variables)
        self._slots = [self.add_optimizer_variables(variables, s) for s in self._SLOTS]
        self._constants = [
            self._scalar(name.removeprefix("initial_"), self._start(name))
            for name in self._starts
        ]
        self._rate = self._scalar("effective_learning_rate")
        self._observations = self._scalar("observations")
        self._steps = self._scalar("steps")
        self._counts = self._scalar("counts")

    def _start(self, name: str) -> float:
        """Return what a constant starts from."""
        if self.lipschitz == "analytic" and self.variant == "paper":
            return self._first(name)
        return self._starts[name] or 0.0

    def _first(self, name: str) -> float:
        """Return the initial constant that is given, or the paper's."""
        return self._starts[name] or self._FIRST[name]

    def _scalar(self, name: str, value: float = 0.0) -> keras.Variable:
        return self.add_variable(
            shape=(),
            dtype=self._precision,
            initializer=keras.initializers.Constant(value),
            aggregation="only_first_replica",
            name=name,
        )

    @property
    def effective_learning_rate(self) -> float:
        """The rate of the last step, `learning_rate` times the adaptive one.

        0 before the first step and after one that was left out.
        """
        return _keras.to_float(self._rate) if self.built else 0.0

    @property
    def lipschitz_constant(self) -> float:
        """The constant K (K_1) that the next step starts from; 0 before the first."""
        return _keras.to_float(self._constants[0]) if self.built else 0.0

    def begin_step(
        self,
        gradients: Sequence[Tensor],
        variables: Sequence[Any],
        learning_rate: Tensor,
    ) -> tuple[Sequence[Any], Tensor]:
        """Measure the gradients of all variables; return them and the step's rate."""
        squares = _keras.squared_norms(gradients, self._precision)
        norm, square = self._norms(gradients, squares)
        # Of the fourth powers in `square` as well.
        is_finite = ops.isfinite(ops.sum(squares) + square)
        counts = ops.cast(is_finite, self._precision)
        self._counts.assign(counts)
        self._steps.assign(self._steps.value + counts)
        zero = ops.zeros_like(square)
        norm, square = (ops.where(is_finite, each, zero) for each in (norm, square))
        gradients = _finite(gradients, is_finite)
        if self.lipschitz == "gradient":
            self._observe(norm, square, counts)
        elif not self._is_fed:
            raise ValueError(
                f"`{type(self).__name__}` needs a constant of the loss. Received: "
                "lipschitz='analytic', and no constant. Add `keras_lr.LipschitzLR()` "
                "to the callbacks of `fit`, or call `observe_constant` before the "
                "first step."
            )
        prepared = self._prepared(gradients, variables, ops.sum(squares))
        adaptive = self._adaptive_rate()
        if self.lipschitz == "analytic":
            is_known = self._observations.value > 0.0
            adaptive = ops.where(is_known, adaptive, self._first_rate())
        rate = ops.cast(learning_rate, self._precision) * adaptive
        rate = ops.where(counts > 0.0, rate, ops.zeros_like(rate))
        self._rate.assign(rate)
        return prepared, rate

    def _prepared(
        self, gradients: Sequence[Tensor], variables: Sequence[Any], square: Tensor
    ) -> Sequence[Any]:
        """Return what `_step` is given in place of the gradients.

        Args:
            gradients: Zeros if the step is left out.
            variables: The variables.
            square: ||g||^2 of all gradients; not finite if the step is left out.
        """
        return gradients

    def observe_constant(self, constant: Tensor, weight_term: Tensor = 0.0) -> None:
        """Take a Lipschitz constant of the loss, for `lipschitz="analytic"`.

        Inside a training step or between two of them. `keras_lr.LipschitzLR` calls it
        for each batch, or for each epoch with `update="epoch"`.

        Args:
            constant: The constant L, with the part of the weights in it. Left out if
                it is 0, or if it or its square is not finite.
            weight_term: The part of the regularizers in it.

        Raises:
            ValueError: If the constants are those of the gradients, or the optimizer
                has no variables yet.
        """
        if self.lipschitz != "analytic" or not self.built:
            raise ValueError(
                "A constant can be given to a built optimizer with "
                f"`lipschitz='analytic'`. Received: lipschitz={self.lipschitz!r}, "
                f"built={self.built}."
            )
        self.expect_constants()
        constant, weight_term = (
            ops.convert_to_tensor(each, dtype=self._precision)
            for each in (constant, weight_term)
        )
        # Section 6.3: (max ||g||)^2 without the product of its two terms.
        square = ops.square(constant - weight_term) + ops.square(weight_term)
        if self.variant == "supremum":
            square = ops.square(constant) / self._number_of_weights
        is_usable = ops.logical_and(ops.isfinite(square), constant > 0.0)
        constant, square = (
            ops.where(is_usable, each, ops.zeros_like(each))
            for each in (constant, square)
        )
        self._observe(constant, square, ops.cast(is_usable, self._precision))

    def expect_constants(self) -> None:
        """Say that `observe_constant` will be called while the model trains."""
        self._is_fed = True

    def _norms(
        self, gradients: Sequence[Tensor], squares: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what stands for max ||g|| and max ||g^2||."""
        if self.variant == "paper":
            powers = [ops.square(ops.cast(g, self._precision)) for g in gradients]
            fourth = _keras.squared_norms(powers, self._precision)
            return tuple(map(gradient_norms.largest_norm, (squares, fourth)))
        mean_square = ops.sum(squares) / self._number_of_weights
        return gradient_norms.global_norm(squares), mean_square

    def _observe(self, norm: Tensor, square: Tensor, counts: Tensor) -> None:
        new = self._observed(norm, square, counts)
        for variable, value in zip(self._constants, new, strict=True):
            variable.assign(value)
        self._observations.assign(self._observations.value + counts)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Tensor) -> None:
        """Update the slots of one variable, then the variable."""
        index = self.variable_index(variable)
        slots = [slot[index] for slot in self._slots]
        step = self._step(learning_rate, gradient, *slots)
        if self.decays(variable):
            decay = ops.convert_to_tensor(self.weight_decay, dtype=self._precision)
            decay = ops.cast(decay * learning_rate, variable.dtype)
            self.assign_sub(variable, ops.multiply(variable, decay))
        self.assign_sub(variable, ops.cast(step, variable.dtype))

    def _average(self, slot: keras.Variable, value: Tensor, decay: float) -> Tensor:
        """Average a value into a slot, and return the slot's new value."""
        counts = self._counts.value
        self.assign_add(slot, average.increment(slot, value, decay, counts))
        return slot.value

    def _total_weight(self, decay: float) -> Tensor:
        """Return what the averages in the slots are divided by."""
        if self.variant == "supremum" or self.bias_correction:
            return average.total_weight(decay, self._steps.value)
        return ops.ones((), dtype=self._precision)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {
            "variant": self.variant,
            "lipschitz": self.lipschitz,
            "bias_correction": self.bias_correction,
            **self._starts,
        }


def _checked_starts(starts: dict[str, float | None]) -> dict[str, float | None]:
    return {
        name: None if value is None else positive_number(name, value)
        for name, value in starts.items()
    }


def _finite(gradients: Sequence[Tensor], is_finite: Tensor) -> Sequence[Tensor]:
    """Return the gradients, or zeros in their place."""
    # Not a selection in each of them, which would be a pass over memory.
    return ops.cond(
        is_finite,
        lambda: list(gradients),
        lambda: [ops.zeros_like(each) for each in gradients],
    )
