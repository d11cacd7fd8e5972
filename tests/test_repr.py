"""What an object shows of how it was made."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lr
from keras_lr._repr import constructor_call
from keras_lr.comparison import Policy

X, Y = np.zeros((797, 64), "float32"), np.zeros(797)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (keras_lr.MARTHE(), "MARTHE()"),
        # In the constructor's order, not in that of the call.
        (
            keras_lr.MARTHE(verbose=1, discount=0.9),
            "MARTHE(discount=0.9, verbose=1)",
        ),
        (
            keras_lr.RTHO((X, Y), anneal=0.0),
            "RTHO(validation_data=(<ndarray (797, 64)>, <ndarray (797,)>), anneal=0.0)",
        ),
        (
            keras_lr.HypergradientDescent({"images": X}, every=np.int64(2)),
            "HypergradientDescent(validation_data={'images': <ndarray (797, 64)>}, "
            "every=2)",
        ),
        (
            keras_lr.LearningRateWalk(
                1.01,
                hyperparameters=["momentum", "learning_rate"],
                backup_dir=Path("state"),
            ),
            "LearningRateWalk(factor=1.01, hyperparameters=('learning_rate', "
            "'momentum'), backup_dir='state')",
        ),
        (
            keras_lr.LipschitzLR(
                bound="strict",
                layer=keras.layers.Dense(3, name="logits"),
                tikhonov=np.eye(3),
            ),
            "LipschitzLR(bound='strict', layer=<Dense logits>, "
            "tikhonov=<ndarray (3, 3)>)",
        ),
        (keras_lr.LearningRateRecorder(), "LearningRateRecorder()"),
        (keras_lr.LearningRateRecorder("batch"), "LearningRateRecorder(every='batch')"),
        (
            Policy("constant", learning_rate=0.1),
            "Policy(name='constant', learning_rate=0.1)",
        ),
        (
            Policy("mine", schedule=keras.optimizers.schedules.CosineDecay, search=max),
            "Policy(name='mine', schedule=<CosineDecay>, search=<max>)",
        ),
        (
            Policy("ours", callbacks=lambda: []),
            "Policy(name='ours', callbacks=<lambda>)",
        ),
    ],
    ids=str,
)
def test_what_differs_from_the_defaults_is_shown(made, expected):
    assert repr(made) == expected


def test_data_set_is_shown_by_its_class():
    data = tf.data.Dataset.range(4)
    expected = f"MARTHE(validation_data=<{type(data).__name__}>)"
    assert repr(keras_lr.MARTHE(data)) == expected


def test_lists_of_numbers_and_long_texts_are_cut():
    shown = repr(keras_lr.MARTHE((X.tolist(), Y.tolist()), backup_dir="x" * 1000))
    assert len(shown) < 200
    assert "[0.0, 0.0, 0.0, 0.0, ...]" in shown


class OfUser(keras_lr.MARTHE):
    """Sets an argument itself, and has one that is stored under another name."""

    def __init__(self, strength=2.0, *, title="", **kwargs):
        super().__init__(every=3, **kwargs)
        self.strength, self._title = strength, title


def test_arguments_that_a_class_passes_on_are_shown():
    made = OfUser(3.0, title="a title", anneal=0.25)
    assert constructor_call(made) == "OfUser(strength=3.0, anneal=0.25, every=3)"
