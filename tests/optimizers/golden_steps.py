"""Steps of an optimizer on fixed variables and gradients, to compare to references."""

import dataclasses
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import keras_lr
from tests.references import adamo, adaptive_rmsprop, auto_adam
from tests.references.tensors import Step

SHAPES = ((4, 3), (5,), ())
NUMBER_OF_WEIGHTS = 12 + 5 + 1
STEPS = 20
# A step is a few dozen operations in float64, which round by 1e-16 each: 20 steps are
# below 1e-13, and a sum that cancels may lose one digit more.
ROUNDING = 1e-12
# 20 sums of numbers up to 10 round by 1e-15 each, also where one comes out as nearly 0.
CANCELED = 1e-13
# Keras holds the learning rate and evaluates schedules in float32: powers of two.
SCHEDULE = ([6, 13], [2.0, 0.5, 0.125])
SCHEDULED = [2.0] * 7 + [0.5] * 7 + [0.125] * 6
CONSTANT = [1.0] * STEPS
# The Lipschitz constant given before each step, and the part of the weights in it.
OBSERVED = [
    *((0.75, 0.25), None, None, (3.0, 0.5), (2.0, 0.0), None, None, (2**-7, 2**-7)),
    *((5.0, 1.0), (1.0, 0.375), None, (4.0, 0.125), (0.5, 0.25), (2.5, 0.5), None),
    *((1.0, 0.25), (0.375, 0.125), (0.25, 0.0), None, (8.0, 2.0)),
]
OVERFLOWS_SQUARED = 1e200
OVERFLOWS_TO_THE_FOURTH = 1e100


def draw_weights() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=shape) for shape in SHAPES]


def draw_gradients() -> list[list[np.ndarray]]:
    """Draw gradients of each step, with zeros among them and tiny ones.

    Which tensor's norm is the largest changes from step to step.
    """
    rng = np.random.default_rng(2)
    steps = [
        [rng.normal(size=shape) * rng.lognormal(sigma=1.5) for shape in SHAPES]
        for _ in range(STEPS)
    ]
    for step in steps:
        step[0][rng.random(SHAPES[0]) < 0.2] = 0.0
    steps[3][0] *= 1e-30
    steps[4][2] *= 1e-9
    steps[5][1] = np.zeros(SHAPES[1])
    steps[8] = [np.zeros(shape) for shape in SHAPES]
    return steps


def flat(arrays: Sequence[Any]) -> list[list[float]]:
    """Return each array as the list of its numbers, for a reference."""
    return [np.asarray(each, dtype="float64").ravel().tolist() for each in arrays]


def problem() -> tuple[list[list[float]], list[list[list[float]]]]:
    """Return the weights and the gradients in the form of the references."""
    return flat(draw_weights()), [flat(step) for step in draw_gradients()]


def variables_of(arrays: Sequence[np.ndarray]) -> list[keras.Variable]:
    return [keras.Variable(np.array(each), dtype="float64") for each in arrays]


def apply(
    optimizer: keras.optimizers.Optimizer,
    variables: Sequence[keras.Variable],
    gradients: Sequence[Any],
) -> None:
    tensors = [ops.convert_to_tensor(each, dtype="float64") for each in gradients]
    optimizer.apply(tensors, variables)


def state(
    optimizer: Any, variables: Sequence[keras.Variable], *, constants: Sequence[str]
) -> Step:
    """Read what the optimizer holds."""
    values = {variable.name: variable.numpy() for variable in optimizer.variables}
    slots = [
        values[f"{variable.name}_{slot}"]
        for slot in ("decayed_momentum", "velocity", "square")
        for variable in variables
        if f"{variable.name}_{slot}" in values
    ]
    return Step(
        rate=optimizer.effective_learning_rate,
        constants=tuple(float(values[name]) for name in constants),
        slots=flat(slots),
        weights=flat([variable.numpy() for variable in variables]),
    )


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """An optimizer, and the transcription that its steps are compared with."""

    optimizer: type[keras.optimizers.Optimizer]
    reference: ModuleType
    constants: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.optimizer.__name__

    def steps(
        self,
        *,
        gradients: Sequence[Sequence[np.ndarray]] | None = None,
        observed: Sequence[tuple[float, float] | None] | None = None,
        **arguments: Any,
    ) -> list[Step]:
        """Take all steps, each after the constant given before it."""
        gradients = draw_gradients() if gradients is None else gradients
        variables = variables_of(draw_weights())
        optimizer = self.optimizer(**arguments)
        optimizer.build(variables)
        if observed is not None:
            optimizer.expect_constants()
        steps = []
        pairs = observed or [None] * len(gradients)
        for each, pair in zip(gradients, pairs, strict=True):
            if pair is not None:
                constant, weight_term = (
                    ops.convert_to_tensor(x, dtype="float64") for x in pair
                )
                optimizer.observe_constant(constant, weight_term)
            apply(optimizer, variables, each)
            steps.append(state(optimizer, variables, constants=self.constants))
        return steps

    def expected(
        self, variant: str, multipliers: Sequence[float] = CONSTANT, **options: Any
    ) -> list[Step]:
        """Return the steps of the transcription."""
        weights, gradients = problem()
        transcription = getattr(self.reference, variant)
        return transcription(weights, gradients, multipliers, **options)


ADAMO = Algorithm(keras_lr.AdaMo, adamo, ("constant",))
ADAPTIVE_RMSPROP = Algorithm(
    keras_lr.AdaptiveRMSprop, adaptive_rmsprop, ("norm", "square")
)
AUTO_ADAM = Algorithm(keras_lr.AutoAdam, auto_adam, ("norm", "square"))


def assert_equal_steps(actual: Sequence[Step], expected: Sequence[Step]) -> None:
    assert len(actual) == len(expected) == STEPS
    for ours, reference in zip(actual, expected, strict=True):
        assert ours.rate == pytest.approx(reference.rate, rel=ROUNDING, abs=0.0)
        assert ours.constants == pytest.approx(
            reference.constants, rel=ROUNDING, abs=0.0
        )
        for one, other in (
            *zip(ours.slots, reference.slots, strict=True),
            *zip(ours.weights, reference.weights, strict=True),
        ):
            assert one == pytest.approx(other, rel=ROUNDING, abs=CANCELED)


def assert_leaves_out(
    algorithm: Algorithm, bad: float, *, place: int, **arguments: Any
) -> None:
    """Assert that a step with one bad number changes nothing but `iterations`.

    Args:
        algorithm: The optimizer.
        bad: The number, in the gradient of the second variable.
        place: How many good steps come before it.
        arguments: Arguments of the optimizer.
    """
    gradients = draw_gradients()[: place + 4]
    variables = variables_of(draw_weights())
    optimizer = algorithm.optimizer(**arguments)
    optimizer.build(variables)
    for each in gradients[:place]:
        apply(optimizer, variables, each)
    before = state(optimizer, variables, constants=algorithm.constants)
    gradients[place][1][2] = bad
    apply(optimizer, variables, gradients[place])
    after = state(optimizer, variables, constants=algorithm.constants)
    assert after == dataclasses.replace(before, rate=0.0)
    assert int(optimizer.iterations) == place + 1
    for each in gradients[place + 1 :]:
        apply(optimizer, variables, each)
    good = gradients[:place] + gradients[place + 1 :]
    expected = algorithm.steps(gradients=good, **arguments)
    last = state(optimizer, variables, constants=algorithm.constants)
    assert last == expected[-1]
