"""An argument that cannot be used is named, and said what it should be."""

import inspect
import math
from decimal import Decimal
from fractions import Fraction

import keras
import numpy as np
import pytest

import keras_lr
from keras_lr import _checks
from keras_lr.comparison.arguments import checked_seeds
from tests.comparison import linear_problem as problem

NO_ARGUMENT = {"self", "kwargs", "name", "validation_data", "data", "tikhonov", "layer"}
FREE = {"verbose", "log_diagnostics", "bias_correction", "learning_rate"}
"""Judged by whether they are true, or by Keras."""
ANYTHING = [
    *("x", b"1", None, True, -1, 1j, np.nan, np.inf),
    *([1.0], [[1.0]], {"a": 1}, np.array([1.0, 2.0]), object),
]
CLASSES = [
    *(keras_lr.LipschitzLR, keras_lr.LearningRateWalk),
    *(keras_lr.MARTHE, keras_lr.RTHO, keras_lr.HypergradientDescent),
    *(keras_lr.AdaMo, keras_lr.AdaptiveRMSprop, keras_lr.AutoAdam),
]


def arguments(cls):
    return [
        name
        for name in inspect.signature(cls.__init__).parameters
        if name not in NO_ARGUMENT | FREE
    ]


def refusal(cls, keywords):
    """Return the message of the error that a constructor raises, `None` for none."""
    try:
        cls(**keywords)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("cls", "argument"),
    [(cls, argument) for cls in CLASSES for argument in arguments(cls)],
    ids=lambda each: getattr(each, "__name__", each),
)
@pytest.mark.filterwarnings("ignore")
def test_constructors_take_an_argument_or_say_what_it_must_be(cls, argument):
    messages = {repr(value): refusal(cls, {argument: value}) for value in ANYTHING}
    for value, message in messages.items():
        assert message is None or f"{argument}={value}" in message
        assert message is None or "must" in message
    # What is right for one argument is wrong for another; an object is for none.
    assert sum(message is not None for message in messages.values()) >= 5


@pytest.mark.parametrize("value", ANYTHING, ids=repr)
@pytest.mark.parametrize(
    "argument",
    [
        *("batch_size", "min_learning_rate", "max_learning_rate", "steps", "seed"),
    ],
)
def test_range_test_takes_an_argument_or_says_what_it_must_be(argument, value):
    with pytest.raises(ValueError, match="Received") as caught:
        keras_lr.find_learning_rate(None, (), **{argument: value})
    # Without a model, it ends there at the latest.
    named = f"{argument}={value!r}" in str(caught.value)
    assert named or "Received: model=None" in str(caught.value)


class BuiltError(Exception):
    """Raised where a model would be built: all arguments were fine."""


def build_model():
    raise BuiltError


ROWS = np.ones((4, 1), "float32")
DATA = ((ROWS, ROWS), (ROWS, ROWS))


@pytest.mark.parametrize("value", [*ANYTHING, [1.5], ["a"], [-1]], ids=repr)
@pytest.mark.parametrize("argument", ["seeds", "epochs", "batch_size", "mode"])
def test_comparison_takes_an_argument_or_says_what_it_must_be(argument, value):
    with pytest.raises((ValueError, BuiltError)) as caught:
        keras_lr.compare_policies(build_model, DATA, **{argument: value})
    assert caught.type is BuiltError or f"{argument}=" in str(caught.value)


@pytest.mark.parametrize(
    "seeds", [{1, 2}, range(1, 3), np.array([1, 2]), {1: 0, 2: 0}.keys()]
)
def test_seeds_may_be_of_any_kind(seeds):
    assert sorted(checked_seeds(seeds)) == [1, 2]
    assert checked_seeds(np.array(2)) == checked_seeds(np.int64(2)) == [0, 1]


@pytest.mark.parametrize("seeds", ["12", b"12", [True], [1.5], np.array(True)])
def test_what_is_no_seed_is_refused(seeds):
    with pytest.raises(ValueError, match=r"`seeds` must .*Received: seeds="):
        checked_seeds(seeds)


@pytest.mark.parametrize(
    "value",
    [np.complex64(3 + 2j), np.array("3"), np.array(True), np.bool_(True), [3.0]],
)
def test_what_is_no_real_number_is_none(value):
    assert math.isnan(_checks.real(value))


@pytest.mark.parametrize(
    "value", [np.float16(3), np.array(3), Fraction(3), Decimal(3), keras.ops.array(3.0)]
)
def test_every_kind_of_real_number_is_one(value):
    assert _checks.real(value) == 3.0


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("policies", each) for each in (5, [5], [["a"]])),
        *(("monitor", each) for each in (3, ["loss"], "acc")),
        *(("directory", each) for each in (3, ["a"])),
    ],
)
def test_comparison_says_what_a_name_must_be(argument, value):
    with pytest.raises(ValueError, match=r"must .*Received: (policy|polic|moni|direc)"):
        keras_lr.compare_policies(problem.build_model, DATA, **{argument: value})


@pytest.mark.parametrize("value", ANYTHING, ids=repr)
@pytest.mark.parametrize(
    "argument",
    [
        *("steps", "batch_size", "every", "outer_steps", "seed", "memory_limit"),
        *("minibatches", "initial_weights", "mode", "backup_dir"),
    ],
)
def test_schedule_search_takes_an_argument_or_says_what_it_must_be(argument, value):
    arguments = {"steps": 2, argument: value}
    with pytest.raises((ValueError, BuiltError)) as caught:
        keras_lr.optimize_schedule(build_model, *DATA, **arguments)
    assert caught.type is BuiltError or f"{argument}={value!r}" in str(caught.value)
