"""`state_file`: all of the state comes back, or none of it and a warning."""

import os
import pickle
import tempfile
import warnings

import keras
import numpy as np
import pytest

from keras_lr.training.fit import state_file

VALUES = {
    "matrix": np.array([[0.1, 2.0], [3.0, -4.0]], "float32"),
    "scalar": np.array(0.1, "float64"),
    "count": np.array(7, "int32"),
    "nothing": np.array([np.nan, np.inf], "float32"),
}


def variables_of(arrays):
    return {
        name: keras.Variable(array, dtype=str(array.dtype), trainable=False)
        for name, array in arrays.items()
    }


def zeros():
    return variables_of({name: np.zeros_like(each) for name, each in VALUES.items()})


@pytest.fixture
def path(tmp_path):
    """Where the state of the end of epoch 3 is."""
    path = tmp_path / "of" / "a" / "fit" / "state.npz"
    state_file.write(path, variables_of(VALUES), epoch=3)
    return path


def assert_untouched(variables):
    for name, variable in variables.items():
        np.testing.assert_array_equal(variable.numpy(), np.zeros_like(VALUES[name]))


def test_state_comes_back_to_the_last_bit(path):
    variables = zeros()
    assert state_file.read(path, variables, epoch=3) == {}
    for name, variable in variables.items():
        assert variable.numpy().dtype == VALUES[name].dtype
        np.testing.assert_array_equal(variable.numpy(), VALUES[name])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_comes_back(dtype, tmp_path):
    half = keras.Variable([1.5, -2.0], dtype=dtype)
    state_file.write(tmp_path / "state.npz", {"half": half}, epoch=0)
    half.assign([0.0, 0.0])
    assert state_file.read(tmp_path / "state.npz", {"half": half}, epoch=0) == {}
    np.testing.assert_array_equal(keras.ops.cast(half, "float32"), [1.5, -2.0])


def test_writing_leaves_nothing_else_behind(path):
    state_file.write(path, variables_of(VALUES), epoch=4)
    names = sorted(each.name for each in path.parent.iterdir())
    assert names == ["state.npz", "state.previous.npz"]
    assert state_file.read(path, zeros(), epoch=4) == {}


@pytest.mark.parametrize("written", [3, 4])
def test_state_before_the_last_one_comes_back_too(path, written):
    """A kill between two backups leaves weights one epoch behind the state."""
    state_file.write(path, variables_of(VALUES), epoch=4)
    variables = zeros()
    assert state_file.read(path, variables, epoch=written) == {}
    np.testing.assert_array_equal(variables["matrix"].numpy(), VALUES["matrix"])


def test_state_comes_back_after_a_kill_between_two_renamings(path):
    path.rename(state_file.previous(path))
    assert state_file.read(path, zeros(), epoch=3) == {}


def test_state_of_other_weights_is_refused(path):
    """A model that was saved in the middle of an epoch has had more updates."""
    state_file.write(path, variables_of(VALUES), epoch=4, updates=40)
    assert state_file.read(path, zeros(), epoch=4, updates=40) == {}
    assert state_file.read(path, zeros(), epoch=4) == {}
    variables = zeros()
    reason = r"it is that of 40 updates .* have had 43\..*save_freq=\"epoch\""
    with pytest.warns(UserWarning, match=reason):
        assert state_file.read(path, variables, epoch=4, updates=43) is None
    assert_untouched(variables)


def test_value_that_is_not_accepted_is_refused(path):
    variables = zeros()
    with pytest.warns(UserWarning, match=r"it holds count=7, which is out of range"):
        state_file.read(
            path, variables, epoch=3, accepts=lambda name, value: name != "count"
        )
    assert_untouched(variables)


def test_two_processes_write_under_names_of_their_own(path, monkeypatch):
    """The second one writes while the first one is about to rename its file."""
    replace, pid = os.replace, os.getpid()

    def replace_late(source, target):
        if os.getpid() == pid:
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: pid + 1)
                state_file.write(path, variables_of(VALUES), epoch=4)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_late)
        state_file.write(path, variables_of(VALUES), epoch=5)
    assert state_file.read(path, zeros(), epoch=5) == {}


