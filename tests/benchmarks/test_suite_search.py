"""`Zooming` and `BLiE` as policies of the suite."""

import math

import pytest

from keras_lr.comparison import RunRecord

RATES = (0.001, 10.0)


@pytest.fixture(scope="module")
def suite_search(script):
    return script("search")


class Trainings:
    """Trainings of a model that is best at a rate of 0.1 and diverges from 3 on."""

    def __init__(self):
        self.calls = []

    def __call__(self, rate, seed):
        self.calls.append((rate, seed))
        score = max(0.0, 0.9 - 0.2 * abs(math.log10(rate / 0.1)))
        loss = 10.0 if rate > 3 else 1 - score
        return RunRecord(
            "constant",
            seed,
            monitor="val_accuracy",
            logs={"val_accuracy": [score], "loss": [loss]},
            initial_loss=1.0,
            seconds=2.0,
            steps=100,
            gradient_evaluations=100.0,
        )


@pytest.mark.parametrize("name", ["zooming", "blie"])
def test_search_pays_for_all_trainings(suite_search, name):
    train = Trainings()
    record = suite_search.search(name, train, RATES, seed=2)
    assert len(train.calls) == 6
    assert (record.gradient_evaluations, record.seconds) == (600, 12)
    assert record.steps == 100


def test_resulting_rate_is_trained_with_the_seed_of_the_row(suite_search):
    train = Trainings()
    record = suite_search.search("zooming", train, RATES, seed=2)
    *tried, (rate, seed) = train.calls
    assert seed == record.seed == 2
    assert [each for _, each in tried] == [1010, 1011, 1012, 1013, 1014]
    # The first one tried is the middle of the axis, which is the best.
    assert tried[0][0] == pytest.approx(0.1)
    assert rate == tried[0][0]


def test_batch_of_a_search_by_thirds_is_the_middles_of_them(suite_search):
    train = Trainings()
    suite_search.search("blie", train, RATES, seed=0)
    thirds = [suite_search.rate_at(part / 6, RATES) for part in (1, 3, 5)]
    assert sorted(rate for rate, _ in train.calls[:3]) == pytest.approx(thirds)


def test_searches_of_two_seeds_share_no_training(suite_search):
    seeds = []
    for seed in (0, 1):
        train = Trainings()
        suite_search.search("zooming", train, RATES, seed=seed)
        seeds += [each for _, each in train.calls]
    assert len(set(seeds)) == 12


def test_axis_is_logarithmic(suite_search):
    rates = [suite_search.rate_at(place, RATES) for place in (0, 0.25, 1)]
    assert rates == pytest.approx([0.001, 0.01, 10])


def test_rule_is_told_that_a_loss_blew_up(suite_search):
    train = Trainings()
    assert suite_search.as_pull(1.0, train(10.0, 0)).signal == 1
    assert suite_search.as_pull(0.5, train(0.1, 0)).signal == 0


@pytest.mark.slow
def test_row_of_a_search_is_that_of_its_last_training(script):
    run_suite = script("run_suite")
    run = run_suite.Run("logistic_breast_cancer", "sgd", "zooming", "", 1)
    row = run_suite.execute(run)
    rate = str(row["last_learning_rate"])
    plain = run_suite.execute(run._replace(policy="constant", learning_rate=rate))
    assert row["error"] == plain["error"] == ""
    assert row["final_metric"] == plain["final_metric"]
    assert float(row["gradient_evaluations"]) == 6 * plain["steps"]
