"""`state_file`: all of the state comes back, or none of it and a warning."""

import os
import pickle
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
    assert [each.name for each in path.parent.iterdir()] == ["state.npz"]
    assert state_file.read(path, zeros(), epoch=4) == {}


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


def test_what_a_writing_left_that_was_cut_off_does_not_disturb_the_next(path):
    path.with_suffix(".partial").write_bytes(b"half of a state")
    state_file.write(path, variables_of(VALUES), epoch=4)
    assert state_file.read(path, zeros(), epoch=4) == {}
    assert not path.with_suffix(".partial").exists()
