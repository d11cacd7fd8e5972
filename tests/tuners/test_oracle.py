import json
import math
import warnings

import keras_tuner
import numpy as np
import pytest

import keras_lr
from keras_lr.rules.bandit import Pull
from keras_lr.rules.zooming import Zooming
from keras_lr.tuners import trial_keys
from tests.tuners.fake_search import accuracy, oracle, play, report, space


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    """Oracles without a tuner write beside the process."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def made(tmp_path):
    return searched(tmp_path)


def searched(directory, cls=keras_lr.ZoomingOracle, **kwargs):
    """Return an oracle in a directory, as a tuner makes it."""
    made = oracle(cls, **kwargs)
    keras_tuner.engine.base_tuner.BaseTuner(made, directory=directory)
    return made


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (keras_lr.ZoomingOracle, {}),
        (keras_lr.ZoomingOracle, {"strategy": "paper", "radius_scale": 0.1}),
        (keras_lr.ZoomingOracle, {"noise": 0.1, "lipschitz": 2.0, "first": 0.3}),
        (keras_lr.BLiEOracle, {}),
        (keras_lr.BLiEOracle, {"strategy": "paper"}),
    ],
)
def test_search_is_the_rule_played_on_its_own_history(tmp_path, cls, options):
    made = searched(tmp_path, cls, max_trials=9, **options)
    rates = play(made)
    axis = made.space.axis
    rule, pulls = made.rule(), []
    for rate in rates:
        assert rate == pytest.approx(axis.learning_rate(rule.propose(pulls)), rel=1e-6)
        pulls.append(Pull(axis.position(rate), accuracy(rate)))
    assert len(rates) == 9 or rule.propose(pulls) is None


def test_first_rate_is_the_middle_or_the_user_s(tmp_path):
    assert play(searched(tmp_path / "a"), trials=1) == [pytest.approx(10**-2.5)]
    assert play(searched(tmp_path / "b", first=0.1), trials=1) == [
        pytest.approx(0.1, rel=1e-12)
    ]


def test_rule_gets_the_arguments():
    made = oracle(
        lipschitz=2.0, noise=0.1, strategy="paper", radius_scale=0.1, first=1.0
    )
    assert made.rule() == Zooming(
        horizon=5,
        lipschitz=2.0,
        noise=0.1,
        strategy="paper",
        radius_scale=0.1,
        first=1.0,
    )
    minimizing = oracle(objective="val_loss")
    assert minimizing.rule().direction == "min"


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "other"},
        {"lipschitz": 0.0},
        {"noise": -1.0},
        {"max_trials": 0},
        {"max_trials": None},
        {"max_trials": 2.5},
    ],
)
def test_wrong_arguments_are_refused_when_the_oracle_is_made(options):
    with pytest.raises(ValueError, match=f"Received: {next(iter(options))}="):
        oracle(**options)


def test_numbers_of_numpy_are_numbers(tmp_path):
    made = searched(tmp_path, max_trials=np.int64(2), seed=np.int64(3))
    # They are written to files of JSON.
    assert len(play(made)) == 2
    assert (made.max_trials, made.seed) == (2, 3)


def test_search_that_ends_early_says_so(tmp_path, capsys):
    made = searched(tmp_path, keras_lr.BLiEOracle, max_trials=60, noise=0.1)
    assert len(play(made)) == 3
    assert capsys.readouterr().out == ""
    made.verbose = 1
    made.create_trial("tuner0")
    assert "The search ends after 3 of 60 trials: " in capsys.readouterr().out


def test_second_trial_at_a_rate_has_the_same_float_another_pull_and_seed(tmp_path):
    made = searched(tmp_path, strategy="paper")  # One ball covers the axis.
    assert len(set(play(made))) == 1
    values = [made.trials[i].hyperparameters.values for i in sorted(made.trials)]
    assert [value[trial_keys.PULL] for value in values] == [0, 1, 2, 3, 4]
    assert len({v[trial_keys.SEED] for v in values}) == len(values)
    for value in values:
        assert type(value["learning_rate"]) is float
        assert {type(value[trial_keys.PULL]), type(value[trial_keys.SEED])} == {int}


def test_values_survive_json_and_grpc(made):
    trial = made.create_trial("tuner0")
    trial_class = type(trial)
    assert trial_class.from_proto(trial.to_proto()).hyperparameters.values == (
        trial.hyperparameters.values
    )
    state = json.loads(json.dumps(trial.get_state()))
    assert trial_class.from_state(state).hyperparameters.values == (
        trial.hyperparameters.values
    )


def test_seed_zero_is_a_seed_and_seeds_follow_from_it(tmp_path):
    seeds = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        made = searched(tmp_path / name, seed=seed)
        play(made)
        seeds.append(
            [
                made.trials[i].hyperparameters.values[trial_keys.SEED]
                for i in made.trials
            ]
        )
    assert seeds[0] == seeds[1]
    assert not set(seeds[0]) & set(seeds[2])


def test_parallel_workers_get_different_rates(made):
    trials = [made.create_trial(f"worker{i}") for i in range(4)]
    rates = [trial.hyperparameters.values["learning_rate"] for trial in trials]
    assert len(set(rates)) == 4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("direction", "worst"), [("max", -math.inf), ("min", math.inf)]
)
def test_score_that_is_not_finite_completes_its_trial_as_the_worst(
    tmp_path, value, direction, worst
):
    made = searched(
        tmp_path,
        objective=keras_tuner.Objective("score", direction),
        max_trials=6,
        first=0.5,
    )
    play(made, lambda rate: value if rate > 0.1 else accuracy(rate))
    broken = [t for t in made.trials.values() if t.score == worst]
    assert broken
    assert {trial.status for trial in made.trials.values()} == {"COMPLETED"}
    assert made.get_best_trials(6)[-len(broken) :] == sorted(
        broken, key=lambda trial: made.get_best_trials(6).index(trial)
    )
    assert math.isfinite(made.get_best_trials()[0].score)


def test_search_in_which_everything_diverges_ends_by_itself(made):
    assert len(play(made, lambda rate: math.nan)) == 5
    assert made.stop_reason is None


def test_loss_that_is_not_finite_makes_the_best_metric_the_worst_score(made):
    trial = made.create_trial("tuner0")
    report(
        made,
        trial,
        {"score": 0.99, trial_keys.FINAL_LOSS: math.nan, trial_keys.SIGNAL: 1.0},
    )
    assert made.trials[trial.trial_id].score == -math.inf
    assert made.arms()[0].signal == 1


def test_signal_of_executions_that_disagree_is_none(made):
    report(made, made.create_trial("tuner0"), {"score": 0.5, trial_keys.SIGNAL: 0.5})
    assert made.arms()[0].signal == 0


def test_signals_cut_the_axis(made):
    def results(rate):
        signal = 1.0 if rate > 0.05 else -1.0 if rate < 1e-4 else 0.0
        return {"score": 0.1 if signal else accuracy(rate), trial_keys.SIGNAL: signal}

    assert made.live_interval() == pytest.approx((1e-5, 1.0))
    play(made, results)
    low, high = made.live_interval()
    tried = [arm.learning_rate for arm in made.arms()]
    assert high == pytest.approx(min(rate for rate in tried if rate > 0.05))
    assert low == pytest.approx(max([rate for rate in tried if rate < 1e-4] + [1e-5]))


def test_trial_that_fails_counts_as_the_worst_reward(tmp_path):
    made = searched(tmp_path, first=0.5)
    play(made, lambda rate: ValueError("no") if rate > 0.1 else accuracy(rate))
    failed = [t for t in made.trials.values() if t.status == "FAILED"]
    assert failed
    assert len(failed) < 5
    reward = {arm.trial_ids[0]: arm.reward for arm in made.arms()}
    assert {reward[trial.trial_id] for trial in failed} == {0.0}
    assert made.get_best_trials(5)[-len(failed) :] == failed


def test_failure_that_other_trials_of_the_rate_do_not_share_is_no_score(tmp_path):
    made = searched(tmp_path, max_trials=4)
    out_of_memory = MemoryError("no")
    for rate, result in ((0.1, 0.75), (0.01, 0.9), (0.01, out_of_memory)):
        trial = made.create_trial("tuner0")
        trial.hyperparameters.values["learning_rate"] = rate
        report(made, trial, result)
    best = made.best_arm()
    assert best.learning_rate == pytest.approx(0.01)
    assert (best.mean_score, best.reward) == (0.9, 0.9)
    assert len(best.scores) == 2
    assert [trial.trial_id for trial in made.get_best_trials(3)] == ["1", "0", "2"]


def test_failures_in_a_row_stop_the_search_without_an_exception(made):
    with pytest.warns(UserWarning, match=r"3 trials in a row failed.\n.*no disk"):
        rates = play(made, lambda rate: ValueError("no disk"))
    assert len(rates) == 3
    assert made.create_trial.__self__.ongoing_trials == {}


def test_failures_that_are_not_in_a_row_do_not_stop_it(tmp_path):
    made = searched(tmp_path, max_trials=7, max_consecutive_failed_trials=2)
    outcomes = iter([0.5, ValueError(), 0.5, ValueError(), 0.5, ValueError(), 0.5])
    assert len(play(made, lambda rate: next(outcomes))) == 7


def test_lock_is_released_when_an_oracle_raises_all_the_same(made):
    trial = made.create_trial("tuner0")
    with pytest.raises(ValueError, match="Objective value missing"):
        made.update_trial(trial.trial_id, {"other": 1.0})
    report(made, trial, 0.5)  # It would wait forever.
    assert made.trials[trial.trial_id].score == 0.5


def test_trial_that_another_thread_has_completed_but_not_reported_is_pending(made):
    """KerasTuner's tuners set the status before they end a trial."""
    first = made.create_trial("tuner0")
    first.status = "COMPLETED"
    second = made.create_trial("tuner1")
    assert [training.score for training in made.trainings()] == [None, None]
    for trial in (first, second):
        report(made, trial, 0.5)
    assert [training.score for training in made.trainings()] == [0.5, 0.5]


