"""The scripts about reliability: tiny runs, and the tables of made-up rows."""

import json
import os
import random
import time
import warnings

import numpy as np
import pytest

from tests.example_scripts import EXAMPLES, scripts_of

NAMES = ("kills", "corruptions", "exceptions", "extremes")


@pytest.fixture(scope="module")
def reliability_script():
    """Give a function that imports a script about reliability by its name."""
    with scripts_of("benchmarks/reliability") as scripts:
        yield scripts


@pytest.mark.parametrize("name", NAMES)
def test_page_shows_what_the_script_makes_of_its_rows(
    reliability_script, name, tmp_path, monkeypatch
):
    script = reliability_script(name)
    page = tmp_path / "reliability.md"
    page.write_text(script.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(script, "PAGE", page)
    script.main(["--summary", "--write"])
    shown = (EXAMPLES.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8") == shown


class Counts:
    """A case without TensorFlow: a count that is kept in a file, up to some number.

    Args:
        forgets: Whether the file is not read.
    """

    parts = 40

    def __init__(self, forgets=False):
        self.forgets = forgets

    def __call__(self, directory, begins, is_done):
        path, number = directory / "count", 0
        if path.exists():
            number = 1 if self.forgets else int(path.read_text())
        begins()
        while number < self.parts:
            time.sleep(0.01)
            number += 1
            partial = path.with_suffix(".partial")
            partial.write_text(str(number))
            os.replace(partial, path)
            is_done()
        return {"number": str(number), "forgot": str(self.forgets and path.exists())}


# From Python 3.12 on it warns of forks, which here use nothing of the parent's.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("seed", [0, 1])
def test_count_that_is_killed_continues_where_it_was(
    reliability_script, monkeypatch, seed
):
    kills = reliability_script("kills")
    case = Counts()
    monkeypatch.setitem(kills.CASES, "counts", case)
    uncut = kills.Whole({"number": "40", "forgot": "False"}, 40, 0.3)
    row = kills.chain("counts", seed, 2, uncut)
    assert (row["is_equal"], row["differing"]) == (1, "")
    # The second one may come after the end.
    assert row["kills"] in (1, 2)
    # What was counted, and not noted, when it was killed.
    assert -2 <= row["done_again"] <= 2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_differs_and_what_fails_is_named(reliability_script, monkeypatch):
    kills = reliability_script("kills")

    def fails(directory, begins, is_done):
        begins()
        raise OSError("no space")

    monkeypatch.setitem(kills.CASES, "fails", fails)
    row = kills.chain("fails", 0, 0, kills.Whole({"number": "40"}, 40, 0.1))
    assert (row["is_equal"], row["differing"]) == (0, "OSError: no space")
    monkeypatch.setitem(kills.CASES, "counts", Counts())
    row = kills.chain("counts", 0, 0, kills.Whole({"number": "41"}, 40, 0.1))
    assert (row["is_equal"], row["differing"]) == (0, "forgot number")


def test_backup_that_is_torn_or_of_two_moments_is_told(reliability_script, tmp_path):
    import h5py

    kills = reliability_script("kills")
    assert kills.backup_fault(tmp_path) == ""
    with h5py.File(tmp_path / "latest.weights.h5", "w") as file:
        file["optimizer/vars/0"] = 2 * kills.STEPS
    assert kills.backup_fault(tmp_path) == "two moments"
    metadata = tmp_path / "training_metadata.json"
    metadata.write_text(json.dumps({"epoch": 2}))
    assert kills.backup_fault(tmp_path) == ""
    metadata.write_text("")
    assert kills.backup_fault(tmp_path) == "torn"


def test_kills_are_counted_for_each_case(reliability_script):
    columns = ("case", "kills", "torn", "two_moments", "is_equal", "done_again")
    values = [("MARTHE", 4, 1, 0, 1, 3), ("MARTHE", 1, 0, 1, 0, -1)]
    rows = [dict(zip(columns, map(str, each), strict=True)) for each in values]
    (line,) = reliability_script("kills").table(rows)[1:]
    assert line == ["`MARTHE`", "5", "2", "1", "1", "1", "1", "2"]


DAMAGED = [
    *("cut", "emptied", "flipped", "zeroed", "foreign"),
    *("another value", "another kind", "giant"),
]


@pytest.fixture(scope="module")
def files(reliability_script):
    """Give a text and an archive that can be damaged."""
    tree = {"rate": 0.1, "names": ["a", "b"], "counts": {"a": 1}}
    arrays = {"rate": np.array(0.1), "weights": np.ones((3, 2)), "epoch": np.array(3)}
    return json.dumps(tree).encode(), reliability_script("damages")._zipped(arrays)


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_the_same_for_a_seed_and_is_a_damage(reliability_script, files, name):
    damages = reliability_script("damages").DAMAGES
    assert list(damages) == DAMAGED
    for content in files:
        drawn = [damages[name](content, random.Random(seed)) for seed in range(8)]
        assert drawn == [damages[name](content, random.Random(s)) for s in range(8)]
        assert any(each != content for each in drawn)


def test_another_value_leaves_a_file_whole(reliability_script, files, tmp_path):
    damage = reliability_script("damages").another_value
    text, archive = (damage(each, random.Random(1)) for each in files)
    assert json.loads(text).keys() == {"rate", "names", "counts"}
    (tmp_path / "file.npz").write_bytes(archive)
    assert np.load(tmp_path / "file.npz")["weights"].shape == (3, 2)


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (lambda directory: 1, ("same", "")),
        (lambda directory: 2, ("used", "")),
        (lambda directory: warnings.warn("aside", stacklevel=1), ("warned", "aside")),
        (lambda directory: _raise(TypeError("no")), ("fault", "TypeError: : no")),
        # Not of the package's own.
        (lambda directory: _raise(ValueError("no")), ("fault", "ValueError: : no")),
    ],
)
def test_outcome_of_a_damaged_file_is_told(reliability_script, use, expected):
    corruptions = reliability_script("corruptions")
    kind = corruptions.Kind({"file": b""}, use)
    assert corruptions.outcome(kind, {"file": b"x"}, 1) == expected


