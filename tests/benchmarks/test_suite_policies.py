"""The policies of the suite follow from the registry."""

import pytest

from keras_lr.comparison.policies import NAMED


@pytest.fixture(scope="module")
def suite_policies(script):
    return script("policies")


def test_every_method_of_the_registry_is_in_the_suite(suite_policies, script):
    searches = script("search").SEARCHES
    in_suite = {*suite_policies.POLICIES, *searches}
    assert set(NAMED) - in_suite == {
        *("exponential_decay", "staircase", "cosine_restarts"),
    }


def test_variant_is_its_method_with_other_arguments(suite_policies):
    policy = suite_policies.make_policy("lipschitz_epoch", None)
    (callback,) = policy.callbacks()
    assert policy.name == "lipschitz_epoch"
    assert callback.get_config()["update"] == "epoch"


def test_arguments_are_given_behind_the_name(suite_policies):
    policy = suite_policies.make_policy("lipschitz:bound='strict'", 0.1)
    (callback,) = policy.callbacks()
    assert policy.label == "lipschitz:bound='strict' 0.1"
    assert callback.get_config()["bound"] == "strict"


@pytest.mark.parametrize(
    ("name", "optimizers"),
    [
        ("adamo", ("momentum",)),
        ("auto_adam_paper", ("adam",)),
        ("lipschitz_paper", ("sgd", "momentum")),
    ],
)
def test_policy_is_compared_with_what_it_is_meant_for(suite_policies, name, optimizers):
    assert suite_policies.ONLY_WITH[name] == optimizers
    assert "lipschitz" not in suite_policies.ONLY_WITH
