"""`InverseRate`: rates from constants, and constants from the rates of a backup."""

import keras
import numpy as np
import pytest

from keras_lr._keras import to_float
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.fit.horizon import FitLength
from keras_lr.training.lipschitz.inverse_rate import InverseRate, is_gradient_descent
from tests.small_problem import compiled

SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam
ROUNDING = 1e-6
IS_OLD = not hasattr(keras.optimizers, "MultiOptimizer")


def inverse_rate(optimizer, anneal=0.0, **kwargs):
    """Factor 2, so that 1/L is doubled; the largest constant is held; no annealing."""
    model = compiled(optimizer=optimizer)
    settings = {"factor": 2.0, "memory": 1.0, "limits": (1e-6, 100.0)}
    return InverseRate(model, AnnealedRate(model, anneal=anneal), **settings | kwargs)


def start(inverse, epoch=0, epochs=10, steps=4, *, observes=True, age=1):
    """Start anew at epoch 0, from a restored optimizer at a later one."""
    inverse.rate.start_epoch(epoch, length(epochs, steps))
    inverse.listen(to_batches=observes)
    if epoch:
        inverse.resume(epoch, length(epochs, steps), age)
    else:
        inverse.rate.start()
        inverse.start()
    return inverse


def apply(inverse):
    """Do in a step what is done once L is known."""
    inverse.move()
    inverse.rate.write()


def settle(inverse, epoch):
    """Do at the end of an epoch what is done before the next one."""
    inverse.move()
    inverse.rate.settle(epoch, length())


def length(epochs=10, steps=4):
    return FitLength({"epochs": epochs, "steps": steps})


def rate_of(optimizer):
    return pytest.approx(to_float(optimizer.learning_rate), rel=ROUNDING)


def test_rate_is_the_factor_over_the_constant():
    sgd = SGD(0.1)
    inverse = start(inverse_rate(sgd))
    inverse.observe(keras.ops.convert_to_tensor(8.0))
    apply(inverse)
    assert rate_of(sgd) == 2 / 8


def test_momentum_shortens_the_rate_to_that_of_an_average():
    sgd = SGD(0.1, momentum=0.75)
    inverse = start(inverse_rate(sgd))
    inverse.observe(keras.ops.convert_to_tensor(8.0))
    apply(inverse)
    assert rate_of(sgd) == 2 * (1 - 0.75) / 8


def test_constant_does_not_count_where_it_is_not_observed():
    sgd = SGD(0.125)
    inverse = start(inverse_rate(sgd), observes=False)
    inverse.observe(keras.ops.convert_to_tensor(8.0))
    apply(inverse)
    assert inverse.constant == 0.0
    assert rate_of(sgd) == 0.125


def test_constant_of_an_epoch_counts_where_batches_do_not():
    sgd = SGD(0.125)
    inverse = start(inverse_rate(sgd), observes=False)
    inverse.hold(8.0)
    inverse.hold(4.0)
    settle(inverse, 0)
    assert inverse.constant == 8.0
    assert rate_of(sgd) == 2 / 8


@pytest.mark.parametrize(("constant", "expected"), [(1e-9, 0.5), (1e9, 0.25)])
def test_limits_hold_before_annealing(constant, expected):
    sgd = SGD(0.1)
    inverse = inverse_rate(sgd, limits=(0.25, 0.5), anneal=1.0)
    inverse.rate.start_epoch(5, length())
    inverse.listen(to_batches=True)
    inverse.rate.start()
    inverse.observe(keras.ops.convert_to_tensor(constant))
    apply(inverse)
    # Half of the fit is ahead.
    assert rate_of(sgd) == expected / 2


def test_rates_of_a_fit_fall_to_zero_over_its_last_half():
    sgd, rates = SGD(0.1), []
    inverse = start(inverse_rate(sgd, anneal=0.5), epochs=1, steps=4)
    for _ in range(4):
        inverse.observe(keras.ops.convert_to_tensor(4.0))
        apply(inverse)
        rates.append(to_float(sgd.learning_rate))
        inverse.rate.advance()
    # Parts 1, 3/4, 2/4 and 1/4 are ahead; over one half, and never above 1.
    np.testing.assert_allclose(rates, [0.5, 0.5, 0.5, 0.25], rtol=ROUNDING)


def test_new_fit_forgets_the_constant_and_keeps_the_rate():
    sgd = SGD(0.125)
    inverse = start(inverse_rate(sgd))
    inverse.hold(8.0)
    start(inverse)
    apply(inverse)
    assert inverse.constant == 0.0
    assert rate_of(sgd) == 0.125


@pytest.mark.parametrize(("momentum", "constant"), [(0.0, 16.0), (0.75, 4.0)])
def test_resumed_fit_takes_its_constant_from_the_rate(momentum, constant):
    """2 (1 - momentum) / L = 0.125 gives L."""
    inverse = start(inverse_rate(SGD(0.125, momentum=momentum)), epoch=1)
    assert inverse.constant == pytest.approx(constant, rel=ROUNDING)


