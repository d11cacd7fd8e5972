# KerasTuner is not installed where types are checked, and ships none.
from typing import Any

def __getattr__(name: str) -> Any: ...
