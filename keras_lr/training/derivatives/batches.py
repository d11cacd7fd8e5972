"""Batches: any structure of tensors or arrays, in which `None` stands for nothing."""

from collections.abc import Callable
from typing import Any

from keras import tree


def leaves(batch: Any) -> list[Any]:
    """Return the tensors of a batch."""
    return [each for each in tree.flatten(batch) if each is not None]


def map_leaves(function: Callable[..., Any], *batches: Any) -> Any:
    """Apply a function to the tensors at each place of the batches."""
    return tree.map_structure(
        lambda *each: None if each[0] is None else function(*each), *batches
    )
