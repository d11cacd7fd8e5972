"""A fit that is killed resumes from weights and state of the same moment, or says so.

Four epochs of six steps; `LipschitzLR` anneals over the last twelve of them.
"""

import keras
import numpy as np
import pytest

import keras_lr
from keras_lr import _keras
from tests.small_problem import compiled, fit

# Keras converts TensorFlow's variables, which do not take NumPy 2's `copy`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

EPOCHS = 4
KINDS = {
    "LipschitzLR": lambda folder: keras_lr.LipschitzLR(),
    "LearningRateWalk": lambda folder: keras_lr.LearningRateWalk(
        1.1, every=6, anneal=0.4, backup_dir=folder / "state"
    ),
    "MARTHE": lambda folder: keras_lr.MARTHE(backup_dir=folder / "state"),
    "smoothed": lambda folder: keras_lr.LearningRateWalk(
        every=6, smoothing=0.5, backup_dir=folder / "state"
    ),
}


class Killed(Exception):  # noqa: N818
    """Ends a fit as a kill would."""


class Kill(keras.callbacks.Callback):
    """Ends a fit at a step, or at the end of an epoch."""

    def __init__(self, epoch, batch=None):
        super().__init__()
        self.when, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.when == (self.epoch, batch):
            raise Killed

    def on_epoch_end(self, epoch, logs=None):
        if self.when == (epoch, None):
            raise Killed


class Backup(keras.callbacks.BackupAndRestore):
    """Notes the rates before annealing with which it saved, and with which it began."""

    def __init__(self, folder, callback, **kwargs):
        super().__init__(folder / "backup", **kwargs)
        self.callback, self.saved, self.first = callback, None, None

    def on_train_batch_begin(self, batch, logs=None):
        self.first = self.first or rate_of(self.callback)

    def _save_model(self):
        super()._save_model()
        self.saved = rate_of(self.callback)


def rate_of(callback):
    return _keras.to_float(callback._fit.rate.rate.value)


class Training:
    """A fit with a backup that is listed before the callback, or after it."""

    def __init__(self, folder, kind, save_freq="epoch", is_first=True):
        self.callback = KINDS[kind](folder)
        self.backup = Backup(folder, self.callback, save_freq=save_freq)
        self.callbacks = [self.callback]
        self.callbacks.insert(0 if is_first else 1, self.backup)
        self.model = compiled(run_eagerly=True)

    def run(self):
        return fit(self.model, self.callbacks, EPOCHS).history

    def kill(self, epoch, batch=None):
        with pytest.raises(Killed):
            fit(self.model, [Kill(epoch, batch), *self.callbacks], EPOCHS)


@pytest.mark.parametrize(
    "is_first",
    [True, pytest.param(False, marks=pytest.mark.slow)],
    ids=["first", "last"],
)
@pytest.mark.parametrize("steps", [18, pytest.param(20, marks=pytest.mark.slow)])
def test_backup_in_mid_epoch_resumes_at_the_rate_before_annealing(
    steps, is_first, tmp_path
):
    """After 18 steps, the last of an epoch, the next rate may have been left behind."""
    killed = Training(tmp_path, "LipschitzLR", steps, is_first)
    killed.kill(3, 3)
    resumed = Training(tmp_path, "LipschitzLR", steps, is_first)
    resumed.run()
    assert resumed.backup.first == pytest.approx(killed.backup.saved, rel=1e-5)


def test_backup_in_mid_epoch_does_not_get_the_state_of_another_moment(tmp_path):
    killed = Training(tmp_path, "LearningRateWalk", 20)
    killed.kill(3, 3)
    resumed = Training(tmp_path, "LearningRateWalk", 20)
    with pytest.warns(UserWarning, match=r"that of 18 updates .* have had 20"):
        resumed.run()
    assert resumed.backup.first == pytest.approx(killed.backup.saved, rel=1e-5)


