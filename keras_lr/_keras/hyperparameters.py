"""Substitute tensors for the hyperparameters that an optimizer has as floats."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from keras_lr._typing import Tensor


@contextlib.contextmanager
def with_hyperparameters(
    optimizer: keras.optimizers.Optimizer, values: Mapping[str, Tensor]
) -> Iterator[None]:
    """Replace attributes of an optimizer by tensors while a step is traced.

    Args:
        optimizer: Optimizer that has the attributes.
        values: Scalars by the names of the attributes, which hold floats.
    """
    # Plain numbers, even if another replica's thread has put a tensor there.
    plain = {name: float(getattr(optimizer, name)) for name in values}
    # Not by assignment, which Keras would track.
    for name, value in values.items():
        optimizer.__dict__[name] = _TracedFloat(plain[name], value)
    try:
        yield
    finally:
        optimizer.__dict__.update(plain)


def require_float_attribute(
    optimizer: keras.optimizers.Optimizer, name: str, owner: str
) -> float:
    """Return an attribute of an optimizer that is a positive float, or raise.

    Args:
        optimizer: Optimizer that has the attribute.
        name: Name of the attribute.
        owner: Name of the caller, for the message.

    Raises:
        ValueError: If there is no such attribute.
    """
    value = getattr(optimizer, name, None)
    if not isinstance(value, float) or value <= 0.0:
        raise ValueError(
            f"`{owner}` tunes hyperparameters that the optimizer was given as positive "
            f"floats. Received: {name}={value} in {optimizer.name!r}."
        )
    return value


class _TracedFloat(float):
    """A float whose value in arithmetic is a tensor.

    Keras asks whether a momentum is 0 to know which slots there are: the number
    answers that.
    """

    tensor: Tensor

    def __new__(cls, number: float, tensor: Tensor) -> "_TracedFloat":
        self = super().__new__(cls, number)
        self.tensor = tensor
        return self

    def __neg__(self) -> Any:
        return -self.tensor

    @property
    def dtype(self) -> Any:
        return self.tensor.dtype

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> Tensor:
        import tensorflow as tf

        return self.tensor if dtype is None else tf.cast(self.tensor, dtype)


def _tensor_method(name: str) -> Callable[[_TracedFloat, Any], Tensor]:
    def method(self: _TracedFloat, other: Any) -> Tensor:
        dtype = getattr(other, "dtype", self.dtype)
        return getattr(self.__tf_tensor__(dtype), name)(other)

    return method


for _name in ("add", "sub", "mul", "truediv", "pow"):
    for _method in (f"__{_name}__", f"__r{_name}__"):
        setattr(_TracedFloat, _method, _tensor_method(_method))