def test_resumed_fit_takes_the_annealing_out_of_the_rate():
    sgd = SGD(0.125)
    # At epoch 6 of 10, 0.4 of the fit is ahead: annealed by 0.4 / 0.5.
    inverse = start(inverse_rate(sgd, anneal=0.5), epoch=6)
    assert inverse.constant == pytest.approx(2 / 0.125 * 0.8, rel=ROUNDING)
    apply(inverse)
    assert rate_of(sgd) == 0.125


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_settled_rate_is_the_one_that_a_resumed_fit_takes(optimizer):
    def next_rate(opt, inverse):
        apply(inverse)
        return to_float(opt.learning_rate)

    first = optimizer(0.125)
    inverse = start(inverse_rate(first, anneal=1.0))
    inverse.hold(8.0)
    inverse.listen(to_batches=True)
    settle(inverse, 7)
    second = optimizer(to_float(first.learning_rate))
    resumed = start(inverse_rate(second, anneal=1.0), epoch=7)
    for each in (inverse, resumed):
        each.rate.advance()
    # Of 40 steps 28 and one more are done.
    expected = {SGD: 2 / 8, Adam: 0.125}[optimizer] * 11 / 40
    assert next_rate(second, resumed) == pytest.approx(expected, rel=1e-5)
    assert next_rate(first, inverse) == pytest.approx(expected, rel=1e-5)


def test_rate_is_not_settled_behind_the_end_of_a_fit():
    sgd = SGD(0.125)
    inverse = start(inverse_rate(sgd, anneal=0.5))
    settle(inverse, 10)
    assert rate_of(sgd) == 0.125


@pytest.mark.parametrize(("optimizer", "expected"), [(SGD, 2 / 8), (Adam, 0.125)])
def test_released_rate_is_not_annealed(optimizer, expected):
    opt = optimizer(0.125)
    inverse = start(inverse_rate(opt, anneal=1.0))
    inverse.hold(8.0)
    settle(inverse, 9)
    assert rate_of(opt) == expected / 10
    inverse.rate.release()
    assert rate_of(opt) == expected


def test_release_before_a_start_leaves_the_rate_alone():
    sgd = SGD(0.125)
    inverse_rate(sgd).rate.release()
    assert rate_of(sgd) == 0.125


def test_release_leaves_a_rate_alone_that_the_user_has_set():
    adam = Adam(0.125)
    inverse = start(inverse_rate(adam, anneal=1.0), epochs=1)
    apply(inverse)
    adam.learning_rate = 0.5
    inverse.rate.release()
    assert rate_of(adam) == 0.5


def observe(inverse, constant, steps=1):
    """Observe a constant in the first of some steps."""
    inverse.observe(keras.ops.convert_to_tensor(constant))
    for _ in range(steps):
        inverse.advance()


def test_constant_is_forgotten_by_the_root_of_its_age():
    """sqrt((10 + 0) / (10 + 30)) and sqrt((10 + 0) / (10 + 80)) of 12 count."""
    inverse = start(inverse_rate(SGD(0.1), memory=None))
    found = []
    for constant, steps in ((12.0, 30), (1.0, 50), (1.0, 1)):
        observe(inverse, constant, steps)
        found.append(inverse.constant)
    assert found == pytest.approx([12.0, 6.0, 4.0], rel=ROUNDING)


def test_constant_of_an_epoch_is_as_old_as_the_steps_since_then():
    """At the end of epochs of 30 and 50 steps: sqrt(40 / 90) of 12 count."""
    inverse = start(inverse_rate(SGD(0.1), memory=None), observes=False)
    observe(inverse, 1.0, 30)
    inverse.hold(12.0)
    observe(inverse, 1.0, 50)
    inverse.hold(1.0)
    assert inverse.constant == pytest.approx(8.0, rel=ROUNDING)


@pytest.mark.parametrize("unusable", [0.0, np.nan, np.inf])
def test_steps_without_a_constant_count_for_its_age(unusable):
    """sqrt((10 + 0) / (10 + 80)) of 12 count."""
    inverse = start(inverse_rate(SGD(0.1), memory=None))
    for constant, steps in ((12.0, 30), (unusable, 50), (1.0, 1)):
        observe(inverse, constant, steps)
    assert inverse.constant == pytest.approx(4.0, rel=ROUNDING)


def test_batches_of_the_first_epoch_are_as_old_as_its_end():
    """By epochs, 12 is held until the end of epoch 0: sqrt(40 / 90) of it count."""
    inverse = start(inverse_rate(SGD(0.1), memory=None, feeds_batches=False))
    observe(inverse, 12.0, 20)
    observe(inverse, 1.0, 10)
    assert inverse.constant == 12.0
    inverse.listen(to_batches=False)
    inverse.hold(12.0)
    observe(inverse, 1.0, 50)
    inverse.hold(1.0)
    assert inverse.constant == pytest.approx(8.0, rel=ROUNDING)


