"""What the optimizers share: constants measured from gradients or given to them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, ClassVar, Protocol

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._checks import one_of, optional, positive_number
from keras_lr._typing import Tensor
from keras_lr.rules import average, gradient_norms


class Form(Protocol):
    """One form of an optimizer's algorithm, a frozen dataclass in `keras_lr.rules`.

    Its fields are attributes of the optimizer, by the same names. Each optimizer gives
    its forms two more methods, `rate` and `step`, for its hooks to call.

    Attributes:
        takes_initial_constants: Whether its constants start from numbers that are
            given, and whether it has a bias correction.
    """

    takes_initial_constants: ClassVar[bool]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def norms(
        self, squares: Tensor, fourth_powers: Callable[[], Tensor], size: int, /
    ) -> tuple[Tensor, Tensor]:
        """Return what stands for max ||g|| and max ||g^2||.

        Args:
            squares: ||g||^2 of each tensor, `(tensors,)`.
            fourth_powers: Returns ||g^2||^2 of each tensor; costs a pass over memory.
            size: Number of weights.
        """
        ...

    def square_of(self, constant: Tensor, weight_term: Tensor, size: int, /) -> Tensor:
        """Return what stands for max ||g^2||, for a given constant.

        Args:
            constant: L, with the part of the regularizers in it.
            weight_term: The part of the regularizers.
            size: Number of weights.
        """
        ...

    def constants(
        self,
        constants: Sequence[Tensor],
        norm: Tensor,
        square: Tensor,
        counts: Tensor,
        observations: Tensor,
    ) -> Sequence[Tensor]:
        """Return the constants after an observation.

        Args:
            constants: The constants before it.
            norm: What stands for max ||g||.
            square: What stands for max ||g^2||.
            counts: Scalar, 1, or 0 where nothing may change.
            observations: Number of observations before it.
        """
        ...


class AdaptiveOptimizer(_keras.WholeBatchOptimizer):
    """Base of the optimizers whose rate follows from constants of the gradients.

    A subclass sets `_FORMS`, `_SLOTS` and `_FIRST`, and defines `_first_rate` and
    `_step`; it may define `_adaptive_rate` and `_prepared`. A step whose gradients are
    not all finite, or whose squares overflow, changes nothing but `iterations`.

    Args:
        learning_rate: Multiple of the adaptive rate: a float or a schedule.
        variant: Name of a form.
        lipschitz: `"gradient"` or `"analytic"`.
        bias_correction: Whether averages and constants are corrected for their start,
            in a form that leaves the choice.
        initial_constants: Number that each constant starts from, by the name of its
            argument; `None` for 0, and with `lipschitz="analytic"` for `_FIRST`.
        kwargs: The arguments of every Keras optimizer.
    """

    _FORMS: ClassVar[Mapping[str, type[Form]]] = {}
    """Forms by the names that `variant` has for them, the default one first."""
    _SLOTS: ClassVar[Sequence[str]] = ()
    """Names of the averages that are stored for each weight."""
    _FIRST: ClassVar[Mapping[str, float]] = {}
    """The paper's initial constants with `lipschitz="analytic"`."""
    leaves_out_steps = True
    """Whether a step with a gradient that is not finite is left out by itself."""
    _is_adding_slots = False

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
        self.variant = one_of("variant", variant, tuple(self._FORMS))
        self.lipschitz = one_of("lipschitz", lipschitz, ("gradient", "analytic"))
        self.bias_correction = bool(bias_correction)
        self._starts = {
            name: optional(positive_number, name, value)
            for name, value in initial_constants.items()
        }
        self._form = self._FORMS[variant]
        self._is_fed = False
        if not self._form.takes_initial_constants and (
            bias_correction or any(self._starts.values())
        ):
            names = [
                repr(name)
                for name, form in self._FORMS.items()
                if form.takes_initial_constants
            ]
            raise ValueError(
                "`bias_correction` and initial constants belong to "
                f"`variant={' or '.join(names)}`. "
                f"Received: variant={variant!r}, bias_correction={bias_correction}, "
                + ", ".join(f"{k}={v}" for k, v in self._starts.items())
            )

    def _first_rate(self, *initial_constants: Tensor) -> Tensor:
        """Return the rate before any constant is given, with `lipschitz="analytic"`.

        Args:
            initial_constants: The initial constants, in the order of the arguments.
        """
        raise NotImplementedError

    def _step(self, rate: Tensor, prepared: Any, *slots: keras.Variable) -> Tensor:
        """Update the slots of one variable, and return what to subtract from it.

        Args:
            rate: The rate of the step; 0 if it is left out.
            prepared: What `_prepared` returned for the variable: its gradient.
            slots: The slots of the variable, in the order of `_SLOTS`.
        """
        raise NotImplementedError

    def _adaptive_rate(self) -> Tensor:
        """Return the rate that follows from the constants."""
        constants = [each.value for each in self._constants]
        return self._rule.rate(constants, self._observations.value)

    def _prepared(
        self, gradients: Sequence[Tensor], variables: Sequence[Any], square: Tensor
    ) -> Sequence[Any]:
        """Return what `_step` is given for each variable: the gradients.

        It is called once a step, after the constants have changed and before the rate
        follows from them.

        Args:
            gradients: One for each variable; zeros if the step is left out.
            variables: The variables.
            square: ||g||^2 of all gradients; not finite if the step is left out.
        """
        return gradients

    def build(self, variables: Sequence[Any]) -> None:
        """Make the state: slots like the variables, and a few scalars."""
        if self.built:
            return
        _require_real(variables, type(self).__name__)
        super().build(variables)
        is_double = any(each.dtype == "float64" for each in variables)
        self._precision = "float64" if is_double else "float32"
        weights = [each for each in variables if self.is_weight(each)]
        self._number_of_weights = gradient_norms.number_of_weights(weights)
        self._is_adding_slots = True
        self._slots = [self.add_optimizer_variables(variables, s) for s in self._SLOTS]
        self._is_adding_slots = False
        self._constants = [
            self._scalar(name.removeprefix("initial_"), self._start(name))
            for name in self._starts
        ]
        self._rate = self._scalar("effective_learning_rate")
        self._observations = self._scalar("observations")
        self._steps = self._scalar("steps")
        self._counts = self._scalar("counts")

    def add_variable(
        self, shape: Any, initializer: Any = "zeros", dtype: Any = None, **kwargs: Any
    ) -> keras.Variable:
        """Add a variable of the state; slots of float16 weights are in float32."""
        # Of 256 or of 1e-4, float16 holds no square.
        if self._is_adding_slots and dtype == "float16":
            dtype = "float32"
        return super().add_variable(shape, initializer, dtype, **kwargs)

    def _start(self, name: str) -> float:
        """Return what a constant starts from."""
        if self.lipschitz == "analytic" and self._form.takes_initial_constants:
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
    def _rule(self) -> Any:
        """The form, with the numbers that it needs.

        Not an attribute: a callback that tunes one of the numbers lets a tensor take
        its place while a step is traced.
        """
        numbers = {each.name: getattr(self, each.name) for each in fields(self._form)}
        return self._form(**numbers)

    @property
    def effective_learning_rate(self) -> float:
        """The rate of the last step, `learning_rate` times the adaptive one.

        0 before the first step and after one that was left out. In a traced step, a
        scalar tensor.
        """
        return _keras.scalar(self._rate) if self.built else 0.0

    @property
    def lipschitz_constant(self) -> float:
        """The constant K (K_1) that the next step starts from; 0 before the first.

        In a traced step, a scalar tensor.
        """
        return _keras.scalar(self._constants[0]) if self.built else 0.0

    def begin_step(
        self,
        gradients: Sequence[Tensor],
        variables: Sequence[Any],
        learning_rate: Tensor,
    ) -> tuple[Sequence[Any], Tensor]:
        """Measure the gradients of all variables; return them and the step's rate."""
        squares = _keras.squared_norms(gradients, self._precision)
        fourth_powers = partial(_fourth_powers, gradients, self._precision)
        norm, square = self._rule.norms(squares, fourth_powers, self._number_of_weights)
        # The fourth powers in `square` overflow first.
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
                "lipschitz='analytic', and no constant. Add "
                "`keras_lr.LipschitzLR(bound='strict')` to the callbacks of `fit`, or "
                "call `observe_constant` before the first step."
            )
        prepared = self._prepared(gradients, variables, ops.sum(squares))
        rate = ops.cast(learning_rate, self._precision) * self._current_rate()
        rate = ops.where(counts > 0.0, rate, ops.zeros_like(rate))
        self._rate.assign(rate)
        return prepared, rate

    def _current_rate(self) -> Tensor:
        """Return the adaptive rate, and before any constant is given the first one."""
        rate = self._adaptive_rate()
        if self.lipschitz == "gradient":
            return rate
        starts = (
            ops.convert_to_tensor(self._first(name), dtype=self._precision)
            for name in self._starts
        )
        is_known = self._observations.value > 0.0
        return ops.where(is_known, rate, self._first_rate(*starts))

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
        square = self._rule.square_of(constant, weight_term, self._number_of_weights)
        is_usable = ops.logical_and(ops.isfinite(square), constant > 0.0)
        constant, square = (
            ops.where(is_usable, each, ops.zeros_like(each))
            for each in (constant, square)
        )
        self._observe(constant, square, ops.cast(is_usable, self._precision))

    def expect_constants(self) -> None:
        """Say that `observe_constant` will be called while the model trains."""
        self._is_fed = True

    def _observe(self, norm: Tensor, square: Tensor, counts: Tensor) -> None:
        old = [each.value for each in self._constants]
        observations = self._observations.value
        new = self._rule.constants(old, norm, square, counts, observations)
        for variable, value in zip(self._constants, new, strict=True):
            variable.assign(value)
        self._observations.assign(observations + counts)

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

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {
            "variant": self.variant,
            "lipschitz": self.lipschitz,
            "bias_correction": self.bias_correction,
            **self._starts,
        }


def _require_real(variables: Sequence[Any], owner: str) -> None:
    """Raise for complex weights, whose gradients have no norm here."""
    for each in variables:
        if str(each.dtype).startswith("complex"):
            raise ValueError(
                f"`{owner}` measures norms of real gradients, so the weights must be "
                f"real. Received: {each.name!r} of dtype={each.dtype}. Hold real and "
                "imaginary part in two weights, or use one of Keras's optimizers."
            )


def _fourth_powers(gradients: Sequence[Tensor], dtype: str) -> Tensor:
    """Return ||g^2||^2 of each tensor."""
    return _keras.squared_norms(
        [ops.square(ops.cast(g, dtype)) for g in gradients], dtype
    )


def _finite(gradients: Sequence[Tensor], is_finite: Tensor) -> Sequence[Tensor]:
    """Return the gradients, or zeros in their place."""
    # Not a selection in each of them, which would be a pass over memory.
    return ops.cond(
        is_finite,
        lambda: list(gradients),
        lambda: [ops.zeros_like(each) for each in gradients],
    )
