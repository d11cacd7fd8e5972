"""What every public optimizer makes of a step's gradients, on every backend of Keras.

Clipped, accumulated, missing, not finite; with weight decay, constraints, averages.
"""

import keras
import numpy as np
import pytest

from tests.every_optimizer import (
    EXACTLY,
    assert_same,
    every_optimizer,
    gradients,
    state,
    step,
    values,
    weights,
)


def clipped_by_hand(clip, limit, grads):
    norms = [np.linalg.norm(each) for each in grads]
    if clip == "clipvalue":
        return [np.clip(each, -limit, limit) for each in grads]
    if clip == "global_clipnorm":
        norms = [np.linalg.norm(norms)] * len(norms)
    return [g * min(1.0, limit / n) for g, n in zip(grads, norms, strict=True)]


@every_optimizer
@pytest.mark.parametrize("clip", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_clipping_equals_gradients_clipped_by_hand(case, clip):
    limit = 1.0  # Between the norms of the gradients, and between their numbers.
    optimizer, reference = case(**{clip: limit}), case()
    raw = gradients(4)
    by_hand = [clipped_by_hand(clip, limit, grads) for grads in raw]
    assert_same(step(optimizer, weights(), *raw), step(reference, weights(), *by_hand))
    assert_same(state(optimizer), state(reference))


@every_optimizer
def test_loss_scale_factor_divides_the_gradients(case):
    optimizer, reference = case(loss_scale_factor=4.0), case()
    raw = gradients(3)
    # A division by a power of two is exact.
    divided = [[each / 4.0 for each in grads] for grads in raw]
    actual, expected = weights(), weights()
    step(optimizer, actual, *raw)
    step(reference, expected, *divided)
    assert_same(values(actual), values(expected), **EXACTLY)
    assert_same(state(optimizer), state(reference), **EXACTLY)


@every_optimizer
def test_weight_decay_follows_the_effective_rate(case):
    decayed, plain = case(weight_decay=0.25), case()
    actual, expected = weights(), weights()
    for grads in gradients(3):
        before = values(actual)
        step(plain, expected, grads)
        step(decayed, actual, grads)
        rate = plain.effective_learning_rate
        assert decayed.effective_learning_rate == rate
        by_hand = [
            w - rate * 0.25 * b for w, b in zip(values(expected), before, strict=True)
        ]
        assert_same(values(actual), by_hand)
        # The next step of both starts from the same weights.
        for variable, value in zip(expected, values(actual), strict=True):
            variable.assign(value)


@every_optimizer
@pytest.mark.parametrize("by", ["var_names", "var_list"])
def test_weight_decay_leaves_out_what_is_excluded(case, by):
    decayed, everywhere, nowhere = (
        case(weight_decay=0.25),
        case(weight_decay=0.25),
        case(),
    )
    variables = weights()
    excluded = {"var_names": ["bias"], "var_list": [variables[1]]}[by]
    decayed.exclude_from_weight_decay(**{by: excluded})
    (grads,) = gradients(1)
    kernel, bias = step(decayed, variables, grads)
    assert_same([kernel], step(everywhere, weights(), grads)[:1], **EXACTLY)
    assert_same([bias], step(nowhere, weights(), grads)[1:], **EXACTLY)


@every_optimizer
def test_moving_average_and_overwriting_are_those_worked_by_hand(case):
    optimizer = case(use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
    reference = case()
    actual, expected = weights(), weights()
    averages = None
    for index, grads in enumerate(gradients(5)):
        step(optimizer, actual, grads)
        now = step(reference, expected, grads)
        averages = (
            [(a + v) / 2 for a, v in zip(averages, now, strict=True)] if index else now
        )
        if index % 2 == 1:
            for variable, average in zip(expected, averages, strict=True):
                variable.assign(average)
        assert_same(values(actual), values(expected))
    assert_same(state(optimizer), state(reference))
    optimizer.finalize_variable_values(actual)
    assert_same(values(actual), averages)


@every_optimizer
def test_constraint_is_applied_after_the_step(case):
    constrained, free = weights(), weights()
    constrained[0].constraint = keras.constraints.NonNeg()
    (grads,) = gradients(1)
    kernel, bias = step(case(), constrained, grads)
    expected_kernel, expected_bias = step(case(), free, grads)
    assert (expected_kernel < 0).any()
    assert_same([kernel, bias], [np.maximum(expected_kernel, 0.0), expected_bias])


# `pytest.warns` repeats what Keras's modules are allowed in the settings.
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@every_optimizer
def test_missing_gradient_leaves_its_weight_alone_and_counts_as_zero(case):
    optimizer, reference = case(weight_decay=0.25), case(weight_decay=0.25)
    actual, expected = weights(), weights()
    for kernel, bias in gradients(2):
        with pytest.warns(UserWarning, match=r"Gradients do not exist.*bias"):
            step(optimizer, actual, [kernel, None])
        step(reference, expected, [kernel, np.zeros_like(bias)])
    assert_same(values(actual)[:1], values(expected)[:1], **EXACTLY)
    assert_same(values(actual)[1:], values(weights())[1:], **EXACTLY)
    for name, value in state(reference).items():
        if not name.startswith("bias"):
            np.testing.assert_array_equal(state(optimizer)[name], value)


@every_optimizer
def test_no_gradient_at_all_is_an_error(case):
    with pytest.raises(ValueError, match="No gradients"):
        step(case(), weights(), [None, None])


@every_optimizer
def test_subset_of_the_weights_can_be_stepped(case):
    optimizer, variables = case(), weights()
    optimizer.build(variables)
    ((kernel, _),) = gradients(1)
    step(optimizer, variables[:1], [kernel])
    assert_same(values(variables)[1:], values(weights())[1:], **EXACTLY)
    assert optimizer.effective_learning_rate > 0


def mean(*of_batches):
    return [np.mean(each, axis=0) for each in zip(*of_batches, strict=True)]


@every_optimizer
@pytest.mark.parametrize(
    "extra", [{}, {"global_clipnorm": 0.5}, {"weight_decay": 0.25}]
)
def test_accumulated_gradients_equal_steps_on_their_means(case, extra):
    optimizer = case(gradient_accumulation_steps=3, **extra)
    reference = case(**extra)
    micro = gradients(6)
    actual = step(optimizer, weights(), *micro)
    means = mean(*micro[:3]), mean(*micro[3:])
    assert_same(actual, step(reference, weights(), *means))
    assert_same(state(optimizer), state(reference))
    assert int(optimizer.iterations) == 2


@every_optimizer
def test_nothing_moves_while_gradients_accumulate(case):
    optimizer, variables = case(gradient_accumulation_steps=3), weights()
    optimizer.build(variables)
    before = state(optimizer)
    step(optimizer, variables, *gradients(2))
    assert_same(values(variables), values(weights()), **EXACTLY)
    assert_same(state(optimizer), before, **EXACTLY)


@every_optimizer
def test_accumulation_with_a_nan_leaves_out_one_step_only(case):
    optimizer, reference = case(gradient_accumulation_steps=2), case()
    micro = gradients(4)
    micro[0][1][0] = np.nan
    actual = step(optimizer, weights(), *micro)
    assert_same(actual, step(reference, weights(), mean(*micro[2:])))
    assert_same(state(optimizer), state(reference))


@every_optimizer
@pytest.mark.parametrize(
    ("bad", "extra"),
    [
        pytest.param(np.nan, {}, marks=pytest.mark.slow),
        (np.nan, {"weight_decay": 0.25}),
        pytest.param(np.inf, {"weight_decay": 0.25}, marks=pytest.mark.slow),
        pytest.param(-np.inf, {}, marks=pytest.mark.slow),
        # Its square is not a float32.
        (1e30, {}),
    ],
)
def test_step_with_a_non_finite_gradient_is_left_out(case, bad, extra):
    optimizer, reference = case(**extra), case(**extra)
    first, middle, last = gradients(3)
    middle[1][0] = bad
    actual, expected = weights(), weights()
    step(optimizer, actual, first, middle)
    step(reference, expected, first)
    assert_same(values(actual), values(expected), **EXACTLY)
    assert optimizer.effective_learning_rate == 0.0
    assert int(optimizer.iterations) == 2
    step(optimizer, actual, last)
    step(reference, expected, last)
    assert_same(values(actual), values(expected), **EXACTLY)
    assert_same(state(optimizer), state(reference), **EXACTLY)


@every_optimizer
@pytest.mark.parametrize("bad", [np.nan, 1e30])
def test_first_step_with_a_non_finite_gradient_is_left_out(case, bad):
    optimizer, reference = case(), case()
    first, last = gradients(2)
    first[0][2, 1] = bad
    actual = step(optimizer, weights(), first, last)
    assert_same(actual, step(reference, weights(), last), **EXACTLY)
    assert_same(state(optimizer), state(reference), **EXACTLY)


@every_optimizer
def test_moving_average_continues_over_a_step_left_out(case):
    optimizer, variables = case(use_ema=True, ema_momentum=0.5), weights()
    first, bad = gradients(2)
    bad[0][0, 0] = np.nan
    after = step(optimizer, variables, first, bad)
    optimizer.finalize_variable_values(variables)
    # Of twice the same weights.
    assert_same(values(variables), after)


@every_optimizer
def test_gradients_that_are_all_zero_move_nothing(case):
    zeros = [np.zeros((3, 2), "float32"), np.zeros(2, "float32")]
    optimizer = case()
    assert_same(step(optimizer, weights(), zeros, zeros), values(weights()), **EXACTLY)
    assert all(np.isfinite(value).all() for value in state(optimizer).values())
