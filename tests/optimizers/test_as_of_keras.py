"""What the tests of Keras's own optimizers ask, where nothing else here does."""

import itertools
import pickle

import keras
import pytest

from tests.every_optimizer import (
    EXACTLY,
    assert_same,
    every_default,
    every_optimizer,
    gradients,
    step,
    values,
    weights,
)
from tests.small_problem import compiled, fit

CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
only_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="Of TensorFlow alone."
)


@every_optimizer
def test_steps_are_counted(case):
    optimizer = case()
    step(optimizer, weights(), *gradients(3))
    assert int(optimizer.iterations) == 3


@every_optimizer
def test_no_variables_are_no_step(case):
    optimizer, variables = case(), weights()
    optimizer.build(variables)
    optimizer.apply([], [])
    assert int(optimizer.iterations) == 0
    assert_same(values(variables), values(weights()), **EXACTLY)


@every_optimizer
@pytest.mark.parametrize("clips", list(itertools.combinations(CLIPS, 2)), ids=str)
def test_two_ways_to_clip_are_refused(case, clips):
    with pytest.raises(ValueError, match="Only one of"):
        case(**dict.fromkeys(clips, 0.5))


@every_optimizer
def test_optimizer_is_got_from_its_config_and_from_itself(case):
    optimizer = case(weight_decay=0.25, clipnorm=0.5)
    config = keras.saving.serialize_keras_object(optimizer)
    again = keras.optimizers.get(config)
    assert keras.optimizers.get(optimizer) is optimizer
    expected = step(optimizer, weights(), *gradients(2))
    assert_same(step(again, weights(), *gradients(2)), expected, **EXACTLY)


@every_optimizer
def test_pickle_trains_alike(case):
    optimizer = case(use_ema=True, ema_momentum=0.5)
    again = pickle.loads(pickle.dumps(optimizer))
    assert again.get_config() == optimizer.get_config()
    expected = step(optimizer, weights(), *gradients(2))
    assert_same(step(again, weights(), *gradients(2)), expected, **EXACTLY)


@every_optimizer
def test_callable_learning_rate_is_asked_in_each_step(case):
    """A step by the whole rate and one by none of it are the first one alone."""
    rates = iter([0.5, 0.0])
    now = [0.0]
    optimizer, variables = case(learning_rate=lambda: now[0]), weights()
    for grads in gradients(2):
        now[0] = next(rates)
        step(optimizer, variables, grads)
    expected = step(case(learning_rate=0.5), weights(), gradients(2)[0])
    assert_same(values(variables), expected)


@only_tensorflow
@every_default
def test_fit_ends_with_the_averages_of_the_weights(case):
    model = compiled(optimizer=case(use_ema=True, ema_momentum=0.5), run_eagerly=True)
    averages = []
    # Keras assigns them after the last epoch.
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: averages.append(
            [x.numpy() for x in model.optimizer._model_variables_moving_average]
        )
    )
    fit(model, [note], epochs=2)
    actual = [each.numpy() for each in model.trainable_variables]
    assert_same(actual, averages[-1], **EXACTLY)


@only_tensorflow
@every_optimizer
def test_checkpoint_of_tensorflow_brings_the_state_back(case, tmp_path):
    import tensorflow as tf

    first, second = gradients(2)
    optimizer, variables = case(), weights()
    step(optimizer, variables, first)
    path = tf.train.Checkpoint(optimizer=optimizer).save(tmp_path / "checkpoint")
    at_first = values(variables)
    expected = step(optimizer, variables, second)
    again, others = case(), weights()
    again.build(others)
    tf.train.Checkpoint(optimizer=again).restore(path)
    for variable, value in zip(others, at_first, strict=True):
        variable.assign(value)
    assert_same(step(again, others, second), expected, **EXACTLY)
