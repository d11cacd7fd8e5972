"""`Zooming` and `BLiE` with models that are trained."""

import math

import keras
import keras_tuner
import numpy as np
import pytest

import keras_lr
from keras_lr.tuners import trial_keys
from keras_lr.tuners.loss_watch import LossWatch
from tests.small_problem import CLASSES, FEATURES, sequential

EPOCHS = 4


def data():
    """A problem that a few steps make progress on."""
    x = np.random.default_rng(0).normal(size=(48, FEATURES)).astype("float32")
    return x, x[:, :CLASSES].argmax(axis=1)


def compiled(rate):
    """Compile a model whose steps are not traced, which would take longer."""
    model = sequential()
    model.compile(
        keras.optimizers.SGD(rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        run_eagerly=True,
    )
    return model


def build(hp):
    return compiled(hp.Float("learning_rate", 1e-4, 1e4, sampling="log"))


def search(directory, hypermodel=build, cls=keras_lr.Zooming, fit=None, **kwargs):
    settings = {"objective": "val_loss", "max_trials": 3, "seed": 0}
    tuner = cls(hypermodel, directory=directory, **(settings | kwargs))
    x, y = data()
    arguments = {"batch_size": 12, "epochs": EPOCHS, "verbose": 0}
    arguments["validation_data"] = x, y
    tuner.search(x, y, **(arguments | (fit or {})))
    return tuner


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return search(tmp_path_factory.mktemp("search"), max_trials=4)


def scores(tuner):
    return [(each.learning_rate, each.score) for each in tuner.oracle.trainings()]


@pytest.mark.slow
@pytest.mark.parametrize("cls", [keras_lr.Zooming, keras_lr.BLiE])
def test_search_finds_a_rate_that_learns(tmp_path, cls):
    tuner = search(tmp_path, cls=cls, max_trials=5, objective="loss")
    best = tuner.best_arm()
    assert best.signal == 0
    assert best.mean_score == min(
        arm.mean_score for arm in tuner.arms() if math.isfinite(arm.mean_score)
    )
    (hyperparameters,) = tuner.get_best_hyperparameters()
    assert hyperparameters.get("learning_rate") == best.learning_rate


@pytest.mark.slow
def test_same_seed_gives_the_same_scores_and_another_one_others(tmp_path, searched):
    again = search(tmp_path / "again", max_trials=4)
    assert scores(again) == scores(searched)
    other = search(tmp_path / "other", max_trials=1, seed=1)
    assert scores(other)[0][0] == scores(searched)[0][0]
    assert scores(other)[0][1] != scores(searched)[0][1]


def test_score_is_that_of_a_training_with_the_seed_of_the_trial(searched):
    """What the search did can be done again by hand."""
    trial = searched.oracle.get_trial("0")
    keras.utils.set_random_seed(trial.hyperparameters.values[trial_keys.SEED])
    x, y = data()
    history = build(trial.hyperparameters).fit(
        x, y, batch_size=12, epochs=EPOCHS, validation_data=(x, y), verbose=0
    )
    assert min(history.history["val_loss"]) == trial.score


@pytest.mark.slow
def test_rates_that_blow_up_or_stand_still_are_flagged_and_stopped(tmp_path):
    """At 1e-5 nothing moves in 16 steps; 0.3 learns; 56 is far too high.

    Batches are whole: the first loss of a small one may be well above the others'.
    """

    def wide(hp):
        return compiled(hp.Float("learning_rate", 1e-5, 1e4, sampling="log"))

    tuner = search(tmp_path, wide, fit={"batch_size": 48, "epochs": 16}, first=1e-5)
    outcomes = {}
    for trial in tuner.oracle.trials.values():
        rate = trial.hyperparameters.get("learning_rate")
        keys = trial_keys.SIGNAL, trial_keys.EPOCHS
        outcomes[f"{rate:.1g}"] = tuple(map(trial.metrics.get_last_value, keys))
    # Whether there is hope is asked after a quarter of the epochs.
    assert outcomes == {"1e-05": (-1, 4), "0.3": (0, 16), "6e+01": (1, 4)}
    assert tuner.arms()[0].signal == -1
    assert tuner.oracle.live_interval()[0] == pytest.approx(1e-5)


@pytest.mark.slow
def test_second_execution_has_another_seed(tmp_path):
    seeds = []

    class Seeds(keras_lr.Zooming):
        def training_seed(self, trial, execution):
            seeds.append(super().training_seed(trial, execution))
            return seeds[-1]

    search(tmp_path, cls=Seeds, max_trials=2, executions_per_trial=2)
    assert len(set(seeds)) == 4


def test_measurements_do_not_change_the_history_of_a_fit(searched):
    watch, history = LossWatch(), keras.callbacks.History()
    watch.initial, watch.final = 2.0, 1.0
    history.history = {"val_loss": [2.0, 1.0]}
    completed = searched.complete_result(history, [watch])
    assert history.history == {"val_loss": [2.0, 1.0]}
    assert completed.history["val_loss"] == [2.0, 1.0]
    assert completed.history[trial_keys.SIGNAL] == [0.0, 0.0]


def test_notebook_shows_the_result_and_a_row_for_each_arm(searched):
    html = searched._repr_html_()
    assert all(sentence.split("(")[0] in html for sentence in searched.summary())
    assert html.count("<tr>") == 1 + len(searched.arms())


def test_search_epochs_take_the_place_of_those_of_the_fit(tmp_path):
    tuner = search(tmp_path, max_trials=1, search_epochs=2, stop_hopeless=False)
    assert tuner.oracle.get_trial("0").metrics.get_last_value(trial_keys.EPOCHS) == 2


def test_objective_to_maximize_is_taken_from_the_best_epoch(tmp_path):
    tuner = search(tmp_path, objective="val_accuracy", max_trials=1)
    trial = tuner.oracle.get_trial("0")
    assert trial.score == trial.metrics.get_best_value("val_accuracy")
    assert 0 <= trial.best_step < EPOCHS


def checkpoints(tuner):
    return {
        trial_id for trial_id in tuner.oracle.trials if tuner.has_checkpoint(trial_id)
    }


def loss_of(model):
    x, y = data()
    return model.evaluate(x, y, verbose=0)[0]


def test_all_checkpoints_give_the_models_back_best_first(searched):
    assert checkpoints(searched) == set(searched.oracle.trials)
    models = searched.get_best_models(2)
    expected = [trial.score for trial in searched.oracle.get_best_trials(2)]
    # The sums over batches are in another order.
    assert [loss_of(model) for model in models] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_best_checkpoint_is_the_only_one_that_is_kept(tmp_path):
    tuner = search(tmp_path, checkpoint="best", max_trials=4)
    best = tuner.oracle.get_best_trials()[0]
    assert checkpoints(tuner) == {best.trial_id}
    (model,) = tuner.get_best_models(2)
    assert loss_of(model) == pytest.approx(best.score, rel=1e-5)


def test_without_checkpoints_there_is_no_model_to_give_back(tmp_path):
    tuner = search(tmp_path, checkpoint="none", max_trials=1)
    assert checkpoints(tuner) == set()
    with pytest.raises(ValueError, match=r"No weights of a trial were kept.*'none'"):
        tuner.get_best_models()


def test_weights_are_those_of_the_best_epoch_and_the_training_is_not_disturbed(
    tmp_path,
):
    """The weights are spoilt before the last epoch."""
    final = {}

    def spoil(model):
        model.set_weights([10 * weight for weight in model.get_weights()])

    class Model(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, **kwargs):
            kwargs["callbacks"].append(
                keras.callbacks.LambdaCallback(
                    on_epoch_begin=lambda epoch, logs: epoch == 3 and spoil(model)
                )
            )
            history = model.fit(*args, **kwargs)
            final["loss"] = loss_of(model)
            final["history"] = history.history["val_loss"]
            return history

    tuner = search(tmp_path, Model(), max_trials=1)
    best = min(final["history"])
    assert final["history"][-1] > best
    assert final["loss"] == pytest.approx(final["history"][-1], rel=1e-5)
    assert loss_of(tuner.get_best_models()[0]) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize(
    "result",
    [
        "number",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("dictionary", "list")
        ),
    ],
)
def test_hypermodel_may_return_what_kerastuner_takes(tmp_path, result):
    class Model(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, **kwargs):
            loss = model.fit(*args, **kwargs).history["val_loss"][-1]
            losses = {"val_loss": loss}
            results = {"dictionary": losses, "number": loss, "list": [losses] * 2}
            return results[result]

    tuner = search(tmp_path, Model(), max_trials=1)
    (arm,) = tuner.arms()
    assert arm.scores[0] > 0
    assert tuner.oracle.get_trial("0").metrics.exists(trial_keys.SIGNAL)
    assert tuner.has_checkpoint("0")