@pytest.mark.parametrize(
    "kind", [pytest.param("LipschitzLR", marks=pytest.mark.slow), "LearningRateWalk"]
)
def test_kill_between_the_two_backups_loses_nothing(kind, tmp_path):
    """The state of the epoch is written, the weights' backup is of the one before."""
    whole = Training(tmp_path / "whole", kind)
    expected = whole.run()
    Training(tmp_path / "cut", kind).kill(2)
    resumed = Training(tmp_path / "cut", kind)
    history = resumed.run()
    assert history["loss"] == pytest.approx(expected["loss"][2:], rel=1e-6)
    pairs = zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True)
    for weight, value in pairs:
        np.testing.assert_allclose(weight, value, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("guard_floor", np.nan, "The guard against divergence begins anew"),
        ("guard_floor", 1e30, "The guard against divergence begins anew"),
        ("guard_good_0", np.nan, "The guard against divergence begins anew"),
        ("average_1", np.inf, r"a number in average_1, which is out of range"),
    ],
)
@pytest.mark.slow  # Four fits each.
def test_number_that_cannot_be_is_not_resumed_from(name, value, message, tmp_path):
    """A whole file, in which one array holds other numbers."""
    Training(tmp_path, "smoothed").kill(2, 3)
    path = tmp_path / "state" / "keras_lr_walk.npz"
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {name: np.full_like(arrays[name], value)})
    resumed = Training(tmp_path, "smoothed")
    with pytest.warns(UserWarning, match=message):
        resumed.run()
    assert all(np.isfinite(each).all() for each in resumed.model.get_weights())
    assert 0.0 < float(resumed.model.optimizer.learning_rate) < 1.0


def written_with(arrays, path):
    """Write the state of `MARTHE` at its start, with other numbers in some arrays."""
    fit = marthe_fit()
    fit.write(path.parent, 0)
    state = dict(np.load(path))
    np.savez(path, **state | {n: np.full_like(state[n], x) for n, x in arrays.items()})


def marthe_fit():
    callback = keras_lr.MARTHE()
    callback.set_model(compiled(optimizer=keras.optimizers.Adam()))
    made = callback._make_fit()
    made.start()
    return made


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate_1", np.nan),  # beta, after which the rate would not move.
        pytest.param(*("learning_rate_1", -1.0), marks=pytest.mark.slow),
        pytest.param(*("learning_rate_2", np.nan), marks=pytest.mark.slow),  # mu
        pytest.param(
            *("learning_rate_3", np.inf), marks=pytest.mark.slow
        ),  # The steps that Z looks back.
        pytest.param(
            *("learning_rate_4", np.nan), marks=pytest.mark.slow
        ),  # The last hypergradient.
        pytest.param(
            "learning_rate_5", np.nan, marks=pytest.mark.slow
        ),  # The scale of Z.
        pytest.param(*("learning_rate_square_mean", np.nan), marks=pytest.mark.slow),
        pytest.param("learning_rate_square_steps", -1.0, marks=pytest.mark.slow),
        ("path", np.inf),  # Of the fastest weight.
        pytest.param(*("path_rate", -1.0), marks=pytest.mark.slow),
    ],
)
def test_scalar_that_no_rule_has_is_not_resumed_from(name, value, tmp_path):
    path = tmp_path / "keras_lr_hypergradient.npz"
    written_with({name: value}, path)
    with pytest.warns(UserWarning, match=rf"holds {name}={value}, which is out of"):
        marthe_fit().read(tmp_path, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["learning_rate_7", "learning_rate_average_0"])
def test_tangent_that_is_not_finite_begins_anew(name, tmp_path):
    """A training may write such a file itself. It costs one hypergradient."""
    Training(tmp_path, "MARTHE").kill(2, 3)
    path = tmp_path / "state" / "keras_lr_hypergradient.npz"
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {name: np.full_like(arrays[name], np.nan)})
    resumed = Training(tmp_path, "MARTHE")
    resumed.run()
    history = resumed.callback.history
    # Without validation data the last one is not known.
    assert np.isfinite(history["hypergradient"][1:-1]).all()
    rates = history["learning_rate"]
    assert np.isfinite(rates).all()
    assert len({f"{each:.5g}" for each in rates[1:6]}) > 1


def test_directory_that_cannot_be_written_to_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "state").write_text("a file")
    model = compiled(run_eagerly=True)
    with pytest.raises(ValueError, match=r"`backup_dir` must be a directory.*exists"):
        fit(model, [KINDS["LearningRateWalk"](tmp_path)])
    assert int(model.optimizer.iterations) == 0
