import sys

import keras
import numpy as np

import keras_lr
from keras_lr.comparison.conditions import conditions_of, model_in_a_line
from keras_lr.comparison.runner import RunSettings
from tests.comparison import linear_problem as problem


def dense(*sizes):
    layers = [keras.layers.Dense(size) for size in sizes]
    return keras.Sequential([keras.Input((3,)), *layers])


def test_conditions_are_those_of_model_data_and_settings():
    model = problem.build_model(keras.optimizers.SGD(0.25, momentum=0.9))
    validation = tuple(each[:5] for each in problem.DATA[1])
    conditions = conditions_of(model, (problem.DATA[0], validation), RunSettings(3, 4))
    assert conditions.model == "Sequential: Dense(1); 1 parameters"
    assert conditions.optimizer == "SGD(learning_rate=0.25, momentum=0.9)"
    assert conditions.learning_rate == 0.25
    assert conditions.data == "inputs of shape 1, targets of shape 1"
    assert (conditions.training_rows, conditions.validation_rows) == (problem.ROWS, 5)
    assert (conditions.epochs, conditions.batch_size) == (3, 4)
    assert conditions.versions == {
        "keras_lr": keras_lr.__version__,
        "keras": keras.__version__,
        "tensorflow": sys.modules["tensorflow"].__version__,
    }


def test_long_model_is_cut_and_frozen_weights_are_counted_apart():
    # (3 + 1) * 2, five times (2 + 1) * 2, and (2 + 1) * 4.
    model = dense(2, 2, 2, 2, 2, 2, 4)
    model.layers[0].trainable = False
    assert model_in_a_line(model) == (
        "Sequential: Dense(2), Dense(2), Dense(2), Dense(2), 2 more, Dense(4); "
        "50 parameters, 42 of them trainable"
    )


def test_optimizer_of_the_user_that_needs_an_argument_has_its_rate():
    class Needy(keras.optimizers.SGD):
        def __init__(self, needed):
            super().__init__(needed)

    model = problem.build_model(Needy(0.5))
    conditions = conditions_of(model, problem.DATA, RunSettings(3, 4))
    assert conditions.optimizer == "Needy(learning_rate=0.5)"


def test_shapes_of_several_inputs_are_listed():
    inputs = {"a": np.ones((6, 2)), "b": np.ones((6, 4, 4, 3))}
    model = problem.build_model()
    data = ((inputs, np.ones(6)), (inputs, np.ones(6)))
    conditions = conditions_of(model, data, RunSettings(3, 4))
    assert conditions.data == "inputs of shape 2 and 4 x 4 x 3, targets of shape 1"
