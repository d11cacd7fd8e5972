import keras
import pytest

from keras_lr.range_test.compile_line import compile_line


@keras.saving.register_keras_serializable(package="tests")
class Mine(keras.optimizers.SGD):
    """An optimizer of the user's."""


@pytest.mark.parametrize(
    ("optimizer", "call"),
    [
        (keras.optimizers.SGD(0.1), "keras.optimizers.SGD(0.003)"),
        (
            keras.optimizers.SGD(0.1, 0.9, nesterov=True),
            "keras.optimizers.SGD(0.003, momentum=0.9, nesterov=True)",
        ),
        (keras.optimizers.Adam(), "keras.optimizers.Adam(0.003)"),
        (
            keras.optimizers.AdamW(weight_decay=0.1, name="mine"),
            "keras.optimizers.AdamW(0.003, weight_decay=0.1)",
        ),
        (
            keras.optimizers.LossScaleOptimizer(keras.optimizers.RMSprop(0.1)),
            "keras.optimizers.RMSprop(0.003)",
        ),
        (Mine(0.1, global_clipnorm=1.0), "Mine(0.003, global_clipnorm=1.0)"),
    ],
    ids=["sgd", "momentum", "adam", "adamw", "loss scale", "mine"],
)
def test_line_has_the_class_and_the_arguments_that_are_not_defaults(optimizer, call):
    assert compile_line(optimizer, 0.003) == f"model.compile({call}, ...)"


@pytest.mark.parametrize("name", ["Adagrad", "Adamax", "Lion", "Nadam", "Ftrl", "Muon"])
def test_line_of_an_optimizer_with_defaults_is_its_call(name):
    optimizer = getattr(keras.optimizers, name)()
    line = compile_line(optimizer, 1.0)
    assert line == f"model.compile(keras.optimizers.{name}(1), ...)"
