"""`AnnealedRate`: the one owner of the learning rate, from the first step to the last.

Numbers are by hand: at the start of epoch 6 of 10, 0.4 of a fit is ahead.
"""

import keras
import pytest

from keras_lr._keras import to_float
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.fit.horizon import FitLength
from tests.small_problem import compiled

LENGTH = FitLength({"epochs": 10, "steps": 4})
ROUNDING = 1e-6


def rate_of(optimizer, **kwargs):
    return AnnealedRate(compiled(optimizer=optimizer), **kwargs)


def in_optimizer(optimizer):
    return pytest.approx(to_float(optimizer.learning_rate), rel=ROUNDING)


def value(rate):
    return pytest.approx(to_float(rate.rate.value), rel=ROUNDING)


@pytest.mark.parametrize(("iterations", "expected"), [(0, 0.005), (3, 0.5)])
def test_scale_is_for_an_optimizer_that_has_not_taken_a_step(iterations, expected):
    sgd = keras.optimizers.SGD(0.5)
    rate = rate_of(sgd)
    sgd.iterations.assign(iterations)
    rate.start(scale=0.01)
    assert value(rate) == expected


def test_annealing_is_paused_and_goes_on_to_the_last_bit():
    sgd = keras.optimizers.SGD(0.5)
    rate = rate_of(sgd, anneal=0.8)
    rate.start()
    rate.start_epoch(6, LENGTH)
    rate.write()
    rate.advance()
    rate.pause()
    assert in_optimizer(sgd) == 0.5
    rate.go_on()
    assert in_optimizer(sgd) == 0.25
    rate.pause()
    sgd.learning_rate = 0.125
    rate.go_on()
    assert in_optimizer(sgd) == 0.125


def test_given_rate_is_taken_within_the_limits():
    rate = rate_of(keras.optimizers.SGD(0.5), limits=(0.1, 0.3))
    for start, expected in ((0.2, 0.2), (0.05, 0.1), (7.0, 0.3), (None, 0.3)):
        rate.start(start)
        assert value(rate) == expected


def test_optimizer_gets_the_value_times_the_factor():
    sgd = keras.optimizers.SGD(0.5)
    rate = rate_of(sgd, anneal=0.8)
    rate.start()
    rate.start_epoch(6, LENGTH)
    rate.move_to(keras.ops.convert_to_tensor(0.25))
    rate.write()
    assert in_optimizer(sgd) == 0.25 * 0.4 / 0.8
    rate.advance()
    rate.write()
    # Of 40 steps, 25 are done.
    assert in_optimizer(sgd) == 0.25 * (15 / 40) / 0.8
    assert value(rate) == 0.25


def test_move_keeps_within_the_limits():
    rate = rate_of(keras.optimizers.SGD(0.5), limits=(0.1, 0.3))
    rate.start()
    for new, expected in ((0.2, 0.2), (0.05, 0.1), (7.0, 0.3)):
        rate.move_to(keras.ops.convert_to_tensor(new))
        assert value(rate) == expected


def test_resumed_rate_has_the_annealing_taken_off():
    sgd = keras.optimizers.SGD(0.125)
    rate = rate_of(sgd, anneal=0.5)
    rate.resume(6, LENGTH)
    assert value(rate) == 0.125 * 0.5 / 0.4
    rate.write()
    assert in_optimizer(sgd) == 0.125


def test_rate_resumed_after_the_last_step_is_taken_as_it_is():
    rate = rate_of(keras.optimizers.SGD(0.125), anneal=0.5)
    rate.resume(10, LENGTH)
    assert value(rate) == 0.125


def test_settled_rate_is_that_of_the_next_epoch_and_none_is_behind_the_end():
    sgd = keras.optimizers.SGD(0.5)
    rate = rate_of(sgd, anneal=0.8)
    rate.start()
    rate.settle(6, LENGTH)
    assert in_optimizer(sgd) == 0.5 * 0.4 / 0.8
    rate.settle(10, LENGTH)
    assert in_optimizer(sgd) == 0.5 * 0.4 / 0.8


def test_released_rate_is_the_value_unless_the_user_has_set_another():
    sgd = keras.optimizers.SGD(0.5)
    rate = rate_of(sgd, anneal=0.8)
    rate.start()
    rate.settle(6, LENGTH)
    rate.release()
    assert in_optimizer(sgd) == 0.5
    rate.settle(6, LENGTH)
    sgd.learning_rate = 0.375
    rate.release()
    assert in_optimizer(sgd) == 0.375


def test_cut_lowers_the_value_down_to_the_limit():
    rate = rate_of(keras.optimizers.SGD(0.5), limits=(0.02, 1.0))
    rate.start()
    assert rate.cut(0.1) == pytest.approx(0.05, rel=ROUNDING)
    assert rate.cut(0.1) == pytest.approx(0.02, rel=ROUNDING)
    assert value(rate) == 0.02


def move_to(rate, value):
    rate.move_to(keras.ops.convert_to_tensor(value))


@pytest.mark.parametrize(
    ("last", "left"), [(0.0, 0.5e-3), (1e-8, 0.5e-3), (1e-7, 1e-7)]
)
def test_rate_that_vanished_is_left_as_a_thousandth_of_the_first(last, left):
    sgd = keras.optimizers.SGD(0.5)
    rate = rate_of(sgd)
    rate.start()
    move_to(rate, last)
    rate.write()
    assert in_optimizer(sgd) == last
    rate.release()
    assert in_optimizer(sgd) == left
    assert value(rate) == last


def test_rate_without_a_first_one_is_left_as_small_as_it_is():
    sgd = keras.optimizers.SGD(0.5)
    rate = rate_of(sgd, vanished=0.0)
    rate.start()
    move_to(rate, 1e-12)
    rate.release()
    # Nothing has been written yet.
    rate.write_on_host()
    assert in_optimizer(sgd) == 1e-12


def test_fits_that_continue_do_not_lower_the_floor():
    sgd = keras.optimizers.SGD(0.5)
    rate = rate_of(sgd, floor=1e-3)
    sgd.iterations.assign(1)
    for _ in range(3):
        rate.start()
        move_to(rate, 0.0)
        rate.write_on_host()
        assert in_optimizer(sgd) == 0.5e-3


def test_rate_that_the_user_sets_has_a_floor_of_its_own():
    sgd = keras.optimizers.SGD(0.5)
    rate = rate_of(sgd, floor=1e-3)
    sgd.iterations.assign(1)
    for start in (0.5, 0.01, 0.125):
        sgd.learning_rate = start
        rate.start()
        move_to(rate, 0.0)
        rate.write_on_host()
        assert in_optimizer(sgd) == start * 1e-3


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"),
    reason="MultiOptimizer is public since Keras 3.15",
)
def test_each_optimizer_of_several_has_its_rate():
    sgd = keras.optimizers.SGD(0.125, name="a")
    adam = keras.optimizers.Adam(0.25, name="b")
    several = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(adam, {".*logits.*": sgd})
    )
    rate = rate_of(several, anneal=1.0)
    rate.start()
    rate.settle(6, LENGTH)
    assert in_optimizer(sgd) == 0.125 * 0.4
    assert in_optimizer(adam) == 0.25 * 0.4
    rate.release()
    assert in_optimizer(adam) == 0.25