def test_directory_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    state_file.require_writable(tmp_path / "new" / "directory")
    with pytest.raises(ValueError, match=r"`backup_dir` must be.*'.*file' \(.*exists"):
        state_file.require_writable(file)

    def refuse(**kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(ValueError, match=r"`backup_dir` must be.*Permission denied"):
        state_file.require_writable(tmp_path)


def assert_refused(path, variables, epoch=3, reason=""):
    message = f"^The fit resumes without the state in {path.name}: .*{reason}"
    with pytest.warns(UserWarning, match=message):
        assert state_file.read(path, variables, epoch=epoch) is None


@pytest.mark.parametrize("epoch", [0, 2, 4])
def test_state_of_another_epoch_is_refused(path, epoch):
    variables = zeros()
    reason = f"it is not that of epoch {epoch + 1}"  # As Keras counts them.
    assert_refused(path, variables, epoch=epoch, reason=reason)
    assert_untouched(variables)


CHANGES = {
    "shape": lambda v: v | {"matrix": keras.Variable(np.zeros((4,)))},
    "scalar": lambda v: v | {"scalar": keras.Variable(np.zeros((1,)))},
    "one more": lambda v: v | {"other": keras.Variable(0.0)},
    "one less": lambda v: {name: v[name] for name in list(v)[1:]},
    "another name": lambda v: {f"{name}_": each for name, each in v.items()},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_state_of_another_model_is_refused(path, change):
    variables = zeros()
    assert_refused(path, change(variables), reason="it belongs to another model")
    assert_untouched(variables)


def test_missing_file_is_refused(path):
    variables = zeros()
    path.unlink()
    assert_refused(path, variables, reason="it cannot be read: .*No such file")
    assert_untouched(variables)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_file_that_was_cut_off_is_refused(path, part):
    variables, data = zeros(), path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    assert_refused(path, variables, reason="it cannot be read")
    assert_untouched(variables)


def test_file_with_a_wrong_byte_is_refused(path):
    variables, data = zeros(), bytearray(path.read_bytes())
    place = data.index(VALUES["matrix"].tobytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert_refused(path, variables, reason="it cannot be read")
    assert_untouched(variables)


@pytest.mark.parametrize("data", [b"text", pickle.dumps({"epoch": 3}), b"PK\x03\x04"])
def test_other_file_is_refused(path, data):
    variables = zeros()
    path.write_bytes(data)
    assert_refused(path, variables, reason="it cannot be read")
    assert_untouched(variables)


def test_file_without_an_epoch_is_refused(path):
    variables = zeros()
    np.savez(path, **VALUES)
    assert_refused(path, variables, reason="it is not that of epoch 4")
    assert_untouched(variables)


@pytest.mark.parametrize(
    "epoch", [np.nan, np.inf, 3.5, [3], "3"], ids=["nan", "inf", "3.5", "list", "text"]
)
def test_epoch_that_is_no_number_is_refused(path, epoch):
    np.savez(path, **VALUES, epoch=np.asarray(epoch))
    assert_refused(path, zeros(), reason="it is not that of epoch 4")


def test_text_in_place_of_numbers_is_refused(path):
    np.savez(path, **VALUES | {"scalar": np.asarray("0.1")}, epoch=3)
    variables = zeros()
    assert_refused(path, variables, reason="it belongs to another model")
    assert_untouched(variables)


def test_every_error_of_the_readers_is_a_broken_file(path, monkeypatch):
    """A wrong byte may ask for an unknown compression, or for 2**60 numbers."""
    for error in (NotImplementedError, AttributeError, MemoryError, RuntimeError):

        def fail(*args, error=error, **kwargs):
            raise error("a wrong byte")

        with monkeypatch.context() as patch:
            patch.setattr(np, "load", fail)
            with pytest.raises(state_file.BrokenFileError, match="a wrong byte"):
                state_file.read_arrays(path)


def test_broken_bytes_never_raise_and_are_put_aside(path, rng):
    data = path.read_bytes()
    for place in rng.integers(0, len(data), 60):
        broken = bytearray(data)
        broken[place] = rng.integers(0, 256)
        path.write_bytes(broken)
        variables = zeros()
        with warnings.catch_warnings(record=True, action="always"):
            read = state_file.read(path, variables, epoch=3)
        if read is None:
            assert_untouched(variables)
    path.write_bytes(data[:100])
    assert_refused(path, zeros(), reason="It is kept as state.npz.corrupt")
    assert path.with_name("state.npz.corrupt").read_bytes() == data[:100]
    assert not path.exists()


@pytest.mark.parametrize("name", ["replace", "write"])
def test_writing_that_is_cut_off_leaves_the_old_state(path, name, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    where = {"replace": (os, "replace"), "write": (np, "savez")}[name]
    with monkeypatch.context() as patch:
        patch.setattr(*where, fail)
        with pytest.raises(KeyboardInterrupt):
            state_file.write(path, zeros(), epoch=4)
    variables = zeros()
    with warnings.catch_warnings(action="error"):
        assert state_file.read(path, variables, epoch=3) == {}
    np.testing.assert_array_equal(variables["matrix"].numpy(), VALUES["matrix"])

    assert not [*path.parent.glob("*.partial")]
