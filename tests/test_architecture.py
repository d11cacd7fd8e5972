"""The rules of docs/architecture.md, checked on the source of every module."""

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import keras
import keras_tuner
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keras_lr"
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the bottom to the top: a module imports from its own layer or from below.
LAYERS = (
    {
        *("_checks", "_html", "_keras", "_keras_tuner", "_optional", "_repr"),
        *("_sole_writer", "_typing", "_warnings", "rules"),
    },
    {"training"},
    {"callbacks", "optimizers", "plotting", "range_test", "schedules", "tuners"},
    {"comparison"},
    {"__init__", "__main__"},
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
CATCH_ALL_NAMES = {"common", "helpers", "misc", "utils"}
NAMEDTUPLE_METHODS = {"_asdict", "_fields", "_make", "_replace"}


def each(modules):
    return pytest.mark.parametrize(
        "path", modules, ids=lambda path: str(path.relative_to(PACKAGE))
    )


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def part_of(path: Path) -> str:
    """Name the part of the package that a file belongs to: `rules`, `_keras`, ..."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_names(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything a module imports, also within functions."""
    package = ("keras_lr", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join((*base, *filter(None, [node.module])))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def imported_parts(path: Path) -> Iterator[str]:
    """Yield the parts of the package that a module imports."""
    for name in imported_names(path):
        root, *rest = name.split(".")
        if root == "keras_lr":
            yield rest[0] if rest and rest[0] in LEVEL else "__init__"


def is_private(name: str) -> bool:
    return (
        name.startswith("_")
        and not name.startswith("__")
        and name not in NAMEDTUPLE_METHODS
    )


def is_own(owner: ast.AST) -> bool:
    """Return whether an expression is the object itself, or its class."""
    match owner:
        case ast.Name(id="self" | "cls") | ast.Call(func=ast.Name(id="super")):
            return True
    return False


def private_accesses(tree: ast.AST) -> Iterator[tuple[bool, str]]:
    """Yield (whether it is the object's own, name) for each use of a private name."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=owner, attr=name):
                pass
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr"),
                args=[owner, ast.Constant(value=str(name)), *_],
            ):
                pass
            case _:
                continue
        if is_private(name):
            yield is_own(owner), name


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@functools.cache
def private_names_of_keras() -> frozenset[str]:
    bases = (
        keras.Model,
        keras.callbacks.Callback,
        keras.optimizers.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
        keras_tuner.Oracle,
        keras_tuner.Tuner,
    )
    names = {name for base in bases for name in dir(base)}
    names |= set(vars(keras.callbacks.Callback()))
    names |= set(vars(keras.optimizers.SGD()))
    return frozenset(filter(is_private, names))


INTERNALS = {"_keras": "keras", "_keras_tuner": "keras_tuner"}
"""The folders that may touch what a library keeps to itself."""
OUTSIDE = [path for path in MODULES if part_of(path) not in INTERNALS]


@each([path for path in MODULES if part_of(path) in INTERNALS])
def test_internals_of_each_library_have_a_folder_of_their_own(path):
    (other,) = set(INTERNALS.values()) - {INTERNALS[part_of(path)]}
    roots = {name.split(".")[0] for name in imported_names(path)}
    internal = {name for name in imported_names(path) if ".src" in name}
    assert not {name for name in internal if name.split(".")[0] == other}
    assert part_of(path) != "_keras" or "keras_tuner" not in roots


def test_there_are_modules_to_check():
    assert {part_of(path) for path in MODULES} >= {"__init__", "_keras", "rules"}


@each(MODULES)
def test_module_has_a_layer(path):
    assert part_of(path) in LEVEL, "give the new part of the package a layer"


@each(MODULES)
def test_imports_go_one_way(path):
    level = LEVEL[part_of(path)]
    upward = {part for part in imported_parts(path) if LEVEL[part] > level}
    assert upward == set()


@each([path for path in MODULES if part_of(path) == "rules"])
def test_rule_knows_no_model(path):
    """A rule uses `keras.ops` and nothing else of Keras, and no TensorFlow."""
    names = set(imported_names(path))
    of_keras = {name for name in names if name.split(".")[0] == "keras"}
    assert all((name + ".").startswith("keras.ops.") for name in of_keras)
    assert "_keras" not in set(imported_parts(path))
    assert not {name.split(".")[0] for name in names} & {"keras_tuner", "tensorflow"}


@each(OUTSIDE)
def test_only_the_keras_module_imports_internals_of_keras(path):
    internal = {
        name
        for name in imported_names(path)
        if name.startswith(("keras.src", "keras._", "keras_tuner.src"))
    }
    assert internal == set()


@each(OUTSIDE)
def test_only_the_keras_module_uses_private_attributes_of_others(path):
    accesses = set(private_accesses(parse(path)))
    foreign = {name for is_own, name in accesses if not is_own}
    # A copy or another object of the module's own class is no stranger.
    of_module = {name for is_own, name in accesses if is_own}
    assert foreign - (of_module - private_names_of_keras()) == set()


@each(OUTSIDE)
def test_no_class_uses_or_shadows_a_private_attribute_it_inherits(path):
    derived = [
        node
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ClassDef) and node.bases
    ]
    names = {
        name for tree in derived for is_own, name in private_accesses(tree) if is_own
    }
    names |= {function.name for tree in derived for function in functions_of(tree)}
    assert names & private_names_of_keras() == set()


@each([path for path in MODULES if not path.stem.startswith("__")])
def test_module_is_on_the_map(path):
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert re.search(rf"`(\w+/)?{path.stem}(\.py)?`|`{path.stem}\b", page)


@each([path for path in MODULES if path.stem != "_warnings"])
def test_warnings_are_given_by_the_module_that_finds_the_line_of_the_user(path):
    given = [
        node
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in ("warnings.warn", "warnings.warn_explicit")
    ]
    assert given == []


@each(MODULES)
def test_module_is_named_for_what_it_holds(path):
    assert not CATCH_ALL_NAMES & {path.stem.strip("_"), path.parent.name}


@each([p for p in MODULES if part_of(p) == "rules" and p.stem != "__init__"])
def test_rule_has_its_test_file(path):
    test_file = ROOT / "tests" / "rules" / f"test_{path.stem}.py"
    assert test_file.is_file(), f"{test_file.name} is missing"


def classes_of_the_package() -> Iterator[type]:
    names = (
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if path.stem != "__main__"
    )
    for name in names:
        module = importlib.import_module(name)
        yield from (
            each
            for _, each in inspect.getmembers(module, inspect.isclass)
            if each.__module__ == name
        )


@pytest.mark.parametrize(
    "made", [*classes_of_the_package()], ids=lambda each: each.__name__
)
def test_at_most_four_classes_from_the_library_to_the_leaf(made):
    """The library's own class counts as one, however many it has itself."""
    ours = [each for each in made.__mro__ if each.__module__.startswith("keras_lr")]
    is_derived = any(
        each.__module__.split(".")[0] in ("keras", "keras_tuner")
        for each in made.__mro__
    )
    assert len(ours) + is_derived <= 4