def test_what_hangs_is_ended(reliability_script, monkeypatch):
    corruptions = reliability_script("corruptions")
    monkeypatch.setattr(corruptions.signal, "alarm", _shorter(corruptions.signal))
    kind = corruptions.Kind({}, lambda directory: time.sleep(9))
    assert corruptions.outcome(kind, {}, 1) == ("fault", "it hangs")


def _shorter(signal):
    return lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds / 100)


def test_damaged_record_is_trained_again_or_refused(reliability_script):
    """Draws of the kind that is read fastest."""
    corruptions = reliability_script("corruptions")
    kind = corruptions.KINDS["compare_policies"]()
    words = {
        corruptions.draw("compare_policies", kind, None, seed)["outcome"]
        for seed in range(20)
    }
    assert words <= {"refused", "used", "warned"}


@pytest.mark.slow
def test_exception_leaves_nothing_wrong(reliability_script):
    exceptions = reliability_script("exceptions")
    key = exceptions._key(
        *("exception", "LipschitzLR", "on_train_batch_end"), "RuntimeError", "before"
    )
    assert exceptions.row(key)["faults"] == ""


@pytest.mark.slow
def test_exception_that_leaves_something_wrong_is_told(reliability_script, monkeypatch):
    """A rate that the interrupted fit should not have had."""
    exceptions = reliability_script("exceptions")
    plain = exceptions._Moment.raise_now

    def raise_now(self, model):
        model.optimizer.learning_rate = 0.5
        plain(self, model)

    monkeypatch.setattr(exceptions._Moment, "raise_now", raise_now)
    key = exceptions._key(
        *("exception", "LipschitzLR", "on_train_batch_end"), "RuntimeError", "before"
    )
    assert "starts at 0.5" in exceptions.row(key)["faults"]


@pytest.mark.slow
def test_trainings_in_two_threads_and_many_fits_leave_nothing(reliability_script):
    exceptions = reliability_script("exceptions")
    key = exceptions._key("threads", "LipschitzLR and LipschitzLR")
    assert exceptions.row(key, repeats=1)["faults"] == ""
    key = exceptions._key("refits", "LipschitzLR")
    assert exceptions.row(key, refits=8)["faults"] == ""


def trained(script, error=None, said=(), is_finite=True):
    return script.Trained(error, list(said), is_finite)


def test_outcome_of_an_extreme_is_told_by_what_keras_does(reliability_script):
    script = reliability_script("extremes")
    fine, lost = trained(script), trained(script, is_finite=False)
    wrong = trained(script, error=TypeError("no"))
    assert script.outcome(fine, fine)[0] == "finite"
    assert script.outcome(lost, fine)[0] == "fault"
    assert script.outcome(lost, lost)[0] == "as Keras"
    said = trained(script, None, ["`MARTHE`"])
    assert script.outcome(said, lost) == ("warned", "`MARTHE`")
    # A warning is no excuse for weights that Keras alone does not lose.
    said = trained(script, None, ["`MARTHE`"], False)
    assert script.outcome(said, fine)[0] == "fault"
    assert script.outcome(said, lost)[0] == "as Keras"
    assert script.outcome(wrong, fine)[0] == "fault"
    assert script.outcome(wrong, wrong)[0] == "as Keras"
    assert script.outcome(fine, wrong)[0] == "fault"


@pytest.mark.slow
def test_extremes_are_told_of_a_callback(reliability_script):
    script = reliability_script("extremes")
    condition = script.CONDITIONS["a NaN in y"]
    plain = script.train(condition, "LipschitzLR", is_plain=True)
    assert not plain.is_finite
    word, _ = script.outcome(script.train(condition, "LipschitzLR", False), plain)
    assert word in script.OUTCOMES


def test_every_public_callback_and_optimizer_is_tried(reliability_script):
    import keras

    import keras_lr

    exported = [each for each in vars(keras_lr).values() if isinstance(each, type)]
    kinds = (keras.callbacks.Callback, keras.optimizers.Optimizer)
    names = {each.__name__ for each in exported if issubclass(each, kinds)}
    tried = set(reliability_script("extremes").METHODS)
    # It changes nothing.
    assert names - {"LearningRateRecorder"} == tried
    assert len(reliability_script("extremes").CONDITIONS) >= 38
