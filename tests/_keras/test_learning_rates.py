from types import SimpleNamespace

import keras
import numpy as np
import pytest

import keras_lr
from keras_lr._keras.learning_rates import effective_learning_rates, last_learning_rates


def halving():
    """Return 1, 1/2, 1/4, ... after 0, 1, 2, ... steps."""
    return keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)


def normalized(**kwargs):
    """Return Algorithm 1 without momentum: K is the norm of the last gradient."""
    return keras_lr.AdaMo(0.5, momentum=0.0, variant="paper", **kwargs)


def step(optimizer, gradients, weights=None):
    """Apply gradients one after another to one vector, and return it."""
    if weights is None:
        weights = keras.Variable(np.zeros(2, "float32"))
    for gradient in gradients:
        value = keras.ops.convert_to_tensor(gradient, "float32")
        optimizer.apply([value], [weights])
    return weights


def several(first, second):
    """Return one optimizer which gives its first variable to the second one."""
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("MultiOptimizer is public since Keras 3.15")
    by_name = keras.optimizers.OptimizerMap(first, {"special": second})
    return keras.optimizers.MultiOptimizer(by_name)


def test_float_is_what_it_is_now():
    optimizer = keras.optimizers.SGD(0.5)
    step(optimizer, [[1, 1]])
    assert last_learning_rates(optimizer) == {"learning_rate": 0.5}
    optimizer.learning_rate = 0.25
    assert last_learning_rates(optimizer) == {"learning_rate": 0.25}


def test_schedule_gives_the_rate_that_moved_the_weights_last():
    optimizer = keras.optimizers.SGD(halving())
    weights = step(optimizer, [[1, 1]] * 2)
    before = weights.numpy()
    step(optimizer, [[1, 1]], weights)
    # The third step: 1/4.
    np.testing.assert_array_equal(before - weights.numpy(), [0.25, 0.25])
    assert last_learning_rates(optimizer) == {"learning_rate": 0.25}


def test_schedule_before_the_first_step_gives_its_first_rate():
    optimizer = keras.optimizers.SGD(halving())
    assert last_learning_rates(optimizer) == {"learning_rate": 1.0}


@pytest.mark.parametrize("batches", [6, 7, 8])
def test_schedule_with_accumulation_gives_the_rate_of_the_last_update(batches):
    optimizer = keras.optimizers.SGD(halving(), gradient_accumulation_steps=3)
    weights = step(optimizer, [[1, 1]] * 5)
    before = weights.numpy()
    step(optimizer, [[1, 1]] * (batches - 5), weights)
    # The sixth batch makes the second update, with the mean of three gradients of 1.
    np.testing.assert_array_equal(before - weights.numpy(), [2**-5, 2**-5])
    assert last_learning_rates(optimizer) == {"learning_rate": 2**-5}


def test_step_that_loss_scaling_skips_does_not_count():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(halving()))
    step(optimizer, [[1, 1], [1, 1], [np.inf, 1]])
    assert last_learning_rates(optimizer) == {"learning_rate": 0.5}


def test_callable_rate_is_called():
    optimizer = keras.optimizers.SGD(lambda: 0.125)
    assert last_learning_rates(optimizer) == {"learning_rate": 0.125}


def test_each_of_several_optimizers_has_its_names():
    second = normalized(name="second")
    optimizer = several(keras.optimizers.SGD(halving(), name="first"), second)
    common = keras.Variable(np.zeros(2, "float32"), name="common")
    special = keras.Variable(np.zeros(2, "float32"), name="special")
    gradients = [keras.ops.ones(2), keras.ops.convert_to_tensor([3.0, 4.0])]
    for _ in range(2):
        optimizer.apply(gradients, [common, special])
    rates = last_learning_rates(optimizer)
    assert rates == {"learning_rate_first": 0.5, "learning_rate_second": 0.5}
    # 0.5 / ||(3, 4)||; 5 is exact in float32, a tenth is not.
    assert effective_learning_rates(optimizer) == {
        "effective_learning_rate_second": pytest.approx(0.1, rel=1e-7),
        "lipschitz_constant_second": 5.0,
    }


@pytest.mark.parametrize("is_scaled", [False, True])
def test_effective_rate_is_the_multiple_of_the_inverse_constant(is_scaled):
    optimizer = normalized()
    gradient = np.array([3.0, 4.0])
    if is_scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
        gradient = 8.0 * gradient
    step(optimizer, [gradient, 0.5 * gradient])
    # 0.5 / ||(1.5, 2)||; a fifth is not exact in float32.
    assert effective_learning_rates(optimizer) == {
        "effective_learning_rate": pytest.approx(0.2, rel=1e-7),
        "lipschitz_constant": 2.5,
    }


def test_step_that_was_left_out_has_a_rate_of_zero():
    optimizer = normalized()
    step(optimizer, [[3, 4], [np.nan, 1]])
    assert effective_learning_rates(optimizer) == {
        "effective_learning_rate": 0.0,
        "lipschitz_constant": 5.0,
    }


def test_optimizer_without_an_effective_rate_gives_nothing():
    assert effective_learning_rates(keras.optimizers.Adam()) == {}


def test_attributes_count_and_not_the_class():
    stranger = SimpleNamespace(effective_learning_rate=2, lipschitz_constant=3)
    expected = {"effective_learning_rate": 2.0, "lipschitz_constant": 3.0}
    assert effective_learning_rates(stranger) == expected
