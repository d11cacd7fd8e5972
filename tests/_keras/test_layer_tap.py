"""`layer_tap`: a listener hears its own thread, and nothing stays behind."""

import threading

import keras
import numpy as np
import pytest

from keras_lr._keras.layer_tap import tapped


@pytest.fixture
def double():
    """A layer that doubles its input."""
    layer = keras.layers.Dense(1, use_bias=False)
    layer.build((None, 1))
    layer.set_weights([np.array([[2.0]])])
    return layer


def call(layer, value):
    return float(layer(np.array([[value]], "float32"))[0, 0])


def hearing(heard):
    return lambda inputs, outputs: heard.append(
        (float(inputs[0, 0]), float(outputs[0, 0]))
    )


def assert_untouched(layer):
    assert not {"call", "_keras_lr_layer_tap"} & set(layer.__dict__)


def test_listener_hears_inputs_and_outputs_within_the_context_only(double):
    heard = []
    with tapped(double, hearing(heard)):
        assert call(double, 3.0) == 6.0
    call(double, 5.0)
    assert heard == [(3.0, 6.0)]
    assert_untouched(double)


def test_listener_does_not_hear_another_thread(double):
    heard = []
    with tapped(double, hearing(heard)):
        thread = threading.Thread(target=call, args=(double, 3.0))
        thread.start()
        thread.join()
    assert heard == []


def test_two_listeners_both_hear(double):
    first, second = [], []
    with tapped(double, hearing(first)), tapped(double, hearing(second)):
        call(double, 1.0)
    assert first == second == [(1.0, 2.0)]
    assert_untouched(double)


def test_contexts_that_overlap_without_nesting_end_on_their_own(double):
    first, second = [], []
    one, other = tapped(double, hearing(first)), tapped(double, hearing(second))
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    call(double, 1.0)
    assert (first, second) == ([], [(1.0, 2.0)])
    other.__exit__(None, None, None)
    assert_untouched(double)


def test_exception_leaves_the_layer_as_it_was(double):
    with pytest.raises(ZeroDivisionError), tapped(double, lambda *_: 1 / 0):
        call(double, 1.0)
    assert_untouched(double)


def test_call_of_the_users_own_on_the_instance_is_given_back(double):
    plain = double.call
    own = lambda inputs: plain(inputs) + 1.0  # noqa: E731  # An attribute, as a user's.
    double.call = own
    heard = []
    with tapped(double, hearing(heard)):
        call(double, 3.0)
    assert heard == [(3.0, 7.0)]
    assert double.call is own