def test_lock_is_released_when_a_trial_cannot_be_made(made, monkeypatch):
    def fail(trial_id):
        raise TypeError("no")

    with monkeypatch.context() as patch:
        patch.setattr(made, "populate_space", fail)
        with pytest.raises(TypeError, match="no"):
            made.create_trial("tuner0")
    assert made.create_trial("tuner0").status == "RUNNING"  # It would wait forever.


def test_trial_without_a_number_comes_last(made):
    report(made, made.create_trial("tuner0"), 0.5)
    other = type(made.trials["0"])(space(), "by_hand", "COMPLETED")
    other.hyperparameters.values["learning_rate"] = 0.5
    other.score = 0.25
    made.trials["by_hand"] = other
    assert [each.trial_id for each in made.trainings()] == ["0", "by_hand"]
    assert [each.trial_id for each in made.get_best_trials(2)] == ["0", "by_hand"]
    report(made, made.create_trial("tuner0"), 0.75)
    assert len(made.arms()) == 3


def test_lock_is_released_when_the_end_of_a_trial_raises(made, monkeypatch):
    trial = made.create_trial("tuner0")

    def fail(trial):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(made, "score_trial", fail)
        with pytest.raises(OSError, match="no space left"):
            report(made, trial, 0.5)
    report(made, trial, 0.5)  # It would wait forever.
    assert made.trials[trial.trial_id].score == 0.5