def test_smaller_batches_of_an_earlier_fit_do_not_raise_the_constant():
    """Step 100 of them is step 8 of these."""
    inverse = inverse_rate(SGD(0.1), memory=None)
    inverse.rate.start()
    inverse.start(8.0, steps=100.0, last=99.0)
    inverse.listen(to_batches=True)
    inverse.start_epoch(2, length())
    inverse.observe(keras.ops.convert_to_tensor(1.0))
    assert inverse.constant == 8.0


@pytest.mark.parametrize("steps", [4, None])
def test_resumed_constant_is_as_old_as_that_of_the_whole_fit(steps):
    """28 of 40 steps are done; a generator's are those of the optimizer."""
    whole = start(inverse_rate(SGD(0.1), memory=None))
    observe(whole, 8.0, 27)
    observe(whole, 1.0)
    apply(whole)
    restored = SGD(to_float(whole.rate.in_optimizer))
    restored.iterations.assign(28)
    resumed = start(inverse_rate(restored, memory=None), epoch=7, steps=steps)
    for each in (whole, resumed):
        observe(each, 0.5)
    # From step 0 to step 28.
    expected = 8.0 * (10 / 38) ** 0.5
    assert resumed.state[1:] == whole.state[1:] == (29.0, 28.0)
    assert whole.constant == pytest.approx(expected, rel=ROUNDING)
    assert resumed.constant == pytest.approx(expected, rel=ROUNDING)


def test_constant_is_held_no_larger_than_the_lowest_rate_tells():
    """So that a resumed fit, which reads it off the rate, is the same."""
    settings = {"memory": None, "limits": (0.25, 100.0)}
    whole = start(inverse_rate(SGD(0.1), **settings))
    observe(whole, 1e6)
    assert whole.constant == 2 / 0.25
    for _ in range(27):
        observe(whole, 1e-3)
    apply(whole)
    restored = SGD(to_float(whole.rate.in_optimizer))
    resumed = start(inverse_rate(restored, **settings), epoch=7)
    assert resumed.state == pytest.approx(whole.state, rel=1e-5)
    assert whole.constant == pytest.approx(8.0 * (10 / 37) ** 0.5, rel=1e-5)


def test_fit_that_continues_starts_from_the_constant_it_is_given():
    sgd = SGD(0.125)
    inverse = inverse_rate(sgd)
    inverse.rate.start()
    inverse.start(8.0)
    apply(inverse)
    assert rate_of(sgd) == 2 / 8


@pytest.mark.skipif(IS_OLD, reason="MultiOptimizer is public since Keras 3.15")
def test_each_optimizer_of_several_has_its_own_rate():
    sgd, adam = SGD(0.125, momentum=0.5, name="a"), Adam(0.25, name="b")
    several = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(adam, {".*logits.*": sgd})
    )
    inverse = start(inverse_rate(several, anneal=1.0))
    inverse.hold(8.0)
    inverse.rate.start_epoch(5, length())
    inverse.listen(to_batches=True)
    apply(inverse)
    assert rate_of(sgd) == 2 * 0.5 / 8 / 2
    assert rate_of(adam) == 0.25 / 2


@pytest.mark.skipif(IS_OLD, reason="MultiOptimizer is public since Keras 3.15")
@pytest.mark.parametrize(
    ("limits", "expected"),
    # 2 / 8 and 2 (1 - 0.5) / 8: one is above 0.2, the other below; and both at a limit.
    [
        ((0.2, 100.0), 8.0),
        ((1e-6, 0.2), 8.0),
        ((0.5, 100.0), 2 / 0.5),
        ((1e-6, 0.1), 1 / 0.1),
    ],
)
def test_resumed_constant_is_read_off_the_rate_that_says_most(limits, expected):
    several = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(
            SGD(float(np.clip(2 / 8, *limits)), name="a"),
            {".*logits.*": SGD(float(np.clip(1 / 8, *limits)), momentum=0.5, name="b")},
        )
    )
    inverse = start(inverse_rate(several, limits=limits), epoch=7)
    assert inverse.constant == pytest.approx(expected, rel=ROUNDING)
    whole = start(inverse_rate(several, limits=limits))
    observe(whole, 1e9)
    assert whole.constant == pytest.approx(2 / limits[0], rel=ROUNDING)


def test_momentum_of_1_leaves_the_lowest_rate():
    sgd = SGD(0.5, momentum=1.0)
    inverse = start(inverse_rate(sgd))
    observe(inverse, 8.0)
    apply(inverse)
    assert rate_of(sgd) == 1e-6


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (SGD(nesterov=True, momentum=0.9), True),
        (Adam(), False),
        (keras.optimizers.RMSprop(), False),
        (keras.optimizers.Lion(), False),
    ],
    ids=["SGD", "Adam", "RMSprop", "Lion"],
)
def test_gradient_descent_is_told_from_what_normalizes(optimizer, expected):
    assert is_gradient_descent(optimizer) is expected
