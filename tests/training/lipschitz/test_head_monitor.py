"""`HeadMonitor`: what one batch adds to the statistics of an epoch, by hand."""

import contextlib

import keras
import numpy as np
import pytest

from keras_lr._keras import layer_tap, to_float
from keras_lr.training.lipschitz.head import find_head
from keras_lr.training.lipschitz.head_monitor import HeadMonitor
from keras_lr.training.lipschitz.losses import constants_of, describe_loss

LOSSES = keras.losses
# Rows of norm 5, 12 and 0: K_z = 13, m = 3. Without a bias, sum_i ||a_i|| = 17.
X = np.array([[3.0, 4.0], [0.0, 12.0], [0.0, 0.0]], "float32")
Y = np.ones((3, 1), "float32")
ROUNDING = 1e-6


def monitor_of(model, loss, bound):
    head, description = find_head(model, owner="LipschitzLR"), describe_loss(loss)
    constants = constants_of(description, head.units)
    return HeadMonitor(model, head, description, constants, bound)


@contextlib.contextmanager
def observing(monitor, batch, constants=None):
    """Let the monitor observe the head's calls in this context."""

    def observe(inputs, outputs):
        constant = monitor.observe(inputs, outputs, batch)
        if constants is not None:
            constants.append(to_float(constant))

    with layer_tap.tapped(monitor.layer, observe):
        yield


def watch(loss, bound, *batches, activation=None, use_bias=False):
    """Return the constants of the batches, one by one, and the statistics of all."""
    head = keras.layers.Dense(1, activation, use_bias=use_bias)
    model = keras.Sequential([keras.Input(batches[0][0].shape[1:]), head])
    monitor, constants = monitor_of(model, loss, bound), []
    for batch in batches:
        with observing(monitor, batch, constants):
            model(batch[0])
    return constants, monitor.read()


CROSSENTROPY = {"activation": "sigmoid"}


@pytest.mark.parametrize(
    ("reduction", "paper", "strict"),
    [("sum_over_batch_size", 13 / 2 / 3, 17 / 3), ("sum", 13 / 2, 17)],
)
def test_reduction_divides_the_constants_of_a_batch_and_of_the_epoch(
    reduction, paper, strict
):
    loss = LOSSES.BinaryCrossentropy(reduction=reduction)
    for bound, expected in {"paper": paper, "strict": strict}.items():
        (constant,), statistics = watch(loss, bound, (X, Y), **CROSSENTROPY)
        assert constant == pytest.approx(expected, rel=ROUNDING)
        assert statistics.constant == pytest.approx(expected, rel=ROUNDING)


def test_paper_divides_the_largest_norm_by_the_largest_batch():
    small = np.array([[0.0, 14.0]], "float32")
    constants, statistics = watch(
        "binary_crossentropy", "paper", (X, Y), (small, Y[:1]), **CROSSENTROPY
    )
    np.testing.assert_allclose(constants, [13 / 2 / 3, 14 / 2], rtol=ROUNDING)
    assert (statistics.activation_norm, statistics.rows) == (14.0, 3)
    assert statistics.constant == pytest.approx(14 / 2 / 3, rel=ROUNDING)


def test_strict_constant_is_the_largest_of_any_batch():
    batches = (X, Y), (X[1:2], Y[:1]), (X[2:], Y[:1])
    constants, statistics = watch("hinge", "strict", *batches)
    np.testing.assert_allclose(constants, [17 / 3, 12, 0], rtol=ROUNDING)
    assert statistics.constant == pytest.approx(12, rel=ROUNDING)


@pytest.mark.parametrize(("use_bias", "first"), [(True, np.sqrt(26)), (False, 5)])
def test_bias_is_a_column_of_ones(use_bias, first):
    (constant,), _ = watch("hinge", "strict", (X[:1], Y[:1]), use_bias=use_bias)
    assert constant == pytest.approx(first, rel=ROUNDING)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_batch_that_is_not_finite_does_not_enter_the_statistics(bad):
    broken = np.array([[bad, 1.0]], "float32")
    _, statistics = watch("hinge", "strict", (X, Y), (broken, Y[:1]))
    assert statistics.activation_norm == pytest.approx(13, rel=ROUNDING)
    assert statistics.constant == pytest.approx(17 / 3, rel=ROUNDING)


def test_reset_forgets_what_was_measured():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    monitor = monitor_of(model, "hinge", "strict")
    with observing(monitor, (X, Y)):
        model(X)
    monitor.reset()
    assert vars(monitor.read()) == {"activation_norm": 0, "rows": 0, "constant": 0}


def test_residuals_are_taken_behind_the_trailing_activations():
    head = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((2,)), head, keras.layers.ReLU()])
    monitor = monitor_of(model, "mse", "strict")
    # Outputs 0 and 7: residuals -2 and 5, for rows of norm 5.
    x = np.array([[-3.0, -4.0], [3.0, 4.0]], "float32")
    with observing(monitor, (x, np.array([2.0, 2.0]))):
        model(x)
    expected = 2 / 2 * (5 * 2 + 5 * 5)
    assert monitor.read().constant == pytest.approx(expected, rel=ROUNDING)


def masked_model():
    """Rows of norm 1, 2 and 3 for the tokens 1, 2 and 3; the token 0 is masked."""
    table = np.arange(4.0)[:, None]
    embedding = keras.layers.Embedding(4, 1, mask_zero=True)
    head = keras.layers.Dense(1, use_bias=False)
    model = keras.Sequential([keras.Input((2,), dtype="int32"), embedding, head])
    embedding.set_weights([table])
    return model


@pytest.mark.parametrize(
    ("weights", "reduction", "expected"),
    # Three of four steps count: of norm 1, 2 and 3.
    [
        (None, "sum_over_batch_size", 6 / 3),
        (None, "mean", 6 / 3),
        (None, "sum", 6),
        (None, "mean_with_sample_weight", 6 / 3),
        ([[1.0], [10.0]], "sum_over_batch_size", (1 + 2 + 30) / 3),
        ([[1.0, 2.0], [10.0, 5.0]], "mean", (1 + 4 + 30) / 3),
        ([[1.0, 2.0], [10.0, 5.0]], "sum", 1 + 4 + 30),
        ([[1.0, 2.0], [10.0, 5.0]], "mean_with_sample_weight", (1 + 4 + 30) / 13),
    ],
)
def test_mask_and_weights_count_as_in_keras_losses(weights, reduction, expected):
    model, tokens = masked_model(), np.array([[1, 2], [3, 0]])
    loss = LOSSES.MeanAbsoluteError(reduction=reduction)
    monitor = monitor_of(model, loss, "strict")
    weights = None if weights is None else keras.ops.convert_to_tensor(weights)
    with observing(monitor, (tokens, np.zeros((2, 2, 1)), weights)):
        model(tokens)
    assert monitor.read().constant == pytest.approx(expected, rel=ROUNDING)
