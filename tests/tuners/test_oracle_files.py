"""Files that a search reads after a process was killed, or a file broken.

A kill between two writes is a file as it was before the second one.
"""

import json
import shutil

import keras_tuner
import pytest

from tests.tuners.fake_search import FakeBLiE, FakeZooming, accuracy


class Killed(BaseException):
    """Ends a search as a signal does: no handler of KerasTuner's sees it."""


def run(directory, results=accuracy, **kwargs):
    tuner = FakeZooming(results, directory=directory, **kwargs)
    tuner.search(verbose=0)
    return tuner


def killed_in_trial(directory, number, **kwargs):
    """Search until the trial with that number, from 0, is killed while it runs."""
    rates = []

    def results(rate):
        if len(rates) == number:
            raise Killed
        rates.append(rate)
        return accuracy(rate)

    with pytest.raises(Killed):
        run(directory, results, **kwargs)
    return rates


def outcome(tuner):
    return [
        (each.trial_id, each.learning_rate, each.score)
        for each in tuner.oracle.trainings()
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return outcome(run(tmp_path_factory.mktemp("whole")))


def project(directory):
    return directory / "untitled_project"


def test_search_of_five_trials_has_five_rates(whole):
    assert len({rate for _, rate, _ in whole}) == 5


@pytest.mark.parametrize("number", range(5))
def test_killed_search_continues_as_if_nothing_had_happened(tmp_path, whole, number):
    before = killed_in_trial(tmp_path, number)
    tuner = run(tmp_path)
    assert outcome(tuner) == whole
    assert before + tuner.rates == [rate for _, rate, _ in whole]
    assert tuner.oracle.end_order == ["0", "1", "2", "3", "4"]


def test_search_killed_in_every_trial_comes_to_the_same(tmp_path, whole):
    for number in range(5):
        killed_in_trial(tmp_path, min(number, 1))
    assert outcome(run(tmp_path)) == whole


@pytest.mark.parametrize(
    "lost",
    [
        "trial.json is that of an earlier moment",
        "oracle.json is that of an earlier moment",
        "tuner0.json was never written",
        "oracle.json was never written",
    ],
)
@pytest.mark.parametrize("earlier", [1, 2])
def test_files_that_disagree_are_corrected(tmp_path, whole, lost, earlier):
    """Killed between the writes of a trial's file and of the oracle's."""
    killed_in_trial(tmp_path, earlier)
    earlier_files = shutil.copytree(project(tmp_path), tmp_path / "earlier_files")
    killed_in_trial(tmp_path, 1)
    names = {
        "trial.json": f"trial_{earlier}/trial.json",
        "oracle.json": "oracle.json",
        "tuner0.json": "tuner0.json",
    }
    name = names[lost.split()[0]]
    if lost.endswith("never written"):
        (project(tmp_path) / name).unlink()
    else:
        shutil.copy(earlier_files / name, project(tmp_path) / name)
    tuner = run(tmp_path)
    assert outcome(tuner) == whole
    assert sorted(tuner.oracle.end_order) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("content", ["", '{"trial_id": "2", "hyperp', "[]", "null"])
@pytest.mark.parametrize("name", ["trial_1/trial.json", "oracle.json", "tuner0.json"])
def test_broken_file_is_set_aside_with_a_warning(tmp_path, whole, name, content):
    killed_in_trial(tmp_path, 3)
    path = project(tmp_path) / name
    path.write_text(content)
    if name == "tuner0.json" and content in ("[]", "null"):
        tuner = run(tmp_path)  # There is nothing in it.
    else:
        with pytest.warns(UserWarning, match=rf"{path.name} cannot be read"):
            tuner = run(tmp_path)
        assert path.with_name(f"{path.name}.corrupt").read_text() == content
    assert outcome(tuner) == whole
    assert sorted(tuner.oracle.end_order) == ["0", "1", "2", "3", "4"]


def put(state, place, value):
    """Set a value in a tree, by the keys that lead to it."""
    *path, last = place.split(".")
    for key in path:
        state = state[int(key) if isinstance(state, list) else key]
    state[int(last) if isinstance(state, list) else last] = value


OBSERVATION = "metrics.metrics.score.observations.0"
RANGE = "hyperparameters.space.0.config.max_value"


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        *(
            ("trial_1/trial.json", place, value)
            for place, value in (
                ("trial_id", "2"),
                ("hyperparameters.values.learning_rate", float("nan")),
                ("hyperparameters.values.learning_rate", -1.0),
                ("hyperparameters.values.learning_rate", 1e30),
                ("hyperparameters.values.zooming/seed", []),
                (RANGE, float("inf")),
                (f"{OBSERVATION}.value", [{}]),
                (f"{OBSERVATION}.value", []),
                (f"{OBSERVATION}.step", "text"),
                ("score", float("nan")),
                ("score", {}),
                ("best_step", "text"),
                ("status", "text"),
                ("message", 7),
            )
        ),
        *(
            ("oracle.json", place, value)
            for place, value in (
                ("start_order", 7),
                ("end_order", [7]),
                ("ongoing_trials", 7),
                ("ongoing_trials.tuner0", 7),
                ("tried_so_far", 7),
                ("run_times", []),
                ("seed", "text"),
                ("seed_state", float("nan")),
                ("display", 7),
                ("display.search_start", 7),
                ("display.trial_start.0", "text"),
                ("display.trial_start.0", None),
                ("display.trial_number.0", None),
                ("hyperparameters", 7),
                (RANGE, -1.0),
                ("trial_values", 7),
                ("trial_values.1", None),
                ("trial_values.1.learning_rate", float("nan")),
            )
        ),
    ],
)
def test_file_with_a_value_that_cannot_be_is_set_aside(
    tmp_path, whole, name, place, value
):
    """A whole file, in which a value is another one or of another kind."""
    killed_in_trial(tmp_path, 3)
    path = project(tmp_path) / name
    state = json.loads(path.read_text())
    put(state, place, value)
    path.write_text(json.dumps(state))
    with pytest.warns(UserWarning, match=rf"{path.name} cannot be read"):
        tuner = run(tmp_path)
    assert outcome(tuner) == whole


