"""`ConstantFeed`: the constants that `LipschitzLR` measures, given to an optimizer."""

import keras
import numpy as np
import pytest

import keras_lr
from keras_lr._keras import leaf_optimizers
from tests import small_problem

MOMENTUM = 0.75


def train(lipschitz, epochs=3, optimizer=None, **kwargs):
    optimizer = optimizer or keras_lr.AdaMo(
        momentum=MOMENTUM, variant="paper", lipschitz="analytic", initial_constant=0.5
    )
    model = small_problem.compiled(optimizer=optimizer)
    history = small_problem.fit(model, [lipschitz], epochs, **kwargs)
    return leaf_optimizers(model.optimizer)[0], history


class Constants(keras.callbacks.Callback):
    """The optimizer's K and effective rate after each epoch or batch."""

    def __init__(self, every):
        super().__init__()
        self.constants, self.rates = [], []
        setattr(self, f"on_{every}_end", self.record)

    def record(self, index, logs=None):
        optimizer = leaf_optimizers(self.model.optimizer)[0]
        self.constants.append(optimizer.lipschitz_constant)
        self.rates.append(optimizer.effective_learning_rate)


def averages(observed, start=0.5):
    """Algorithm 1, line 6, from the initial constant."""
    values = [start]
    for each in observed:
        values.append(MOMENTUM * values[-1] + (1 - MOMENTUM) * each)
    return values[1:]


def test_epoch_constants_are_averaged_and_the_first_rate_is_the_initial_constant():
    lipschitz = keras_lr.LipschitzLR(bound="paper", update="epoch", anneal=0.0)
    recorder = Constants("epoch")
    model = small_problem.compiled(
        optimizer=keras_lr.AdaMo(
            momentum=MOMENTUM,
            variant="paper",
            lipschitz="analytic",
            initial_constant=0.5,
        )
    )
    small_problem.fit(model, [lipschitz, recorder], epochs=4)
    expected = averages(lipschitz.history["lipschitz_constant"])
    np.testing.assert_allclose(recorder.constants, expected, rtol=1e-6)
    # An epoch is trained at the constant of the one before; the first at x itself.
    rates = [0.5, *(1 / np.array(expected[:-1]))]
    np.testing.assert_allclose(recorder.rates, rates, rtol=1e-6)


def test_batch_constants_are_those_of_each_batch():
    # One batch an epoch, so that the epoch's largest constant is the batch's.
    x, y = small_problem.data()
    data = {"x": x, "y": y, "batch_size": len(x), "shuffle": False}
    lipschitz = keras_lr.LipschitzLR(bound="paper", update="batch", anneal=0.0)
    optimizer, _ = train(lipschitz, epochs=4, **data)
    expected = averages(lipschitz.history["lipschitz_constant"])
    assert optimizer.lipschitz_constant == pytest.approx(expected[-1], rel=1e-6)
    assert optimizer.effective_learning_rate == pytest.approx(1 / expected[-1])


def test_squared_constant_leaves_out_the_product_with_the_weight_term():
    x, y = small_problem.data()
    optimizer = keras_lr.AutoAdam(variant="paper", lipschitz="analytic", beta_2=0.0)
    model = small_problem.compiled(
        lambda: small_problem.sequential(kernel_regularizer=keras.regularizers.L2(0.1)),
        optimizer=optimizer,
    )
    lipschitz = keras_lr.LipschitzLR(bound="paper", update="epoch", anneal=0.0)
    small_problem.fit(model, [lipschitz], epochs=1)
    constant = lipschitz.history["lipschitz_constant"][0]
    weights = lipschitz.history["weight_term"][0]
    assert weights > 0.01
    square = (constant - weights) ** 2 + weights**2
    rate = (np.sqrt(square) + 1e-7) / (0.9 * 1.0 + 0.1 * constant)
    x_one = {"x": x[:4], "y": y[:4], "batch_size": 4, "shuffle": False}
    small_problem.fit(
        model,
        [keras_lr.LipschitzLR(bound="strict", update="epoch", anneal=0.0)],
        1,
        **x_one,
    )
    assert optimizer.effective_learning_rate == pytest.approx(rate, rel=1e-5)


@pytest.mark.slow
def test_optimizer_within_a_loss_scale_is_fed():
    keras.config.set_dtype_policy("mixed_float16")
    lipschitz = keras_lr.LipschitzLR(bound="paper", update="epoch", anneal=0.0)
    optimizer, _ = train(lipschitz)
    expected = averages(lipschitz.history["lipschitz_constant"])[-1]
    assert optimizer.lipschitz_constant == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_replicas_are_fed_alike(two_replicas):
    alone, _ = train(keras_lr.LipschitzLR(bound="strict", anneal=0.0))
    with two_replicas.scope():
        shared, _ = train(keras_lr.LipschitzLR(bound="strict", anneal=0.0))
    # The order of summation differs.
    assert shared.lipschitz_constant == pytest.approx(
        alone.lipschitz_constant, rel=1e-5
    )


def test_optimizer_that_measures_its_own_gradients_is_left_alone():
    optimizer = keras_lr.AdaMo()
    with pytest.warns(UserWarning, match="Received: ada_mo"):
        train(keras_lr.LipschitzLR(bound="strict", anneal=0.0), optimizer=optimizer)
    other = keras_lr.AdaMo()
    small_problem.fit(small_problem.compiled(optimizer=other))
    assert optimizer.lipschitz_constant == pytest.approx(other.lipschitz_constant)


def test_fit_without_a_source_of_constants_is_refused():
    model = small_problem.compiled(optimizer=keras_lr.AdaMo(lipschitz="analytic"))
    with pytest.raises(ValueError, match="lipschitz='analytic', and no constant"):
        small_problem.fit(model)
