"""`Horizon`: how much of a fit is ahead."""

import numpy as np
import pytest

from keras_lr.training.fit.horizon import FitLength, Horizon
from tests.small_problem import sequential


@pytest.fixture
def horizon():
    """A horizon of a model that is not trained yet."""
    return Horizon(sequential())


def length(epochs, steps):
    return FitLength({"epochs": epochs, "steps": steps})


def remaining_over(horizon, steps):
    parts = []
    for _ in range(steps):
        parts.append(float(horizon.remaining()))
        horizon.advance()
    return parts


def test_everything_is_ahead_before_the_first_epoch(horizon):
    assert float(horizon.remaining()) == 1.0


def test_known_steps_are_counted_one_by_one(horizon):
    horizon.start_epoch(0, length(2, 4))
    eighths = np.array(remaining_over(horizon, 8)) * 8
    np.testing.assert_allclose(eighths, [8, 7, 6, 5, 4, 3, 2, 1], rtol=1e-6)


def test_epoch_starts_where_it_should_however_many_steps_were_taken(horizon):
    horizon.start_epoch(0, length(2, 4))
    remaining_over(horizon, 3)
    horizon.start_epoch(1, length(2, 4))
    np.testing.assert_allclose(remaining_over(horizon, 2), [0.5, 0.375], rtol=1e-6)


def test_position_in_an_epoch_is_counted_where_steps_are_known(horizon):
    horizon.start_epoch(1, length(2, 4), batch=3)
    assert float(horizon.remaining()) == 1 / 8
    horizon.start_epoch(1, length(2, None), batch=3)
    assert float(horizon.remaining()) == 1 / 2


def test_unknown_steps_are_counted_by_epochs(horizon):
    horizon.start_epoch(3, length(4, None))
    np.testing.assert_allclose(remaining_over(horizon, 3), [0.25, 0.25, 0.25])


def test_nothing_is_ahead_after_the_last_step(horizon):
    horizon.start_epoch(2, length(2, 4))
    assert float(horizon.remaining()) == 0.0


def test_rest_is_never_negative(horizon):
    horizon.start_epoch(0, length(1, 2))
    assert remaining_over(horizon, 4)[2:] == [0.0, 0.0]


def is_last(fit_length, batch):
    fit_length.count(batch)
    return fit_length.is_epoch_complete


def test_last_batch_is_known_where_the_steps_are():
    known, unknown = length(1, 3), length(1, None)
    # With `steps_per_execution` Keras counts past the end.
    assert [is_last(known, batch) for batch in (0, 1, 2, 3)] == [0, 0, 1, 1]
    assert not any(is_last(unknown, batch) for batch in (0, 1, 2, 3))


def test_first_epoch_of_a_generator_shows_its_length():
    generator = length(2, None)
    generator.count(4)
    generator.end_epoch()
    assert generator.steps == 5


def test_later_change_of_the_callbacks_params_is_not_seen():
    params = {"epochs": 3, "steps": 4}
    fit_length = FitLength(params)
    params["epochs"] = 1
    assert fit_length.epochs == 3
