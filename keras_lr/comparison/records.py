"""Records of finished runs on disk, from which a comparison continues.

There is one JSON file for each run, written to a temporary name and then renamed, so
that a file is either whole or absent. `comparison.json` says what was compared; records
of another comparison are refused rather than mixed in.
"""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_lr import _warnings
from keras_lr._keras.identity import (
    array_digest,
    given_weights_digest,
    model_digests,
)
from keras_lr._sole_writer import SoleWriter
from keras_lr.comparison.policies import kind_of
from keras_lr.comparison.policy import Policy
from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.runner import Data, RunSettings

_MOST_BYTES = 200
# What each version has noted about a comparison; a file without it is a broken one.
_OF_0_1_0 = {
    *("epochs", "batch_size", "monitor", "mode"),
    *("data", "weights", "loss", "optimizer"),
}
_ONE_WRITER = (
    "Another comparison there trains the same runs: nothing is lost, but all is done "
    "twice. Give each comparison a `directory` of its own, or other policies."
)


class RecordStore:
    """A store that keeps nothing: every run has to be trained."""

    def load(self, policy: Policy, seed: int) -> RunRecord | None:
        """Return the record of a finished run, or `None` if it has to be trained."""
        return None

    def save(self, record: RunRecord) -> None:
        """Keep the record of a run."""


class RecordDirectory(RecordStore):
    """A store that keeps a file for each run.

    Args:
        runs: The directory of the files, which exists.
    """

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._writer = SoleWriter(_ONE_WRITER)

    def load(self, policy: Policy, seed: int) -> RunRecord | None:
        """Return the record of a finished run, or `None` if it has to be trained.

        A run that failed, one of a policy with other arguments, and a file that cannot
        be read or holds something else, have to be trained.
        """
        path = self._path(policy.label, seed)
        self._writer.look_at(path)
        values = _read(path)
        if values is None or values.get("error") is not None:
            return None
        try:
            # 0.1.0 did not write the kind.
            record = RunRecord.from_dict({**values, "kind": kind_of(policy.name)})
        except ValueError:
            return None
        # Without the policy's lines it is that of a policy with other arguments.
        is_of_policy = record.policy == policy.label and policy.code in record.code
        return record if is_of_policy and record.seed == seed else None

    def save(self, record: RunRecord) -> None:
        """Write the record of a run. Warn if another one came meanwhile."""
        path = self._path(record.policy, record.seed)
        with self._writer.writing(path):
            _write(path, record.to_dict())

    def _path(self, label: str, seed: int) -> Path:
        safe = "".join(c if c.isalnum() or c in ".-" else "_" for c in label)[:60]
        # The name of a file may have 255 bytes, and a letter up to four.
        safe = safe.encode()[:_MOST_BYTES].decode(errors="ignore")
        digest = hashlib.sha256(label.encode()).hexdigest()[:8]
        return self._runs / f"{safe}-{digest}-seed{seed}.json"


def open_store(
    directory: str | os.PathLike[str] | None,
    make_fingerprint: Callable[[], Mapping[str, Any]],
) -> RecordStore:
    """Return the store of a comparison, for a new one after its directory is made.

    Args:
        directory: Where to keep the records, or `None` to keep nothing.
        make_fingerprint: Function which returns what identifies the comparison,
            JSON-able.

    Raises:
        ValueError: If the directory holds the records of another comparison.
    """
    if directory is None:
        return RecordStore()
    runs = Path(directory) / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    path = runs / "comparison.json"
    expected = json.loads(json.dumps(make_fingerprint()))
    if path.exists():
        _require_same(directory, _read(path), expected)
    else:
        _write(path, expected)
    return RecordDirectory(runs)


def _require_same(
    directory: str | os.PathLike[str],
    written: Mapping[str, Any] | None,
    expected: Mapping[str, Any],
) -> None:
    """Raise if the records are another comparison's, warn if they may be."""
    is_whole = written is not None and written.keys() >= _OF_0_1_0
    known = expected.keys() & written.keys() if written and is_whole else expected
    keys = [key for key in expected if key in known]
    differing = [key for key in keys if (written or {}).get(key) != expected[key]]
    if differing:
        raise ValueError(
            "`directory` must be new, or hold an interrupted run of this same "
            f"comparison. Received: directory={directory}, whose records differ "
            f"in: {', '.join(differing)}. Choose another directory, or delete it."
        )
    if len(keys) < len(expected):
        unknown = ", ".join(key for key in expected if key not in known)
        _warnings.warn(
            f"The records in {directory} are of an earlier version of keras_lr, which "
            f"did not note: {unknown}. They are used. If one of these has changed, "
            "choose another directory."
        )


def fingerprint(
    model: keras.Model,
    another: keras.Model,
    data: Data,
    settings: RunSettings,
) -> dict[str, Any]:
    """Return what identifies a comparison: settings, data, model and optimizer.

    Args:
        model: A model of the comparison, evaluated once.
        another: One more of them: weights that are not drawn are the same in both.
        data: The data.
        settings: The settings.
    """
    return {
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "monitor": settings.monitor,
        "mode": settings.mode,
        "data": array_digest(*keras.tree.flatten(data)),
        "weights": [list(weight.shape) for weight in model.weights],
        "loss": str(getattr(model.loss, "name", model.loss)),
        "optimizer": _without_names(
            keras.saving.serialize_keras_object(model.optimizer)
        ),
        **model_digests(model),
        "initial weights": given_weights_digest(model, another),
    }


def _without_names(config: Any) -> Any:
    """Return a JSON-able configuration without the names that Keras numbers."""
    if isinstance(config, Mapping):
        return {k: _without_names(v) for k, v in config.items() if k != "name"}
    if isinstance(config, list | tuple):
        return [_without_names(value) for value in config]
    return config if isinstance(config, int | float | None) else str(config)


def _write(path: Path, values: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
    temporary.write_text(json.dumps(values), encoding="utf-8")
    temporary.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    """Return the dictionary in a file, `None` if it is absent or broken."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    # A broken file may be nested without end.
    except (OSError, RecursionError, ValueError):
        return None
    return values if isinstance(values, dict) else None
