import keras_tuner
import pytest

from keras_lr.tuners.axis import Axis, missing, problem_with, read_space


def axis(sampling="log", low=1e-4, high=1.0):
    space = keras_tuner.HyperParameters()
    space.Float("learning_rate", low, high, sampling=sampling)
    return Axis(space.space[0])


@pytest.mark.parametrize(
    ("sampling", "position", "rate"),
    [("log", 0.5, 0.01), ("log", 0.25, 0.001), ("linear", 0.5, 0.50005)],
)
def test_position_and_rate_are_each_other_s_inverse(sampling, position, rate):
    actual = axis(sampling).learning_rate(position)
    assert actual == pytest.approx(rate, rel=1e-12)
    assert axis(sampling).position(actual) == pytest.approx(position, abs=1e-12)
    assert type(actual) is float


@pytest.mark.parametrize(("position", "rate"), [(-0.1, 1e-4), (1.1, 1.0), (1.0, 1.0)])
def test_rate_never_leaves_the_range(position, rate):
    assert axis().learning_rate(position) == rate


def test_rate_that_is_known_is_met_to_the_last_bit():
    known = axis().learning_rate(0.3)
    position = axis().position(known) + 1e-9
    assert axis().learning_rate(position) != known
    assert axis().learning_rate_among([0.5, known], position) == known
    assert axis().learning_rate_among([known], 0.31) == axis().learning_rate(0.31)


def test_rate_outside_of_the_range_is_refused():
    with pytest.raises(ValueError, match=r"from 0\.0001 to 1.*first=2"):
        axis().require(2.0, "first")


def conditional(optimizer):
    """A space with a separate learning rate for each of two optimizers."""
    space = keras_tuner.HyperParameters()
    if optimizer is None:
        space.Choice("optimizer", ["sgd", "adam"])
    else:
        space.Fixed("optimizer", optimizer)
    for name, high in (("sgd", 10.0), ("adam", 0.1)):
        with space.conditional_scope("optimizer", [name]):
            space.Float("learning_rate", 1e-5, high, sampling="log")
            space.Fixed(f"{name}_momentum", 0.9)
    return space


@pytest.mark.parametrize(("optimizer", "high"), [("sgd", 10.0), ("adam", 0.1)])
def test_learning_rate_under_the_fixed_condition_is_the_one(optimizer, high):
    space = read_space(conditional(optimizer), "learning_rate")
    assert space.axis.high == high
    assert space.others == {"optimizer": optimizer, f"{optimizer}_momentum": 0.9}
    assert problem_with(space, "learning_rate") is None


def test_condition_that_could_be_another_is_refused():
    problem = problem_with(read_space(conditional(None), "learning_rate"), "x")
    assert "optimizer='sgd'" in problem
    assert "hp.Fixed('optimizer', 'sgd')" in problem


def test_other_hyperparameters_that_are_not_fixed_are_named():
    space = keras_tuner.HyperParameters()
    space.Int("units", 8, 64)
    space.Boolean("bias")
    space.Choice("activation", ["relu"])
    space.Int("layers", 2, 2)
    space.Float("learning_rate", 1e-5, 1.0, sampling="log")
    active = read_space(space, "learning_rate")
    assert active.tunable == ("units", "bias")
    assert active.others == {
        **{"units": 8, "bias": False},
        **{"activation": "relu", "layers": 2},
    }
    assert "units=8, bias=False" in problem_with(active, "learning_rate")


def test_rate_of_another_name_is_not_to_be_fixed():
    space = keras_tuner.HyperParameters()
    space.Float("lr", 1e-5, 1.0, sampling="log")
    problem = problem_with(read_space(space, "learning_rate"), "learning_rate")
    assert problem.endswith(
        "Received: lr=1e-05. If 'lr' is the learning rate, pass `hyperparameter='lr'`."
    )
    space.Int("units", 8, 64)
    problem = problem_with(read_space(space, "learning_rate"), "learning_rate")
    assert "pass `hyperparameter='lr'`. Fix with `hp = " in problem
    assert "hp.Fixed('units', 8)`" in problem


@pytest.mark.parametrize(
    "declare",
    [
        lambda space: space.Choice("learning_rate", [1e-2, 1e-3]),
        lambda space: space.Fixed("learning_rate", 0.1),
        lambda space: space.Float("learning_rate", 0.1, 0.1),
        lambda space: space.Float("learning_rate", 1e-3, 1.0, step=10, sampling="log"),
    ],
)
def test_learning_rate_that_is_no_range_is_refused(declare):
    space = keras_tuner.HyperParameters()
    declare(space)
    problem = problem_with(read_space(space, "learning_rate"), "learning_rate")
    assert "must be a range of floats without steps. Received: " in problem


def test_missing_learning_rate_is_told_with_what_is_there():
    space = keras_tuner.HyperParameters()
    space.Float("lr", 1e-5, 1.0)
    assert "'learning_rate' that is active. Received: hyperparameters ['lr']" in (
        missing(space, "learning_rate")
    )
    assert read_space(space, "learning_rate").axis is None
