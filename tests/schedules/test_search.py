"""`ScheduleSearch`: what is kept, taken back, judged, and resumed."""

import numpy as np
import pytest
from keras import optimizers

from keras_lr.schedules import search as search_module
from keras_lr.schedules.descent import Descent
from keras_lr.schedules.search import DRAWS, FINALISTS, ScheduleSearch
from keras_lr.training.schedule.inner_training import JUDGMENT, SEARCH

GOAL = np.array([0.5, 0.25])


class Bowl:
    """A training whose loss is the squared distance from a goal, and 1.

    Args:
        surprises: Losses of outer steps, in place of their own.
        noise: Added to the loss of a draw, by its number.
    """

    values, learning_rate = 2, 0.125

    def __init__(self, surprises=None, noise=lambda draw: 0.0, is_fixed=True):
        self.surprises = surprises or {}
        self.noise = noise
        self.is_fixed = is_fixed
        self.seen = []
        self.draws = []

    def settings(self):
        return {"steps": 2, "seed": 0}

    def loss(self, values, draw):
        self.draws.append(draw)
        return 1.0 + ((values - GOAL) ** 2).sum() + self.noise(draw)

    def gradient(self, values, draw):
        self.seen.append(values)
        purpose, number = draw
        assert purpose == SEARCH
        loss = self.surprises.get(number, self.loss(values, draw))
        return loss, 2.0 * (values - GOAL)


def descent(rate=0.25):
    return Descent(optimizers.SGD(rate), 2)


def run(training, number, directory=None):
    search = ScheduleSearch(training, descent(), directory)
    while search.steps < number:
        search.step()
    return search


def test_it_starts_from_the_constant_rate_and_halves_the_distance_in_each_step():
    training = Bowl()
    search = run(training, 3)
    distances = [values - GOAL for values in training.seen]
    start = np.array([0.125, 0.125]) - GOAL
    np.testing.assert_allclose(distances, [start, start / 2, start / 4])
    np.testing.assert_allclose(
        search.history["objective"],
        [1 + ((start / 2**k) ** 2).sum() for k in range(3)],
    )
    np.testing.assert_allclose(
        search.history["hypergradient_norm"],
        [2 * np.linalg.norm(start / 2**k) for k in range(3)],
    )
    assert search.history["outer_learning_rate"] == [0.0, 0.25, 0.25]


@pytest.mark.parametrize("loss", [np.nan, np.inf, 9.0])
def test_setback_is_taken_back_and_half_the_step_is_taken_from_there(loss):
    training = Bowl({1: loss})
    search = run(training, 4)
    start = np.array([0.125, 0.125]) - GOAL
    # Half of the way is a setback, a quarter is not, and the next one is a quarter.
    expected = [start, start / 2, 0.75 * start, 0.75**2 * start]
    np.testing.assert_allclose([v - GOAL for v in training.seen], expected)
    assert np.isnan(search.history["hypergradient_norm"]).tolist() == [0, 1, 0, 0]
    assert search.history["outer_learning_rate"] == [0.0, 0.25, 0.125, 0.125]


def test_hypergradient_that_is_not_finite_is_a_setback():
    training = Bowl()
    plain = training.gradient
    training.gradient = lambda values, draw: (
        plain(values, draw)[0],
        plain(values, draw)[1] * (np.nan if draw[1] == 1 else 1.0),
    )
    assert np.isnan(run(training, 3).history["hypergradient_norm"]).tolist() == [
        0,
        1,
        0,
    ]


def test_several_setbacks_halve_again_and_again():
    training = Bowl({1: np.nan, 2: np.nan})
    search = run(training, 4)
    assert search.history["outer_learning_rate"] == [0.0, 0.25, 0.125, 0.0625]


def test_start_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match=r"Received: learning_rate=0\.125, .* nan"):
        run(Bowl({0: np.nan}), 1)


def test_fixed_trainings_are_judged_by_the_loss_that_they_had():
    training = Bowl({2: 0.5})
    search = run(training, 4)
    number = len(training.draws)
    best = search.best()
    assert best.objective == search.best_objective == 0.5
    np.testing.assert_array_equal(best.values, training.seen[2])
    assert len(training.draws) == number


def test_lucky_draw_does_not_win_the_judgment():
    training = Bowl({1: 0.9}, is_fixed=False)
    search = run(training, 4)
    np.testing.assert_array_equal(search.lowest().values, training.seen[1])
    np.testing.assert_array_equal(search.best().values, training.seen[3])


def test_judgment_is_by_the_same_draws_for_all_and_says_their_mean():
    training = Bowl(noise=lambda draw: 0.25 * draw[1] * (draw[0] == JUDGMENT))
    training.is_fixed = False
    search = run(training, 9)
    training.draws.clear()
    best = search.best()
    # The best ones, the last of which is the last one, and the first.
    assert training.draws == [(JUDGMENT, n) for n in range(DRAWS)] * (FINALISTS + 1)
    own = training.loss(best.values, (SEARCH, 0))
    assert best.objective == pytest.approx(own + 0.25 * np.mean(range(DRAWS)))