def test_best_trials_are_those_of_the_best_arm_by_its_mean(tmp_path):
    """Two trials at one rate, 0.95 and 0.55, lose to one of 0.8."""
    made = searched(tmp_path, max_trials=3)
    for trial_id, rate, score in (("0", 0.1, 0.95), ("1", 0.1, 0.55), ("2", 0.3, 0.8)):
        trial = made.create_trial("tuner0")
        trial.hyperparameters.values["learning_rate"] = rate
        report(made, trial, score)
        assert trial.trial_id == trial_id
    assert [trial.trial_id for trial in made.get_best_trials(3)] == ["2", "0", "1"]
    assert made.best_arm().learning_rate == pytest.approx(0.3)
    assert made.best_arm().scores == (0.8,)
    assert [arm.mean_score for arm in made.arms()] == [0.75, 0.8]


def test_reports_of_a_trial_after_the_first_change_nothing(made):
    trial = made.create_trial("tuner0")
    report(made, trial, 0.5)
    report(made, trial, 0.9)
    assert made.trials[trial.trial_id].score == 0.5
    assert made.end_order == [trial.trial_id]
    assert len(made.pulls()) == 1


def test_metrics_of_a_run_that_was_cut_off_are_cleared(made):
    trial = made.create_trial("worker0")
    made.update_trial(trial.trial_id, {"score": 0.99})
    again = made.create_trial("worker0")  # Killed, and started again.
    assert again.trial_id == trial.trial_id
    report(made, again, 0.3)
    assert made.trials[trial.trial_id].score == 0.3


