"""What the installed package promises: names, version, types, a light import."""

import ast
import configparser
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keras_lr
from keras_lr import comparison

ROOT = Path(__file__).parents[1]
HEAVY = ("keras_tuner", "matplotlib", "mlxtend", "pandas", "rich", "sklearn")


def modules_imported_after(first: str, second: str) -> set[str]:
    """Top-level modules that a second statement loads, in a fresh interpreter."""
    code = f"""import sys
{first}
before = {{*sys.modules}}
{second}
print(*{{name.split('.')[0] for name in {{*sys.modules}} - before}})
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return set(run.stdout.split())


def test_import_loads_no_optional_package_that_keras_does_not():
    extra = modules_imported_after("import keras", "import keras_lr")
    assert "keras_lr" in extra
    assert extra.isdisjoint(HEAVY)


def test_public_names_are_complete():  # Ruff sorts them, abbreviations first.
    init = ast.parse(Path(keras_lr.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in init.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert len(set(keras_lr.__all__)) == len(keras_lr.__all__)
    assert imported <= set(keras_lr.__all__)


def test_dir_has_the_public_names_and_the_folders_as_in_keras():
    names = set(dir(keras_lr))
    folders = {"callbacks", "comparison", "optimizers", "schedules", "tuners"}
    assert names == {*keras_lr.__all__, *folders, "__version__"}
    assert all(hasattr(keras_lr, name) for name in names)


def api_page_has(name: str) -> bool:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    return f":: {name}\n" in page


@pytest.mark.parametrize("name", keras_lr.__all__)
def test_public_name_is_importable_and_in_the_api_page(name):
    assert hasattr(keras_lr, name)
    assert api_page_has(f"keras_lr.{name}")


@pytest.mark.parametrize("name", comparison.__all__)
def test_name_of_the_comparison_is_in_the_api_page(name):
    top = "keras_lr" if name in keras_lr.__all__ else "keras_lr.comparison"
    assert api_page_has(f"{top}.{name}")


@pytest.mark.parametrize("name", keras_lr.__all__)
def test_public_name_has_a_docstring(name):
    assert getattr(keras_lr, name).__doc__


def test_version_is_the_one_of_the_metadata():
    assert importlib.metadata.version("keras_lr") == keras_lr.__version__


def test_citation_gives_the_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {keras_lr.__version__}\n" in citation


def test_py_typed_ships():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["options.package_data"]["keras_lr"] == "py.typed"
    assert (ROOT / "keras_lr" / "py.typed").is_file()


def test_lowest_environment_pins_the_lower_bounds():
    """The versions of setup.cfg are exactly the ones `tox -e lowest` installs."""
    setup, tox = configparser.ConfigParser(), configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    tox.read(ROOT / "tox.ini")
    extras = setup["options.extras_require"]
    stated = setup["options"]["install_requires"] + extras["examples"]
    bounds = dict(re.findall(r"^([\w-]+)>=([\d.]+)$", stated, flags=re.MULTILINE))
    pins = dict(re.findall(r"([\w-]+)==([\d.]+)", tox["testenv:lowest"]["deps"]))
    assert pins == bounds
