"""`Descent`: steps by hand, projected, halved, and restored."""

import numpy as np
import pytest
from keras import optimizers

from keras_lr.rules import lrs_opt
from keras_lr.schedules.descent import Descent


def test_gradient_descent_moves_by_rate_times_slope_and_not_below_zero():
    descent = Descent(optimizers.SGD(0.5), 3)
    values = descent.step(np.array([1.0, 1.0, 0.0]), np.array([1.0, 4.0, -2.0]))
    assert values.tolist() == [0.5, 0.0, 1.0]
    assert descent.learning_rate == 0.5


def test_step_is_in_float64():
    values = np.array([1.0 + 2.0**-40])
    moved = Descent(optimizers.SGD(0.5), 1).step(values, np.array([2.0**-40]))
    assert moved == values - 2.0**-41


def test_first_default_step_moves_all_values_by_the_same_part_of_their_mean():
    descent = Descent(None, 2)
    moved = descent.step(np.array([0.01, 0.03]), np.array([-7e6, 1e-9]))
    # Adam's first step is the sign of the slope, but Keras rounds 1 - beta_2 to
    # float32, 6e-8 of a thousandth.
    np.testing.assert_allclose(moved, [0.016, 0.024], rtol=1e-5)
    assert descent.learning_rate == pytest.approx(0.006, rel=1e-6)


def test_default_step_of_a_number_is_that_of_the_rule():
    descent, values = Descent(None, 2), np.array([0.01, 0.03])
    for number in range(3):
        descent.step(values, np.ones(2))
        expected = lrs_opt.relative_learning_rate(values, number)
        # The optimizer's rate is a float32.
        assert descent.learning_rate == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("optimizer", [None, optimizers.SGD(0.5)])
def test_halved_step_from_where_it_was_goes_half_as_far(optimizer):
    descent = Descent(optimizer, 2)
    slopes = np.array([0.25, -0.5])
    values = descent.step(np.array([1.0, 2.0]), slopes)
    before = descent.state()
    whole = descent.step(values, slopes) - values
    descent.restore(before)
    descent.halve()
    half = descent.step(values, slopes) - values
    np.testing.assert_allclose(half, whole / 2, rtol=1e-6)


def test_state_is_all_that_the_next_steps_depend_on():
    first, second = Descent(optimizers.Adam(0.1), 2), Descent(optimizers.Adam(0.9), 2)
    values = first.step(np.array([1.0, 2.0]), np.array([3.0, -1.0]))
    second.restore(first.state())
    slopes = np.array([0.5, 0.25])
    assert (second.step(values, slopes) == first.step(values, slopes)).all()


def test_optimizer_of_the_user_stays_as_it_is():
    optimizer = optimizers.Adam(0.1)
    for _ in range(2):
        Descent(optimizer, 2).step(np.ones(2), np.ones(2))
    assert not optimizer.built
    assert float(optimizer.learning_rate.value) == np.float32(0.1)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("adam", "`optimizer` must be a Keras optimizer or None.*'adam'"),
        (
            optimizers.SGD(optimizers.schedules.CosineDecay(0.1, 9)),
            "must have a float `learning_rate`.*<SGD> with a schedule",
        ),
    ],
)
def test_optimizer_without_a_float_learning_rate_is_refused(optimizer, message):
    with pytest.raises(ValueError, match=message):
        Descent(optimizer, 2)


def test_settings_tell_the_default_from_the_same_optimizer():
    assert Descent(None, 1).settings != Descent(optimizers.Adam(), 1).settings
