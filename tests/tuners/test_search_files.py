"""`search_files`: a file is whole, whoever else writes it."""

import json
import os

import tensorflow as tf

from keras_lr._keras_tuner import search_files


def test_two_processes_write_under_names_of_their_own(tmp_path, monkeypatch):
    """The second one writes while the first one is about to rename its file."""
    path, rename, pid = str(tmp_path / "oracle.json"), tf.io.gfile.rename, os.getpid()

    def rename_late(source, target, overwrite=False):
        if os.getpid() == pid:
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: pid + 1)
                search_files.write_json(path, {"trials": 1})
        rename(source, target, overwrite=overwrite)

    with monkeypatch.context() as patch:
        patch.setattr(tf.io.gfile, "rename", rename_late)
        search_files.write_json(path, {"trials": 2})
    assert json.loads((tmp_path / "oracle.json").read_text()) == {"trials": 2}
    assert [each.name for each in tmp_path.iterdir()] == ["oracle.json"]
