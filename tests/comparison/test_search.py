import keras
import numpy as np
import pytest

from keras_lr.comparison import policies
from keras_lr.comparison.policy import Policy
from keras_lr.comparison.runner import RunSettings, train
from tests.comparison import linear_problem as problem

SETTINGS = RunSettings(epochs=3, batch_size=problem.BATCH)
STEPS = 6  # Two batches in each of three epochs.


def run(policy, build_model=problem.build_model):
    return train(build_model, problem.DATA, policy, SETTINGS, seed=7)


@pytest.mark.slow
def test_run_is_trained_at_the_rate_that_the_search_found():
    calls = []
    policy = Policy("mine", search=lambda *args: calls.append(args) or (0.25, 30))
    record, plain = run(policy), run(policies.constant(0.25))
    assert record.logs == plain.logs
    assert record.learning_rates == [0.25] * 3
    assert (record.policy, record.start) == ("mine", None)
    assert record.code == "model.optimizer.learning_rate = 0.25"
    # The steps of the search count, and those of the run.
    assert (record.steps, record.gradient_evaluations) == (STEPS, STEPS + 30)
    ((build_model, context),) = calls
    assert build_model is problem.build_model
    assert (context.monitor, context.mode, context.seed) == ("loss", "min", 7)


@pytest.mark.slow
def test_run_is_trained_by_the_schedule_that_the_search_found():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.25, 0.125])
    policy = Policy("mine", search=lambda *_: (schedule, 30), code="how")
    by_hand = Policy("by_hand", schedule=lambda *_: schedule)
    record, plain = run(policy), run(by_hand)
    assert record.logs == plain.logs
    # Of the last steps of the epochs.
    assert record.learning_rates == [0.25, 0.125, 0.125]
    assert (record.policy, record.start, record.code) == ("mine", None, "how")
    assert (record.steps, record.gradient_evaluations) == (STEPS, STEPS + 30)


@pytest.fixture
def models():
    """Give a function that builds models, and the list of those that it has built."""
    built = []

    def build_model():
        built.append(problem.build_model(keras.optimizers.SGD(0.001)))
        return built[-1]

    return build_model, built


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zooming", "blie"])
def test_bandit_finds_a_rate_and_counts_every_step(models, name):
    build_model, built = models
    record = run(getattr(policies, name)(max_trials=3), build_model)
    steps = sum(int(model.optimizer.iterations) for model in built)
    assert record.gradient_evaluations == steps
    assert steps > 2 * STEPS
    # At 0.1, the middle of the grid and the first trial, it is 4 (1 - 0.2)^12 = 0.27;
    # at 0.5, the best rate, 0.
    assert record.policy == name
    assert record.final_metric <= 4 * 0.8**12 + 1e-6
    assert f"{record.learning_rates[0]:.3g}" == record.code.rpartition(" ")[2]


@pytest.mark.slow
def test_blie_tries_the_middles_of_thirds(models):
    build_model, built = models
    run(policies.blie(max_trials=3), build_model)
    trained = [m.optimizer for m in built if int(m.optimizer.iterations)]
    rates = {float(f"{float(each.learning_rate.numpy()):.3g}") for each in trained}
    assert rates == {float(f"{10 ** (4 * part / 6 - 3):.3g}") for part in (1, 3, 5)}


@pytest.mark.slow
def test_optimized_schedule_trains_as_its_growth_says():
    def build_model():
        return problem.build_model(keras.optimizers.SGD(0.01))

    record = run(policies.optimize_schedule(outer_steps=6), build_model)
    # Each rate grows five times by 0.3 / sqrt(1 + k / 10), as long as an outer step of
    # Adam is the whole of its rate.
    rate = 0.01 * np.prod([1 + 0.3 / np.sqrt(1 + k / 10) for k in range(5)])
    assert record.final_metric == pytest.approx(4 * (1 - 2 * rate) ** 12, rel=0.02)
    # Six outer steps of four trainings, at most eighteen to judge, and the run.
    assert record.gradient_evaluations == (6 * 4 + 18 + 1) * STEPS
    assert "optimize_schedule(build_model" in record.code


def test_schedule_is_not_found_with_the_weights_that_judge_it(monkeypatch):
    noted = {}

    def optimize_schedule(*args, **kwargs):
        noted.update(kwargs)
        raise InterruptedError

    name = "keras_lr.schedules.lrs_opt.optimize_schedule"
    monkeypatch.setattr(name, optimize_schedule)
    with pytest.raises(InterruptedError):
        run(policies.optimize_schedule(outer_steps=6))
    assert noted.pop("seed") not in range(100)
    expected = {"steps": STEPS, "batch_size": problem.BATCH, "outer_steps": 6}
    assert noted == {**expected, "verbose": 0}
