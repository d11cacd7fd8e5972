"""`scopes`: a forward pass leaves nothing behind in the layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_lr._keras.scopes import keeping_attributes


class Remembers(keras.Model):
    """Keeps what goes through it, and counts in a variable of TensorFlow's."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2, activity_regularizer="l2")
        self.passes = tf.Variable(0)
        self.more = [tf.Variable(0.0)]
        self.seen = []
        self.hidden = None

    def call(self, x):
        self.hidden = self.dense(x)
        self.seen.append(self.hidden)
        self.later = self.hidden
        self.passes.assign_add(1)
        self.more[0].assign_add(0.5)
        self.add_loss(ops.sum(self.hidden))
        return self.hidden


def state_of(model):
    losses = [float(each) for each in model.losses]
    numbers = int(model.passes), float(model.more[0])
    return losses, numbers, id(model.hidden), [id(each) for each in model.seen]


@pytest.mark.parametrize("fails", [False, True])
def test_layers_are_as_before_the_pass(fails):
    model = Remembers()
    model(np.ones((1, 3), "float32"))
    before, later = state_of(model), model.later
    try:
        with keeping_attributes(model):
            model(np.zeros((4, 3), "float32"))
            assert int(model.passes) == 2
            if fails:
                raise ArithmeticError
    except ArithmeticError:
        model.passes.assign(1)
        model.more[0].assign(0.5)
    assert state_of(model) == before
    assert model.later is later


def test_what_the_pass_made_is_gone():
    model = Remembers()
    model.dense.build((None, 3))
    with keeping_attributes(model):
        model(np.zeros((4, 3), "float32"))
    assert model.hidden is None
    assert not hasattr(model, "later")
    assert model.losses == []


def test_traced_pass_puts_variables_back_where_it_runs():
    model = Remembers()
    model(np.ones((1, 3), "float32"))

    @tf.function(autograph=False)
    def step(x, is_due):
        def once_more():
            with keeping_attributes(model):
                return ops.sum(model(x))

        model(x)
        return tf.cond(is_due, once_more, lambda: 0.0), model.hidden

    for is_due, passes in ((True, 2), (False, 3), (True, 4)):
        _, hidden = step(tf.ones((4, 3)), tf.constant(is_due))
        assert int(model.passes) == passes
        assert hidden.shape == (4, 2)
