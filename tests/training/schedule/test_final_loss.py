"""`FinalLoss`: E on all rows, in parts of any size, with its gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers

from keras_lr import _keras
from keras_lr.training.schedule.final_loss import FinalLoss
from keras_lr.training.schedule.training_step import TrainingStep
from tests.small_problem import CLASSES, FEATURES, data


def final_loss(rows, batch_size=4, sample_weight=None, **kwargs):
    l2 = keras.regularizers.L2(0.5)
    hidden = layers.Dense(4, use_bias=False, kernel_regularizer=l2)
    norm, drop = layers.BatchNormalization(), layers.Dropout(0.5)
    head = layers.Dense(CLASSES, "softmax")
    model = keras.Sequential([keras.Input((FEATURES,)), hidden, norm, drop, head])
    optimizer = optimizers.SGD(0.5, momentum=0.5, **kwargs)
    model.compile(optimizer, loss="sparse_categorical_crossentropy")
    _keras.build_optimizer(model)
    x, y = data()
    norm.moving_mean.assign(np.linspace(-1.0, 1.0, 4))
    step = TrainingStep(model, (tf.constant(x[:4]), tf.constant(y[:4])), "test")
    given = [each[:rows] for each in (x, y, sample_weight) if each is not None]
    return model, step, FinalLoss(step, tuple(given), batch_size)


def by_hand(model, rows, weights=1.0):
    x, y = (each[:rows] for each in data())
    p = model(x, training=False).numpy()
    return np.mean(-np.log(p[np.arange(rows), y]) * weights)


# Roundings of float32, of numbers of size 1.
CLOSE = {"rel": 2e-6}


@pytest.mark.parametrize("batch_size", [4, 10, 22])
def test_loss_is_the_mean_over_all_rows_without_penalties(batch_size):
    model, step, final = final_loss(22, batch_size)
    loss, _ = final.gradient(step.state().floats)
    assert float(loss) == pytest.approx(by_hand(model, 22), **CLOSE)
    assert float(final.value(step.state().floats)) == float(loss)


def test_rows_have_their_weights():
    weights = np.linspace(0.0, 2.0, 22).astype("float32")
    model, step, final = final_loss(22, sample_weight=weights)
    expected = by_hand(model, 22, weights)
    assert float(final.value(step.state().floats)) == pytest.approx(expected, **CLOSE)


def test_scale_of_the_optimizer_has_no_part_in_it():
    model, step, final = final_loss(22, loss_scale_factor=8.0)
    loss, gradient = final.gradient(step.state().floats)
    assert float(loss) == pytest.approx(by_hand(model, 22), **CLOSE)
    _, _, plain = final_loss(22)
    _, expected = plain.gradient(step.state().floats)
    np.testing.assert_allclose(
        gradient.weights[-1], expected.weights[-1], rtol=1e-5, atol=1e-7
    )


def test_gradient_is_that_of_weights_and_moving_statistics_and_zero_for_slots():
    model, step, final = final_loss(22)
    _, gradient = final.gradient(step.state().floats)
    x, y = data()
    own = step.variables.floats
    sources = [v.value for v in [*own.weights, *own.statistics]]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        p = model(x, training=False)
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, p))
    expected = tape.gradient(loss, sources)
    actual = [*gradient.weights, *gradient.statistics]
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert np.abs(gradient.statistics[0]).max() > 1e-3
    assert len(gradient.slots) == len(own.weights)
    assert not any(np.any(each) for each in gradient.slots)
