# As for Keras. The type check then needs no TensorFlow installed.
from typing import Any

def __getattr__(name: str) -> Any: ...