def test_schedule_that_it_starts_from_can_win():
    training = Bowl(is_fixed=False)
    search = run(training, 4)
    training.loss = lambda values, draw: float(values[0] != 0.125)
    assert search.best().values.tolist() == [0.125, 0.125]


def test_loss_that_is_not_a_number_never_wins():
    training = Bowl(is_fixed=False)
    search = run(training, 3)
    last = training.seen[-1]
    training.loss = lambda values, draw: np.nan if values is not last else 1.0
    assert np.isfinite(search.best().objective)


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_search_that_goes_on_from_disk_is_the_one_without_a_stop(tmp_path, stop):
    surprises = {2: np.nan, 3: 0.9}
    whole, parts = Bowl(surprises), Bowl(surprises)
    expected = run(whole, 6)
    run(parts, stop, tmp_path)
    actual = run(parts, 6, tmp_path)
    np.testing.assert_array_equal(parts.seen, whole.seen)
    del expected.history["seconds"], actual.history["seconds"]
    np.testing.assert_equal(actual.history, expected.history)
    np.testing.assert_array_equal(actual.best().values, expected.best().values)


def test_directory_is_made_and_holds_one_file(tmp_path):
    run(Bowl(), 2, tmp_path / "a" / "b")
    assert [each.name for each in (tmp_path / "a" / "b").iterdir()] == [
        "keras_lr_schedule.npz"
    ]


def test_step_that_is_stopped_leaves_the_file_of_the_one_before(tmp_path, monkeypatch):
    training = Bowl()
    search = run(training, 2, tmp_path)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(search_module.state_file.np, "savez", stop)
    with pytest.raises(KeyboardInterrupt):
        search.step()
    monkeypatch.undo()
    assert ScheduleSearch(Bowl(), descent(), tmp_path).steps == 2


def test_other_search_is_refused_and_what_differs_is_named(tmp_path):
    run(Bowl(), 1, tmp_path)
    training = Bowl()
    training.settings = lambda: {"steps": 3, "seed": 0}
    with pytest.raises(ValueError, match=r"`backup_dir` .*steps=2, not 3\. Take"):
        ScheduleSearch(training, descent(), tmp_path)
    with pytest.raises(ValueError, match=r"optimizer='SGD', not 'relative Adam'"):
        ScheduleSearch(Bowl(), Descent(None, 2), tmp_path)
    with pytest.raises(
        ValueError, match=r"optimizer\.learning_rate='0\.25', not '0\.5'"
    ):
        ScheduleSearch(Bowl(), descent(0.5), tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a file of arrays"])
def test_broken_file_is_refused(tmp_path, content):
    (tmp_path / "keras_lr_schedule.npz").write_bytes(content)
    with pytest.raises(ValueError, match="`backup_dir` must hold the search"):
        ScheduleSearch(Bowl(), descent(), tmp_path)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_second_search_in_a_directory_is_noticed_once(tmp_path):
    first = run(Bowl(), 1, tmp_path)
    ScheduleSearch(Bowl(), descent(), tmp_path).step()
    with pytest.warns(UserWarning, match=r"Something else writes keras_lr_schedule"):
        first.step()
    ScheduleSearch(Bowl(), descent(), tmp_path).step()
    # A second warning would be an error.
    first.step()


@pytest.mark.parametrize("name", ["objectives", "history_objective", "descent_0"])
def test_file_with_wrong_arrays_is_refused_by_name(tmp_path, name):
    run(Bowl(), 2, tmp_path)
    path = tmp_path / "keras_lr_schedule.npz"
    arrays = {key: value for key, value in np.load(path).items() if key != name}
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=rf"keras_lr_schedule.npz with .*{name}"):
        ScheduleSearch(Bowl(), descent(), tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("history_seconds", "text"),
        ("gradient", np.array([0.0, np.nan])),
        ("start", np.array([0.125, -1.0])),
        ("values", np.full((3, 2), np.inf)),
        ("objectives", np.array([1.0, np.nan, 1.0])),
        ("values", np.zeros((3, 1))),
        ("descent_0", -1.0),
        ("descent_1", "None"),
    ],
)
def test_number_that_cannot_be_is_refused_by_name(tmp_path, name, value):
    """A whole file, of whose numbers one is another."""
    run(Bowl(), 2, tmp_path)
    path = tmp_path / "keras_lr_schedule.npz"
    np.savez(path, **{**np.load(path), name: np.asarray(value)})
    with pytest.raises(ValueError, match=rf"keras_lr_schedule.npz with .*{name}"):
        ScheduleSearch(Bowl(), descent(), tmp_path)


def test_directory_that_is_a_file_is_refused_before_the_first_training(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    training = Bowl()
    with pytest.raises(ValueError, match="`backup_dir` must be a directory"):
        ScheduleSearch(training, descent(), path)
    assert training.seen == []
