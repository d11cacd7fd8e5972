"""`losses`: Keras's losses as the rules need them."""

import functools
import math

import keras
import pytest

from keras_lr.training.lipschitz.losses import (
    LossDescription,
    constants_of,
    describe_loss,
)

LOSSES = keras.losses


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", LossDescription("mean_squared_error")),
        (LOSSES.mean_absolute_error, LossDescription("mean_absolute_error")),
        (
            LOSSES.BinaryCrossentropy(from_logits=True, reduction="sum"),
            LossDescription("binary_crossentropy", "sum", from_logits=True),
        ),
        (LOSSES.Huber(delta=0.5), LossDescription("huber", delta=0.5)),
        (
            LOSSES.LogCosh(reduction="mean_with_sample_weight"),
            LossDescription("log_cosh", "mean_with_sample_weight"),
        ),
    ],
)
def test_loss_is_described_in_every_form_that_compile_takes(loss, expected):
    assert describe_loss(loss) == expected


def test_weight_of_the_output_is_kept():
    assert describe_loss("mae", weight=0.25).weight == 0.25


def mean_squared_error(y_true, y_pred):
    return 100.0 * keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


@pytest.mark.parametrize(
    "loss",
    [
        mean_squared_error,
        functools.partial(LOSSES.binary_crossentropy, from_logits=True),
    ],
)
def test_function_of_the_users_own_is_not_taken_for_kerass(loss):
    description = describe_loss(loss)
    assert "not one of Keras's" in description.name
    with pytest.raises(ValueError, match="`loss` must be one of"):
        constants_of(description, 1)


def test_missing_loss_is_refused():
    with pytest.raises(ValueError, match=r"must be given to `compile.*loss=None"):
        describe_loss(None)


def test_loss_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r"reduced to one number.*reduction='none'"):
        describe_loss(LOSSES.MeanSquaredError(reduction="none"))


@pytest.mark.parametrize("weight", [3.0, -3.0])
def test_weight_of_the_output_scales_both_constants(weight):
    loss = LossDescription("categorical_crossentropy", weight=weight)
    constants = constants_of(loss, 4)
    assert constants.paper_factor == pytest.approx(3 * 3 / 4)
    assert constants.row_bound == pytest.approx(3 * math.sqrt(2))


def test_bound_of_the_users_own_replaces_the_formula():
    loss = LossDescription("kl_divergence", weight=0.5)
    constants = constants_of(loss, 4, row_bound=6.0)
    assert (constants.paper_factor, constants.row_bound) == (None, 3.0)


def test_delta_of_huber_reaches_its_constant():
    constants = constants_of(LossDescription("huber", delta=0.5), 4)
    assert constants.row_bound == 0.25  # delta / sqrt(4)
