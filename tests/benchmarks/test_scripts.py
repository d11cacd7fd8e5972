"""Every script is where the documentation says, and starts."""

import os
import re
import subprocess
import sys

import pytest

from tests.example_scripts import EXAMPLES, scripts_of

ROOT = EXAMPLES.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
MODULES = sorted(
    path.relative_to(EXAMPLES)
    for folder in ("benchmarks", "papers")
    for path in (EXAMPLES / folder).rglob("*.py")
)
WITHOUT_COMMAND_LINE = ("make_page.py",)
SCRIPTS = [
    path
    for path in MODULES
    if '__name__ == "__main__"' in (EXAMPLES / path).read_text(encoding="utf-8")
]
PEERS = ("dadaptation", "efficient_polling_lr_scheduler", "hyperopt", "optuna", "torch")


def mentioned(text):
    """Return the paths of scripts that a text names."""
    return set(re.findall(r"examples/[\w/]+\.py", text))


def place_of(path):
    """Return the folder that Python looks in for a module, and its name there."""
    folder = path.parent
    while (EXAMPLES / folder / "__init__.py").exists():
        folder = folder.parent
    return str(folder), ".".join(path.relative_to(folder).with_suffix("").parts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_scripts_that_a_page_names_are_there(page):
    paths = mentioned(page.read_text(encoding="utf-8"))
    assert {path for path in paths if not (ROOT / path).is_file()} == set()


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_scripts_that_a_script_names_are_there(path):
    paths = mentioned((EXAMPLES / path).read_text(encoding="utf-8"))
    assert {each for each in paths if not (ROOT / each).is_file()} == set()


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_script_can_be_imported_from_its_folder(path):
    folder, name = place_of(path)
    with scripts_of(folder) as scripts:
        try:
            scripts(name)
        except ModuleNotFoundError as error:
            if error.name not in PEERS:
                raise
            pytest.skip(f"{error.name} is not installed")


@pytest.mark.slow  # A process for each.
@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_script_says_what_it_takes(path):
    if path.name in WITHOUT_COMMAND_LINE:
        pytest.skip("It takes no arguments.")
    if path.parent.name == "peers":
        pytest.importorskip("torch")
    shown = subprocess.run(
        [sys.executable, EXAMPLES / path, "--help"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"usage: {path.name}")
