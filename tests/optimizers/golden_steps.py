"""Steps of an optimizer on fixed variables and gradients, to compare to references."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

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
    own = {variable.name: variable.numpy() for variable in optimizer.variables}
    slots = [
        own[f"{variable.name}_{slot}"]
        for slot in ("decayed_momentum", "velocity", "square")
        for variable in variables
        if f"{variable.name}_{slot}" in own
    ]
    return Step(
        rate=optimizer.effective_learning_rate,
        constants=tuple(float(own[name]) for name in constants),
        slots=flat(slots),
        weights=flat([variable.numpy() for variable in variables]),
    )


def steps_of(
    optimizer: Any,
    *,
    constants: Sequence[str],
    gradients: Sequence[Sequence[np.ndarray]] | None = None,
    observed: Sequence[tuple[float, float] | None] | None = None,
) -> list[Step]:
    """Take all steps, each after the constant given before it, and return them."""
    gradients = draw_gradients() if gradients is None else gradients
    variables = variables_of(draw_weights())
    optimizer.build(variables)
    if observed is not None:
        optimizer.expect_constants()
    steps = []
    for each, pair in zip(gradients, observed or [None] * len(gradients), strict=True):
        if pair is not None:
            constant, weight_term = (
                ops.convert_to_tensor(x, dtype="float64") for x in pair
            )
            optimizer.observe_constant(constant, weight_term)
        apply(optimizer, variables, each)
        steps.append(state(optimizer, variables, constants=constants))
    return steps


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
    optimizer: Any, bad: float, *, place: int, constants: Sequence[str]
) -> None:
    """Assert that a step with one bad number changes nothing but `iterations`.

    Args:
        optimizer: Not yet built.
        bad: The number, in the gradient of the second variable.
        place: How many good steps come before it.
        constants: Names of the constants.
    """
    gradients = draw_gradients()[: place + 4]
    variables = variables_of(draw_weights())
    optimizer.build(variables)
    for each in gradients[:place]:
        apply(optimizer, variables, each)
    before = state(optimizer, variables, constants=constants)
    gradients[place][1][2] = bad
    apply(optimizer, variables, gradients[place])
    after = state(optimizer, variables, constants=constants)
    assert after.weights == before.weights
    assert after.slots == before.slots
    assert after.constants == before.constants
    assert after.rate == 0.0
    assert int(optimizer.iterations) == place + 1
    for each in gradients[place + 1 :]:
        apply(optimizer, variables, each)
    without = type(optimizer).from_config(optimizer.get_config())
    good = gradients[:place] + gradients[place + 1 :]
    expected = steps_of(without, constants=constants, gradients=good)
    assert state(optimizer, variables, constants=constants) == expected[-1]
