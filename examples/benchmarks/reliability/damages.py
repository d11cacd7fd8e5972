"""Ways to damage a state file: each returns other bytes than those that it gets."""

import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

NUMBERS = (float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 1e30, -1e30, 1e-30)
"""Numbers that a learning rate, a loss or a count cannot be, and some that it can."""
OTHERS: tuple[Any, ...] = (None, True, "", "text", [], {}, [[1.0]], {"a": 1}, 7, -3)
Damage = Callable[[bytes, random.Random], bytes]


def cut(content: bytes, draw: random.Random) -> bytes:
    """Return the first part of a file."""
    return content[: draw.randrange(max(len(content), 1))]


def emptied(content: bytes, draw: random.Random) -> bytes:
    """Return nothing."""
    return b""


def flipped(content: bytes, draw: random.Random) -> bytes:
    """Return a file with one to eight other bytes."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 8))):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def zeroed(content: bytes, draw: random.Random) -> bytes:
    """Return a file with a block of zeros, as a file system leaves after a crash."""
    start = draw.randrange(len(content))
    length = draw.randrange(1, 4096)
    return (
        content[:start]
        + bytes(len(content[start : start + length]))
        + (content[start + length :])
    )


def foreign(content: bytes, draw: random.Random) -> bytes:
    """Return what some other program writes."""
    others: Sequence[bytes] = (
        b"\x89PNG\r\n\x1a\n" + draw.randbytes(64),
        draw.randbytes(len(content)),
        b"epoch,loss\n0,1.5\n",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b"12",
        "é".encode("latin-1") * 9,
        b"[" * 100_000,
        _zipped({}),
        _zipped({"arr_0": np.zeros(3)}),
        _saved(np.zeros((2, 2))),
    )
    return draw.choice(others)


def another_value(content: bytes, draw: random.Random) -> bytes:
    """Return a whole file of the same form, in which a stored number is another one."""
    return _with(content, draw, lambda old: draw.choice(NUMBERS), only_numbers=True)


def another_kind(content: bytes, draw: random.Random) -> bytes:
    """Return a whole file in which some value is of another kind, or is missing."""
    return _with(content, draw, lambda old: draw.choice((*OTHERS, _MISSING)))


def giant(content: bytes, draw: random.Random) -> bytes:
    """Return a file that says it holds more than there is memory."""
    many = draw.choice((10**9, 10**12, 2**62, 10**30))
    if not _is_archive(content):
        return _with(content, draw, lambda old: many)
    names = list(_arrays(content))
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({many},), }}"
    line = header.encode().ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line
    return _zipped(_arrays(content), {draw.choice(names): array})


DAMAGES: dict[str, Damage] = {
    each.__name__.replace("_", " "): each
    for each in (
        *(cut, emptied, flipped, zeroed, foreign),
        *(another_value, another_kind, giant),
    )
}

_MISSING: Any = object()


def _with(
    content: bytes,
    draw: random.Random,
    change: Callable[[Any], Any],
    *,
    only_numbers: bool = False,
) -> bytes:
    """Return a file with another value in one place."""
    if not _is_archive(content):
        text = content.decode()
        return _changed_text(text, draw, change, only_numbers).encode()
    arrays = _arrays(content)
    name = draw.choice([*arrays])
    array, value = arrays[name], None
    if array.dtype.kind == "U":
        changed = _changed_text(str(array), draw, change, only_numbers)
        return _zipped(arrays | {name: np.asarray(changed)})
    value = change(array)
    if value is _MISSING:
        return _zipped({key: x for key, x in arrays.items() if key != name})
    if only_numbers:
        changed = np.array(array, dtype="float64" if array.dtype.kind != "f" else None)
        if changed.size and (changed.ndim == 0 or draw.random() < 0.5):
            changed.reshape(-1)[draw.randrange(changed.size)] = value
        else:
            changed[...] = value
        return _zipped(arrays | {name: changed})
    return _zipped(arrays | {name: _as_array(value)})


def _as_array(value: Any) -> np.ndarray:
    array = np.asarray(value)
    # What NumPy cannot store without pickling it.
    return np.asarray(repr(value)) if array.dtype.kind == "O" else array


def _changed_text(
    text: str, draw: random.Random, change: Callable[[Any], Any], only_numbers: bool
) -> str:
    tree = json.loads(text)
    places = list(_places(tree, only_numbers))
    if not places:
        return json.dumps(change(tree) if only_numbers else None)
    holder, key = draw.choice(places)
    value = change(holder[key])
    if value is _MISSING:
        del holder[key]
    else:
        holder[key] = value
    return json.dumps(tree)


def _places(tree: Any, only_numbers: bool) -> Any:
    """Yield each place in a tree, as the object that holds it and the key."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(items):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number or not only_numbers:
            yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value, only_numbers)


def _is_archive(content: bytes) -> bool:
    return content.startswith(b"PK")


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content)) as archive:
        return dict(archive)


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _zipped(
    arrays: dict[str, np.ndarray], raw: Mapping[str, bytes] = MappingProxyType({})
) -> bytes:
    """Return an archive of arrays, some of which are given as the bytes of a file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", raw.get(name) or _saved(array))
    return file.getvalue()