@pytest.mark.parametrize("name", ["trial_1/trial.json", "oracle.json"])
def test_file_that_is_nested_without_end_is_set_aside(tmp_path, whole, name):
    killed_in_trial(tmp_path, 3)
    path = project(tmp_path) / name
    path.write_text("[" * 100_000)
    with pytest.warns(UserWarning, match=rf"{path.name} cannot be read"):
        tuner = run(tmp_path)
    assert outcome(tuner) == whole


def test_no_half_written_file_is_left(tmp_path):
    killed_in_trial(tmp_path, 3)
    assert list(project(tmp_path).rglob("*.partial")) == []
    for path in project(tmp_path).rglob("*.json"):
        json.loads(path.read_text())


def test_more_trials_continue_those_that_were_run(tmp_path, whole):
    run(tmp_path)
    tuner = run(tmp_path, max_trials=12)  # Names get another digit.
    assert len(tuner.rates) == len(tuner.oracle.trials) - 5
    assert len(tuner.rates) > 2
    assert outcome(tuner)[:5] == whole
    assert tuner.oracle.max_trials == 12


def test_arguments_are_those_of_the_constructor_not_of_the_file(tmp_path):
    run(tmp_path, seed=1, noise=0.01)
    tuner = FakeZooming(directory=tmp_path, seed=2, noise=0.5)
    assert tuner.oracle.seed == 2
    assert tuner.oracle.rule().noise == 0.5


def test_seed_that_was_drawn_is_the_one_of_the_file(tmp_path):
    first = run(tmp_path, seed=None)
    assert FakeZooming(directory=tmp_path, seed=None).oracle.seed == first.oracle.seed


def test_finished_search_is_opened_without_training(tmp_path, whole):
    run(tmp_path)
    tuner = run(tmp_path)
    assert tuner.rates == []
    assert outcome(tuner) == whole
    assert tuner.best_arm().learning_rate == pytest.approx(0.01, rel=0.5)


