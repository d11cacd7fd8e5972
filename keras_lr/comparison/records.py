"""Records of finished runs on disk, from which a comparison goes on.

One JSON file a run, written to a temporary name and then renamed, so that a file is
either whole or absent. `comparison.json` says what was compared; records of another
comparison are refused rather than mixed in.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_lr.comparison.runner import Data, RunRecord, RunSettings


class RecordStore:
    """Finished runs of one comparison, in memory and perhaps in a directory.

    Args:
        directory: Where to keep the records, or `None` to keep nothing on disk.
        fingerprint: What identifies the comparison, JSON-able.
    """

    def __init__(
        self, directory: str | os.PathLike[str] | None, fingerprint: Mapping[str, Any]
    ) -> None:
        self._runs = None if directory is None else Path(directory) / "runs"
        if self._runs is None:
            return
        self._runs.mkdir(parents=True, exist_ok=True)
        path = self._runs / "comparison.json"
        expected = json.loads(json.dumps(fingerprint))
        if not path.exists():
            _write(path, expected)
            return
        found = _read(path)
        if found != expected:
            keys = [key for key in expected if (found or {}).get(key) != expected[key]]
            raise ValueError(
                "`directory` must be new, or hold an interrupted run of this same "
                f"comparison. Received: directory={directory}, whose records differ "
                f"in: {', '.join(keys)}. Choose another directory, or delete it."
            )

    def load(self, policy: str, seed: int) -> RunRecord | None:
        """Return the record of a finished run, or `None` if it has to be run.

        A run that failed, and a file that cannot be read, have to be run.
        """
        if self._runs is None:
            return None
        values = _read(self._path(policy, seed))
        if values is None or values.get("error") is not None:
            return None
        try:
            return RunRecord(**values)
        except TypeError:
            return None

    def save(self, record: RunRecord) -> None:
        """Keep the record of a finished run."""
        if self._runs is not None:
            _write(self._path(record.policy, record.seed), record.to_dict())

    def _path(self, policy: str, seed: int) -> Path:
        safe = "".join(c if c.isalnum() or c in ".-" else "_" for c in policy)
        digest = hashlib.sha256(policy.encode()).hexdigest()[:8]
        return Path(str(self._runs)) / f"{safe[:60]}-{digest}-seed{seed}.json"


def fingerprint(
    model: keras.Model, data: Data, settings: RunSettings
) -> dict[str, Any]:
    """Return what a comparison is made of: settings, data, model and optimizer."""
    digest = hashlib.sha256()
    for leaf in keras.tree.flatten(data):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    return {
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "monitor": settings.monitor,
        "mode": settings.mode,
        "data": digest.hexdigest(),
        "weights": [list(weight.shape) for weight in model.weights],
        "loss": str(getattr(model.loss, "name", model.loss)),
        "optimizer": _without_names(
            keras.saving.serialize_keras_object(model.optimizer)
        ),
    }


def _without_names(config: Any) -> Any:
    """Return a JSON-able configuration without the names that Keras numbers."""
    if isinstance(config, Mapping):
        kept = {key: value for key, value in config.items() if key != "name"}
        return {key: _without_names(value) for key, value in kept.items()}
    if isinstance(config, list | tuple):
        return [_without_names(value) for value in config]
    return config if isinstance(config, int | float | None) else str(config)


def _write(path: Path, values: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(values), encoding="utf-8")
    temporary.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    """Return the dictionary in a file, `None` if it is absent or broken."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
