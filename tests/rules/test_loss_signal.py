import math

import pytest

from keras_lr.rules.loss_signal import (
    decision_epoch,
    initial_loss,
    is_hopeless,
    loss_signal,
)


@pytest.mark.parametrize(
    ("first", "early", "expected"),
    [
        (2.0, 1.5, 2.0),  # It fell.
        (2.0, 2.5, 2.5),  # The first batch was an easy one.
        (2.0, 4.1, 2.0),  # It blew up.
        (2.0, math.nan, 2.0),
        (-2.0, -1.5, -1.5),
        (-2.0, 0.5, -2.0),
    ],
)
def test_initial_loss_is_that_of_the_first_batch_or_of_ten(first, early, expected):
    assert initial_loss(first, early) == expected


@pytest.mark.parametrize(
    ("initial", "final", "signal"),
    [
        (2.0, 2.21, 1),
        (2.0, 2.19, -1),
        (2.0, 1.81, -1),
        (2.0, 1.79, 0),
        (-2.0, -1.79, 1),
        (-2.0, -2.19, -1),
        (-2.0, -2.21, 0),
        (2.0, math.nan, 1),
        (2.0, math.inf, 1),
        (math.nan, 1.0, 1),
        (0.0, 1e-9, 1),
    ],
)
def test_signal_is_that_of_the_loss_relative_to_its_start(initial, final, signal):
    assert loss_signal(initial, final) == signal


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, 2), (4, 2), (8, 2), (9, 3), (100, 25)]
)
def test_decision_is_made_after_a_quarter_of_the_epochs(epochs, expected):
    assert decision_epoch(epochs) == expected


@pytest.mark.parametrize(
    ("initial", "losses", "expected"),
    [
        (2.0, [1.99, 1.961], True),
        (2.0, [1.99, 1.959], False),
        (-2.0, [-2.0, -2.039], True),
        (-2.0, [-2.0, -2.041], False),
        (2.0, [2.0, math.nan], True),
        # The first batch was an easy one: 2.1 is 5 % above it, 2.05 2.4 % below 2.1.
        (2.0, [2.1, 2.05], False),
        # A loss that blew up is as high as ever, though it falls.
        (2.0, [9.0, 3.0], True),
    ],
)
def test_training_is_hopeless_unless_the_loss_fell_by_two_percent(
    initial, losses, expected
):
    assert is_hopeless(initial, losses) is expected
