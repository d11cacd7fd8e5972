import re

import keras
import pytest

import keras_lr
from keras_lr.comparison import policies
from keras_lr.comparison.policy import Policy
from keras_lr.comparison.usage import policy_code

EXPONENTIAL = (
    "model.optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay("
    "initial_learning_rate=0.1, decay_steps=20, decay_rate=0.01, staircase=False)"
)


@pytest.mark.parametrize(
    ("policy", "lines"),
    [
        (policies.default_rate(), []),
        (policies.constant(0.03), ["model.optimizer.learning_rate = 0.03"]),
        (policies.lipschitz(), ["model.fit(..., callbacks=[keras_lr.LipschitzLR()])"]),
        (
            policies.walk(0.1, factor=1.01),
            [
                "model.optimizer.learning_rate = 0.1",
                "model.fit(..., callbacks=[keras_lr.LearningRateWalk(factor=1.01)])",
            ],
        ),
        (
            policies.adamo(0.5, variant="paper"),
            [
                "model.compile(keras_lr.AdaMo(variant='paper'), ...)",
                "model.optimizer.learning_rate = 0.5",
            ],
        ),
        (Policy("mine", 0.1, callbacks=list), []),
    ],
)
def test_code_sets_the_rate_and_names_callback_or_optimizer(policy, lines):
    assert policy_code(policy, policy.learning_rate, None).splitlines() == lines


def test_code_of_a_schedule_has_its_numbers():
    policy = policies.exponential_decay(0.1)
    schedule = policy.schedule(0.1, 20)
    assert policy_code(policy, 0.1, schedule) == EXPONENTIAL
    _, _, expression = EXPONENTIAL.partition(" = ")
    assert eval(expression, {"keras": keras}).get_config() == schedule.get_config()


@pytest.mark.parametrize(
    "policy",
    [
        policies.reduce_on_plateau(),
        policies.lipschitz(memory=0.5),
        policies.marthe(discount="adaptive", hyper_learning_rate=1e-6),
        policies.hypergradient_descent(),
        policies.rtho(),
        policies.walk(probe="loss"),
    ],
    ids=lambda policy: policy.name,
)
def test_code_makes_the_callback_that_the_policy_makes(policy):
    (expression,) = re.findall(r"callbacks=\[(.*)\]\)$", policy.code)
    made = eval(expression, {"keras": keras, "keras_lr": keras_lr})
    expected = policy.callbacks()[0]
    assert type(made) is type(expected)
    if hasattr(made, "get_config"):
        assert made.get_config() == expected.get_config()
