"""What the documentation promises: pages that are linked, code that runs."""

import ast
import math
import re
import statistics
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_lr

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if p.relative_to(DOCS).parts[0][0] != "_")
METHOD_PAGES = sorted((DOCS / "methods").glob("*.md"))
README = ROOT / "README.md"


def name_of(path):
    return str(path.relative_to(ROOT))


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=name_of)


def read(path):
    return path.read_text(encoding="utf-8")


def code_blocks(path):
    return re.findall(r"^```python\n(.*?)^```$", read(path), flags=re.M | re.S)


def test_there_are_pages_and_blocks_to_check():
    assert len(METHOD_PAGES) >= 8
    assert sum(len(code_blocks(page)) for page in PAGES) >= 20


@each([page for page in PAGES if page.name != "index.md"])
def test_page_is_in_the_table_of_contents(path):
    groups = re.findall(
        r"^```{toctree}\n(.*?)^```$", read(DOCS / "index.md"), re.M | re.S
    )
    entry = str(path.relative_to(DOCS).with_suffix(""))
    assert sum(entry in group.splitlines() for group in groups) == 1


@each(METHOD_PAGES)
@pytest.mark.parametrize("place", [README, DOCS / "which_method.md"], ids=name_of)
def test_method_is_in_the_tables_of_methods(path, place):
    folder = path.relative_to(place.parent)
    rows = [line for line in read(place).splitlines() if line.startswith("|")]
    assert any(f"({folder})" in row or f"({folder}#" in row for row in rows)


@each([README, *PAGES])
def test_code_is_python_and_its_names_of_ours_exist(path):
    for block in code_blocks(path):
        for node in ast.walk(ast.parse(block)):
            match node:
                case ast.Attribute(value=ast.Name(id="keras_lr"), attr=name):
                    assert hasattr(keras_lr, name)
                case ast.ImportFrom(module="keras_lr", names=names):
                    assert all(hasattr(keras_lr, alias.name) for alias in names)


def run(blocks):
    """Run blocks one after the other, as a reader would, and return their names."""
    names = {}
    for block in blocks:
        exec(compile(block, "a page", "exec"), names)
    return names


def takes_long(block):
    """Whether a block of the quickstart trains many times."""
    return "compare_policies" in block or "for name, optimizer in" in block


# The index has the README's code.
@pytest.mark.parametrize(
    ("page", "seeds"),
    [
        (README, 1),
        pytest.param(README, 3, marks=pytest.mark.slow),
        pytest.param(DOCS / "index.md", 1, marks=pytest.mark.slow),
        pytest.param(DOCS / "index.md", 3, marks=pytest.mark.slow),
    ],
)
def test_first_page_trains_a_good_model(page, seeds):
    accuracies = []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        model = run(code_blocks(page))["model"]
        accuracies.append(model.history.history["accuracy"][-1])
    # 1.000 in four trainings with other seeds.
    assert statistics.median(accuracies) > 0.98


def test_quickstart_runs():
    blocks = code_blocks(DOCS / "quickstart.md")
    names = run(block for block in blocks if not takes_long(block))
    first, second = (
        names[name].evaluate(names["x_test"], names["y_test"], verbose=0)[1]
        for name in ("plain", "ours")
    )
    # 0.78 to 0.82, and 0.97 to 0.98, in three trainings.
    assert first < 0.9 < second
    effective = names["history"].history["effective_learning_rate"]
    assert names["ax"].get_lines()[0].get_ydata().tolist() == effective
    assert names["learning_rate"] > 0


def own_names():
    """Return what a page takes for granted: a reader's own model and data."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 5)).astype("float32")
    y = (x[:, 0] > 0).astype("int32") + (x[:, 1] > 0)

    def build_model():
        layers = [keras.layers.Dense(4, "relu"), keras.layers.Dense(3, "softmax")]
        model = keras.Sequential([keras.Input((5,)), *layers])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    return {
        **{"keras": keras, "keras_lr": keras_lr, "np": np, "math": math},
        **{"x": x, "y": y, "epochs": 2, "batch_size": 8},
        **{"x_train": x[:24], "y_train": y[:24]},
        **{"x_validation": x[24:], "y_validation": y[24:]},
        **{"model": build_model(), "build_model": build_model},
    }


TESTED_BELOW = {"README.md", "index.md", "quickstart.md", "find_learning_rate.md"}
BLOCKS = [page for page in PAGES if code_blocks(page) and page.name not in TESTED_BELOW]


SEARCHES = ("zooming.md", "lrs_opt.md")
"""Pages whose code trains dozens of times."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(page, marks=pytest.mark.slow if page.name in SEARCHES else ())
        for page in BLOCKS
    ],
    ids=name_of,
)
# They are pasted one after the other, with some rows and no figure to close.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:More than 20 figures")
def test_blocks_of_a_page_run_as_they_stand(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = own_names()
    names["model"].save("best.keras")
    for block in code_blocks(path):
        exec(compile(block, name_of(path), "exec"), names)


@pytest.mark.filterwarnings("ignore:The .* rate that may be tried")
def test_page_of_find_learning_rate_runs():
    names = run(code_blocks(DOCS / "find_learning_rate.md"))
    losses = names["history"].history["loss"]
    assert losses[-1] < losses[0]


def test_batches_of_a_data_set_are_new_in_each_epoch(capsys):
    """The page says of arrays, and of a data set, what they do."""
    blocks = code_blocks(DOCS / "troubleshooting.md")
    (of_arrays,) = (block for block in blocks if "set_random_seed" in block)
    (of_a_data_set,) = (block for block in blocks if "shuffle(" in block)
    run([of_arrays])
    first, second, third = printed_epochs(capsys)
    assert first == second == third
    orders = []
    for _ in range(2):
        names = run([of_arrays])
        capsys.readouterr()
        exec(of_a_data_set, names)
        orders.append(printed_epochs(capsys))
    assert len(set(orders[0])) == 3
    assert orders[0] == orders[1]


def printed_epochs(capsys):
    """Return the rows of each of three epochs of two batches, as they were printed."""
    rows = re.findall(r"(\d)\.", capsys.readouterr().out)
    epochs = [tuple(rows[start : start + 8]) for start in range(0, len(rows), 8)]
    assert [sorted(epoch) for epoch in epochs] == [[*"01234567"]] * 3
    return epochs


@pytest.mark.slow
def test_quickstart_compares(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = code_blocks(DOCS / "quickstart.md")
    names = run([blocks[0], *filter(takes_long, blocks)])
    assert len(names["result"].table) == 13
    assert (tmp_path / "comparison" / "report.html").is_file()
    assert (tmp_path / "rates.csv").read_text().startswith("batch,learning_rate,")
