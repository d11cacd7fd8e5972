# Keras ships no types, and those inferred from its source are wrong where a default
# value stands for several types (`verbose="auto"`). This stub makes it `Any`.
from typing import Any

def __getattr__(name: str) -> Any: ...
