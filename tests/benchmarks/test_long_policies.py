"""The baselines of the long suite as arrays, and its methods."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def long_policies(long_script):
    return long_script("long_policies")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("cosine_decay", [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]),
        ("linear_decay", [1, 0.75, 0.5, 0.25]),
    ],
)
def test_rates_of_four_steps_are_those_by_hand(long_policies, name, expected):
    np.testing.assert_allclose(long_policies.SHAPES[name](4), expected, rtol=1e-12)


def test_warm_up_is_a_twentieth_of_the_training(long_policies):
    rates = long_policies.SHAPES["warmup_cosine"](84)
    # 84 / 20 is rounded up to 5; a quarter of the 79 others is no whole number.
    np.testing.assert_allclose(rates[:6], [0.2, 0.4, 0.6, 0.8, 1, 1], rtol=1e-12)
    last = (1 + np.cos(np.pi * 78 / 79)) / 2
    np.testing.assert_allclose((len(rates), rates[-1]), (84, last), rtol=1e-12)


@pytest.mark.parametrize("spec", ["auto_adam", "auto_adam:variant='paper'"])
def test_method_with_its_optimizer_gets_the_weight_decay(
    long_policies, long_script, spec
):
    problem = long_script("long_problems").problems()["residual_decay"]
    policy = long_policies.method(spec, problem, None)
    assert policy.optimizer().weight_decay == problem.weight_decay == 0.05


def test_callback_has_no_weight_decay(long_policies, long_script):
    problem = long_script("long_problems").problems()["residual_decay"]
    policy = long_policies.method("marthe:anneal=0.2", problem, 0.01)
    (callback,) = policy.callbacks()
    assert (callback.get_config()["anneal"], policy.learning_rate) == (0.2, 0.01)
