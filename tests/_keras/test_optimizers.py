"""`keras_lr._keras`: another optimizer for a model that was compiled with one."""

import keras

from keras_lr._keras import further_optimizers, replace_optimizer, to_float
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


def test_optimizers_beside_the_compiled_one_have_the_names_of_attributes():
    model = small_problem.compiled()
    model.mine, model.several = SGD(0.1), [SGD(0.2), SGD(0.3)]
    model.by_name = {"critic": SGD(0.4)}
    rates = {n: to_float(x.learning_rate) for n, x in further_optimizers(model).items()}
    assert [*rates] == ["mine", "several_0", "several_1", "by_name_critic"]
    assert [round(each, 6) for each in rates.values()] == [0.1, 0.2, 0.3, 0.4]


def test_compiled_optimizer_is_not_beside_itself():
    keras.config.set_dtype_policy("mixed_float16")
    model, own = small_problem.sequential(), SGD(0.1)
    model.mine = own
    # It is wrapped for the scaling of losses.
    for _ in range(2):
        model.compile(own, "mse")
        assert model.optimizer is not own
        assert further_optimizers(model) == {}
