import sys

import numpy as np
import pytest

from keras_lr.comparison.own_model import load_model_function
from tests.comparison import linear_problem as problem

SOURCE = """
import keras
from tests.comparison import linear_problem as problem

build = problem.build_model

def needs(width):
    return build()

def forgets():
    build()

def raw():
    return keras.Sequential([keras.layers.Dense(1)])

def fails():
    raise KeyError("width")

def scheduled():
    return build(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 3)))

number = 3
model = build()
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """Be in a directory of a module, which is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("my_model", "broken", "needy"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "my_model.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("x = (")
    (tmp_path / "needy.py").write_text("import nothing_of_this_name")
    yield
    for name in ("my_model", "broken", "needy"):
        sys.modules.pop(name, None)


def test_function_of_a_file_in_the_current_directory_is_returned():
    function = load_model_function("my_model:build", problem.DATA)
    assert function is problem.build_model


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_model", "must be `module:function`.*Received: my_model$"),
        ("my_model:", "must be `module:function`"),
        ("none_such:build", "There is no module none_such, neither in the current"),
        ("my_model.part:build", r"There is no module my_model\.part, "),
        ("broken:build", "module broken cannot be imported: SyntaxError"),
        ("needy:build", "needy cannot be imported: ModuleNotFoundError.*nothing_of_"),
        ("my_model:biuld", "the module my_model has no 'biuld'"),
        ("my_model:number", "must name a function .* of type int"),
        ("my_model:model", "must name a function .* of type Sequential"),
        ("my_model:needs", r"without arguments. Received: my_model:needs\(width\)"),
        ("my_model:forgets", "`my_model:forgets` must return a `keras.Model`.*None"),
        ("my_model:raw", "`my_model:raw` must return a compiled model"),
        ("my_model:fails", "`my_model:fails` failed: KeyError: 'width'"),
        ("my_model:scheduled", "`my_model:scheduled` must compile.*a schedule"),
    ],
)
def test_name_that_is_of_no_use_is_refused_with_the_reason(name, message):
    with pytest.raises(ValueError, match=message):
        load_model_function(name, problem.DATA)


def test_model_that_does_not_fit_the_data_is_refused_with_their_shapes():
    wide = np.ones((6, 4), "float32")
    data = (problem.DATA[0], (wide, problem.X[:6]))
    message = r"inputs of shape \(6, 4\), float32, and targets of shape \(6, 1\)"
    with pytest.raises(ValueError, match=rf"{message}.* but received input") as raised:
        load_model_function("my_model:build", data)
    assert "Arguments received" not in str(raised.value)
