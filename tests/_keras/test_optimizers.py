"""`keras_lr._keras`: another optimizer for a model that was compiled with one."""

import keras

from keras_lr._keras import replace_optimizer
from tests import small_problem

SGD = keras.optimizers.SGD


def test_replaced_optimizer_trains_as_if_compiled():
    model, other = small_problem.compiled(), small_problem.compiled(optimizer=SGD(0.1))
    replace_optimizer(model, lambda: SGD(0.1))
    history, expected = small_problem.fit(model), small_problem.fit(other)
    assert history.history == expected.history


def test_replaced_optimizer_is_wrapped_as_the_first_was():
    keras.config.set_dtype_policy("mixed_float16")
    model = small_problem.compiled()
    replace_optimizer(model, lambda: SGD(0.1))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(model.optimizer.inner_optimizer, SGD)