def test_space_that_cannot_be_searched_is_refused_at_once():
    hyperparameters = space()
    hyperparameters.Int("units", 1, 9)
    with pytest.raises(ValueError, match=r"learning rate alone.*units=1"):
        oracle().update_space(hyperparameters)


def test_refused_hyperparameter_is_not_added():
    users = space()
    made = oracle(hyperparameters=users)
    refused = space()
    refused.Int("units", 1, 9)
    with pytest.raises(ValueError, match="learning rate alone"):
        made.update_space(refused)
    assert [each.name for each in users.space] == ["learning_rate"]
    # Another worker, whose space is right.
    right = space()
    right.Fixed("units", 4)
    made.update_space(right)
    assert [each.name for each in made.get_space().space] == ["learning_rate", "units"]


def test_values_that_are_not_searched_are_not_shown(tmp_path, capsys):
    made = searched(tmp_path, strategy="paper", max_trials=2)
    made.verbose = 1
    play(made)
    printed = capsys.readouterr().out
    assert "learning_rate" in printed
    assert "zooming" not in printed
    # One ball covers the axis: both trials are at one rate.
    assert printed.count("This is seed 2 of this rate.") == 1


def test_first_rate_outside_of_the_space_is_refused_at_once():
    with pytest.raises(ValueError, match=r"`first` must be a learning rate"):
        oracle(first=5.0).update_space(space())


def test_hyperparameter_that_turns_up_in_a_trial_keeps_its_default(made):
    sizes = []

    def search():
        for _ in range(3):
            trial = made.create_trial("tuner0")
            sizes.append(trial.hyperparameters.Choice("batch_size", [16, 32]))
            report(made, trial, accuracy(trial.hyperparameters.get("learning_rate")))

    with pytest.warns(UserWarning, match="batch_size=16"):
        search()
    assert sizes == [16, 16, 16]
    assert len(made.trainings()) == 3


def test_search_without_a_learning_rate_stops_with_a_warning(tmp_path):
    made = searched(tmp_path, hyperparameters=None)
    report(made, made.create_trial("tuner0"), 0.5)
    with pytest.warns(
        UserWarning, match="needs a hyperparameter named 'learning_rate'"
    ):
        assert made.create_trial("tuner0").status == "STOPPED"


def test_learning_rate_that_is_declared_in_the_first_trial_is_searched(tmp_path):
    made = searched(tmp_path, hyperparameters=None)
    for _ in range(5):
        trial = made.create_trial("tuner0")
        rate = trial.hyperparameters.Float("learning_rate", 1e-5, 1.0, sampling="log")
        report(made, trial, accuracy(rate))
    rates = [arm.learning_rate for arm in made.arms()]
    assert rates[0] == 1e-5  # The default.
    assert len(rates) == 5


def test_any_tuner_of_kerastuner_takes_the_oracle(tmp_path):
    class Tuner(keras_tuner.Tuner):
        def run_trial(self, trial, verbose):
            return -accuracy(trial.hyperparameters.get("learning_rate"))

    made = oracle(objective=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        Tuner(made, directory=tmp_path).search(verbose=0)
    assert made.best_arm().mean_score < -0.85