def test_search_under_another_name_of_the_tuner_is_found(tmp_path, whole):
    run(tmp_path, tuner_id="other")
    assert outcome(FakeZooming(directory=tmp_path, tuner_id="other")) == whole


def test_overwrite_starts_anew(tmp_path):
    run(tmp_path)
    tuner = run(tmp_path, overwrite=True, max_trials=2)
    assert len(tuner.rates) == 2


def objective(name="score", direction="max"):
    return keras_tuner.Objective(name, direction)


@pytest.mark.parametrize("other", [objective(direction="min"), objective("other")])
@pytest.mark.parametrize("written", ["by us", "by 0.1.0", "not at all"])
def test_search_by_another_objective_is_refused(tmp_path, other, written):
    """Its scores would count as those of the other one, and the worst as the best."""
    run(tmp_path, max_trials=2)
    path = project(tmp_path) / "oracle.json"
    if written == "by 0.1.0":
        state = json.loads(path.read_text())
        del state["objective"]
        path.write_text(json.dumps(state))
    elif written == "not at all":
        path.unlink()
    with pytest.raises(ValueError, match=r"`objective` must be the one.*project_name"):
        FakeZooming(directory=tmp_path, objective=other)
    assert len(run(tmp_path, objective=other, overwrite=True, max_trials=2).rates) == 2


def test_search_by_the_same_objective_is_opened(tmp_path):
    run(tmp_path, max_trials=2)
    assert run(tmp_path, objective=objective(), max_trials=2).rates == []


def test_folder_of_a_trial_without_a_number_is_read(tmp_path):
    run(tmp_path, max_trials=2)
    folder = project(tmp_path)
    shutil.copytree(folder / "trial_1", folder / "trial_copy")
    state = json.loads((folder / "trial_copy" / "trial.json").read_text())
    (folder / "trial_copy" / "trial.json").write_text(
        json.dumps(state | {"trial_id": "copy"})
    )
    tuner = run(tmp_path, max_trials=4)
    assert [each.trial_id for each in tuner.oracle.trainings()] == [
        *("0", "1", "3", "copy")
    ]


def search_during_a_trial(directory, cls, intrude):
    """Search; in each of the last two trials something else happens besides."""
    rates = []

    def results(rate):
        rates.append(rate)
        if len(rates) >= 3:
            intrude()
        return accuracy(rate)

    tuner = cls(results, directory=directory, max_trials=4)
    tuner.search(verbose=0)
    return rates


@pytest.mark.parametrize("cls", [FakeZooming, FakeBLiE])
def test_second_search_in_a_directory_is_noticed_once(tmp_path, cls):
    def second_search():
        cls(directory=tmp_path, max_trials=6).search(verbose=0)

    # The second one finds the first one's files, as after a kill, and says nothing.
    with pytest.warns(UserWarning, match="Something else writes oracle.json") as caught:
        rates = search_during_a_trial(tmp_path, cls, second_search)
    assert sum("Something else" in str(each.message) for each in caught) == 1
    assert len(rates) == 4


def test_search_that_is_only_looked_at_meanwhile_is_not_noticed(tmp_path):
    def look():
        FakeZooming(directory=tmp_path).results_summary()

    assert len(search_during_a_trial(tmp_path, FakeZooming, look)) == 4


def test_worker_of_a_chief_does_not_write_what_the_chief_does(tmp_path, monkeypatch):
    """What a worker's process does with the files, while it waits for the chief."""

    def open_as_worker():
        with monkeypatch.context() as patch:
            for name, value in {"IP": "127.0.0.1", "PORT": "9"}.items():
                patch.setenv(f"KERASTUNER_ORACLE_{name}", value)
            patch.setenv("KERASTUNER_TUNER_ID", "worker")
            worker = FakeZooming(directory=tmp_path)
            assert worker.is_worker
            worker.on_search_begin()

    assert len(search_during_a_trial(tmp_path, FakeZooming, open_as_worker)) == 4
