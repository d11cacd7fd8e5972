import keras
import numpy as np
import pytest

from keras_lr.comparison import policies
from keras_lr.comparison.policies import Policy, RunContext

CONTEXT = RunContext((), (), epochs=3, batch_size=4, total_steps=21, seed=5)


@pytest.mark.parametrize("name", policies.NAMED)
def test_registry_gives_a_policy_of_its_name_and_kind(name):
    entry = policies.NAMED[name]
    (policy,) = policies.named_policies(name, [0.5])
    assert policy.name == name
    assert policies.kind_of(name) == entry.kind
    assert (policy.optimizer is not None) == (entry.kind == "optimizer")
    assert (policy.search is not None) == (entry.kind == "search")
    assert policy.learning_rate == (0.5 if entry.kind == "constant" else None)
    if entry.from_each_rate:
        assert entry.make(0.25).learning_rate == 0.25


def test_grid_has_a_policy_for_each_rate():
    labels = [each.label for each in policies.named_policies("constant", [0.5, 2.0])]
    assert labels == ["constant 0.5", "constant 2"]


def test_policy_of_a_user_has_a_kind_only_by_a_name_of_ours():
    assert policies.kind_of("mine") == "other"
    assert policies.kind_of("constant") == "constant"


def rates(policy, steps, start=1.0):
    schedule = policy.schedule(start, steps)
    return [float(schedule(step)) for step in range(steps + 1)]


@pytest.mark.parametrize(
    ("optimizer", "first", "last"),
    [
        (keras.optimizers.SGD(), 1e-3, 10.0),
        (keras.optimizers.SGD(momentum=0.9), 1e-4, 1.0),
        (keras.optimizers.Adam(), 1e-5, 0.1),
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), 1e-3, 10.0),
    ],
)
def test_nine_rates_go_up_in_half_decades(optimizer, first, last):
    values = policies.default_rates(optimizer)
    assert len(values) == 9
    assert (values[0], values[-1]) == (first, last)
    np.testing.assert_allclose(np.diff(np.log10(values)), 0.5, atol=1e-3)


def test_cosine_decay_is_half_a_cosine_to_zero():
    expected = [1, 0.75, 0.25, 0]
    np.testing.assert_allclose(rates(policies.cosine_decay(), 3), expected, atol=1e-7)


def test_exponential_decay_ends_at_the_final_fraction():
    policy = policies.exponential_decay(final_fraction=0.01)
    np.testing.assert_allclose(rates(policy, 2), [1, 0.1, 0.01], rtol=1e-6)


def test_staircase_has_three_steps_for_two_drops():
    expected = [1, 1, 0.1, 0.1, 0.01, 0.01]
    np.testing.assert_allclose(rates(policies.staircase(), 6)[:6], expected, rtol=1e-6)


def test_cosine_restarts_begin_anew_at_one_and_three_sevenths():
    values = rates(policies.cosine_restarts(), 21)
    starts = [step for step in range(21) if values[step] == 1]
    assert starts == [0, 3, 9]


def test_reduce_on_plateau_takes_the_arguments_of_keras():
    (callback,) = policies.reduce_on_plateau(patience=7).make_callbacks(CONTEXT)
    assert isinstance(callback, keras.callbacks.ReduceLROnPlateau)
    assert callback.patience == 7


@pytest.mark.parametrize(
    ("make", "kind", "cost"),
    [
        (policies.marthe, "MARTHE", 1.75),
        (policies.hypergradient_descent, "HypergradientDescent", 1.0),
        (policies.rtho, "RTHO", 1.75),
    ],
)
def test_hypergradients_take_the_arguments_of_the_callback(make, kind, cost):
    policy = make(0.25, hyper_learning_rate=0.125)
    (callback,) = policy.make_callbacks(CONTEXT)
    assert type(callback).__name__ == kind
    assert callback.hyper_learning_rate == 0.125
    # Three quarters of a gradient for the Hessian of a quarter of the batch.
    assert policy.gradient_evaluations_per_step == cost


def test_lipschitz_takes_the_arguments_of_the_callback():
    (callback,) = policies.lipschitz(bound="strict").make_callbacks(CONTEXT)
    assert type(callback).__name__ == "LipschitzLR"
    assert callback.get_config()["bound"] == "strict"


def test_each_run_gets_fresh_callbacks():
    policy = policies.reduce_on_plateau()
    first, second = (policy.make_callbacks(CONTEXT)[0] for _ in range(2))
    assert first is not second


def test_callbacks_may_ask_for_the_context_of_the_run():
    asked = []
    policy = Policy("asks", callbacks=lambda context: asked.append(context) or [])
    assert policy.make_callbacks(CONTEXT) == []
    assert asked == [CONTEXT]


def test_label_holds_the_rate_if_there_is_one():
    assert Policy("a").label == "a"
    assert Policy("a", 0.0316).label == "a 0.0316"


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_rate_must_be_positive_and_finite(rate):
    with pytest.raises(ValueError, match="`learning_rate` must be finite and positive"):
        Policy("a", rate)


def test_policy_needs_a_name():
    with pytest.raises(ValueError, match="needs a name"):
        Policy("")


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        (policies.adamo(momentum=0.5), "AdaMo"),
        (policies.adaptive_rmsprop(rho=0.5), "AdaptiveRMSprop"),
        (policies.auto_adam(beta_1=0.5), "AutoAdam"),
    ],
)
def test_optimizer_of_a_policy_is_fresh_and_has_its_arguments(policy, kind):
    optimizer = policy.optimizer()
    assert type(optimizer).__name__ == kind
    assert 0.5 in optimizer.get_config().values()
    assert policy.optimizer() is not optimizer