@pytest.mark.slow
def test_learning_rate_under_a_condition_is_searched(tmp_path):
    def conditional(hp):
        name = hp.Fixed("optimizer", "sgd")
        rate = None
        for each, high in (("sgd", 10.0), ("adam", 0.1)):
            with hp.conditional_scope("optimizer", [each]):
                rate = hp.Float("learning_rate", 1e-5, high, sampling="log") or rate
        assert name == "sgd" or hp.values["optimizer"] == "adam"
        return compiled(rate)

    tuner = search(tmp_path, conditional, max_trials=2)
    assert tuner.oracle.trainings()[0].learning_rate == pytest.approx(0.01)
    assert tuner.oracle.get_trial("1").hyperparameters.get("optimizer") == "sgd"


def wide(hp):
    compiled_model = build(hp)
    hp.Int("units", 4, 64)
    return compiled_model


def test_other_hyperparameters_are_refused_when_the_tuner_is_made(tmp_path):
    with pytest.raises(ValueError, match=r"units=4.*hp\.Fixed\('units', 4\)"):
        search(tmp_path, wide)


@pytest.mark.slow
def test_other_hyperparameters_may_be_fixed_as_the_error_says(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Fixed("units", 8)
    tuner = search(tmp_path / "fixed", wide, max_trials=2, hyperparameters=hp)
    assert tuner.oracle.get_trial("1").hyperparameters.get("units") == 8
    hp = keras_tuner.HyperParameters()
    hp.Float("learning_rate", 1e-4, 1.0, sampling="log")
    tuner = search(
        tmp_path / "default",
        wide,
        max_trials=2,
        hyperparameters=hp,
        tune_new_entries=False,
    )
    assert len(tuner.arms()) == 2


MODEL, LAYER, OPTIMIZER = compiled(0.1), keras.layers.Dense(3), keras.optimizers.SGD()


def around_the_layer():
    model = keras.Sequential([keras.Input((FEATURES,)), LAYER])
    model.compile("sgd", loss="mse", metrics=["accuracy"])
    return model


def with_the_optimizer():
    model = sequential()
    model.compile(OPTIMIZER, loss="sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize(
    ("make", "shared"),
    [
        pytest.param(
            lambda: MODEL, "the same model twice", marks=pytest.mark.slow, id="model"
        ),
        pytest.param(around_the_layer, "the same trainable weights", id="weights"),
        pytest.param(
            with_the_optimizer,
            "the same optimizer",
            marks=pytest.mark.slow,
            id="optimizer",
        ),
    ],
)
def test_model_that_was_trained_already_ends_the_search(tmp_path, make, shared):
    def hypermodel(hp):
        hp.Float("learning_rate", 1e-4, 1e4, sampling="log")
        return make()

    with pytest.raises(keras_tuner.errors.FatalValueError, match=shared):
        search(tmp_path, hypermodel)


def test_models_that_are_compiled_by_their_fit_can_be_built_again(tmp_path):
    class OwnFit(keras_tuner.HyperModel):
        def build(self, hp):
            hp.Float("learning_rate", 1e-4, 1.0, sampling="log")
            return sequential()

        def fit(self, hp, model, *args, **kwargs):
            rate = hp.get("learning_rate")
            model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
            return model.fit(*args, **kwargs)

    tuner = search(tmp_path, OwnFit(), max_trials=2)
    first, second = tuner.get_best_models(2)
    assert first is not second


def test_missing_learning_rate_is_refused_when_the_tuner_is_made(tmp_path):
    with pytest.raises(ValueError, match=r"alone, named 'lr'.*learning_rate=0\.0001"):
        search(tmp_path, hyperparameter="lr")
    with pytest.raises(
        ValueError, match=r"needs a hyperparameter named 'learning_rate'"
    ):
        search(tmp_path, lambda hp: compiled(0.1))


@pytest.mark.slow
def test_hyperparameter_may_have_another_name_and_a_linear_axis(tmp_path):
    def linear(hp):
        rate = hp.Float("rate", 0.0, 1.0)
        return compiled(rate)

    tuner = search(tmp_path, linear, hyperparameter="rate", max_trials=2)
    assert 0.5 in [arm.learning_rate for arm in tuner.arms()]
    assert keras_lr.plot_arms(tuner).get_xscale() == "linear"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "some"}, "`checkpoint` must be one of"),
        ({"search_epochs": 0}, "`search_epochs` must be at least 1"),
        ({"hypermodel": None}, "`hypermodel` must be a function"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        search(tmp_path, **options)


def test_training_that_cannot_run_raises_after_three(tmp_path):
    x = np.ones((4, 99), "float32")
    with pytest.raises(RuntimeError, match=r"3 trainings in a row failed"):
        search(tmp_path, fit={"x": x})


@pytest.mark.parametrize(
    ("objective", "fit", "message"),
    [
        (keras_tuner.Objective("val_acc", "max"), {}, r"'val_acc'.*'val_accuracy'"),
        ("val_loss", {"validation_data": None}, r"Pass `validation_data` to `search`"),
    ],
)
def test_objective_that_no_training_has_ends_the_search_at_the_first_one(
    tmp_path, objective, fit, message
):
    with pytest.raises(keras_tuner.errors.FatalValueError, match=message):
        search(tmp_path, objective=objective, fit={"epochs": 1} | fit)
    assert len(list(tmp_path.glob("*/trial_*"))) == 1


@pytest.mark.slow
def test_user_callbacks_are_copied_for_each_trial(tmp_path):
    class Counter(keras.callbacks.Callback):
        epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1

    counter = Counter()
    search(tmp_path, max_trials=1, fit={"callbacks": [counter]})
    assert counter.epochs == 0


@pytest.mark.slow
def test_search_says_what_it_found(tmp_path, capsys):
    search(tmp_path, max_trials=1, fit={"verbose": 1})
    assert "Recommended learning rate: 1 (val_loss " in capsys.readouterr().out


def test_results_show_the_rate_and_nothing_that_was_not_searched(searched, capsys):
    searched.results_summary(4)
    printed = capsys.readouterr().out
    assert printed.count("learning_rate: ") == 4
    assert "zooming" not in printed


@pytest.mark.slow
def test_silent_search_prints_nothing(tmp_path, capsys):
    search(tmp_path, max_trials=1)
    assert capsys.readouterr().out == ""
