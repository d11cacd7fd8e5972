"""The gradient of E with respect to the rate of every step of a training."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from keras_lr._typing import FloatArray, Tensor
from keras_lr.rules import lrs_opt
from keras_lr.training.schedule.final_loss import FinalLoss
from keras_lr.training.schedule.training_step import (
    TrainingState,
    TrainingStep,
    zeros_like,
)

Rates = Sequence[Tensor]


class Batches(Protocol):
    """The batches of a training, which are read in any order."""

    def __getitem__(self, step: int, /) -> Any:
        """Return the batch of a step."""
        ...


def train(
    step: TrainingStep,
    state: TrainingState,
    rates: Rates,
    batches: Batches,
    part: tuple[int, int],
) -> TrainingState:
    """Return the state after the steps from the first number up to the second."""
    for t in range(*part):
        state = step.advance(state, rates[t], batches[t])
    return state


def reverse(
    step: TrainingStep,
    final_loss: FinalLoss,
    start: TrainingState,
    rates: Rates,
    batches: Batches,
    *,
    capacity: int,
) -> tuple[float, FloatArray]:
    """Return E after a training, and its gradient `(steps,)` in reverse mode.

    Args:
        step: The training step.
        final_loss: E.
        start: State before the first step.
        rates: Rate of each step.
        batches: Batch of each step.
        capacity: Number of states that can be stored.
    """
    parts = lrs_opt.segments(len(rates), capacity)
    starts = []
    state = start
    for part in parts[:-1]:
        starts.append(state)
        state = train(step, state, rates, batches, part)
    trajectory = _trajectory(step, state, rates, batches, parts[-1])
    state = step.advance(trajectory[-1], rates[-1], batches[len(rates) - 1])
    loss, adjoint = final_loss.gradient(state.floats)
    del state
    slopes: list[Tensor] = []
    while parts:
        part = parts.pop()
        for t in reversed(range(*part)):
            adjoint, slope = step.pull_back(
                trajectory.pop(), rates[t], batches[t], adjoint
            )
            slopes.append(slope)
        if parts:
            trajectory = _trajectory(step, starts.pop(), rates, batches, parts[-1])
    return float(loss), np.array(slopes[::-1], dtype="float64")


def forward(
    step: TrainingStep,
    final_loss: FinalLoss,
    start: TrainingState,
    rates: Rates,
    batches: Batches,
    *,
    every: int,
) -> tuple[float, FloatArray]:
    """Return E, and its gradient with respect to the rate of each group of steps.

    In forward mode: no state is stored, but a tangent for each group.

    Args:
        step: The training step.
        final_loss: E.
        start: State before the first step.
        rates: Rate of each step.
        batches: Batch of each step.
        every: Number of steps of a group.
    """
    tangents = []
    state = start
    for t, rate in enumerate(rates):
        batch = batches[t]
        if t % every == 0:
            tangents.append(zeros_like(state.floats))
        for group, tangent in enumerate(tangents):
            is_current = group == t // every
            seed = rate * 0.0 + float(is_current)
            tangents[group] = step.push_forward(state, rate, batch, tangent, seed)
        state = step.advance(state, rate, batch)
    loss, gradient = final_loss.gradient(state.floats)
    slopes = [_product(tangent, gradient) for tangent in tangents]
    return float(loss), np.array(slopes, dtype="float64")


def _trajectory(
    step: TrainingStep,
    state: TrainingState,
    rates: Rates,
    batches: Batches,
    part: tuple[int, int],
) -> list[TrainingState]:
    """Return the states before each step of a segment."""
    first, last = part
    states = [state]
    for t in range(first, last - 1):
        states.append(step.advance(states[-1], rates[t], batches[t]))
    return states


def _product(tangent: Any, gradient: Any) -> float:
    """Return the sum of the products, in float64."""
    return sum(
        float(np.vdot(np.asarray(a, "float64"), np.asarray(b, "float64")))
        for parts in zip(tangent, gradient, strict=True)
        for a, b in zip(*parts, strict=True)
    )
