"""The trainings of the Zooming paper: a student of a teacher, and ResNet20."""

import argparse
import functools
import math
from typing import NamedTuple

import keras
import numpy as np
from images import data as image_data
from images.batches import EpochBatches, crop_and_flip
from images.fit import compile_model, fit
from images.networks import NETWORKS

from keras_lr.rules.loss_signal import loss_signal

load = functools.cache(image_data.load)


class Training(NamedTuple):
    """What identifies a row of the CSV."""

    task: str
    searcher: str
    trial: int
    learning_rate: str
    seed: int
    scale: str
    data: str


class Outcome(NamedTuple):
    """What came of a training: its score and its signal, see `Pull`."""

    score: float
    signal: int


def teacher_data(activation: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs from a normal distribution, and a teacher's outputs."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 10)).astype("float32")
    keras.utils.set_random_seed(0)
    teacher = student(activation)
    return x, keras.ops.convert_to_numpy(teacher(x))


def student(activation: str) -> keras.Model:
    """Return a network with one hidden layer."""
    hidden = keras.layers.Dense(50, activation)
    return keras.Sequential([keras.Input((10,)), hidden, keras.layers.Dense(1)])


def training_seed(training: Training) -> int:
    """Return another one for each training of a search, the same for all searchers."""
    return 1000 * training.seed + training.trial


def train_student(
    activation: str, rate: float, training: Training, options: argparse.Namespace
) -> Outcome:
    """Return the mean squared error after full-batch gradient descent."""
    is_small = options.scale == "small"
    x, y = teacher_data(activation, 500 if is_small else 10_000)
    keras.utils.set_random_seed(1 + training_seed(training))
    model = student(activation)
    model.compile(keras.optimizers.SGD(rate), loss="mse")
    losses = model.fit(
        x,
        y,
        batch_size=len(x),
        epochs=20 if is_small else 100,
        shuffle=False,
        verbose=0,
    ).history["loss"]
    # A searcher needs a finite score: twice that of a constant answer at most.
    worst = 2 * float(np.var(y))
    last = losses[-1] if math.isfinite(losses[-1]) else worst
    return Outcome(min(last, worst), loss_signal(losses[0], losses[-1]))


def train_resnet20(
    dataset: str, rate: float, training: Training, options: argparse.Namespace
) -> Outcome:
    """Return the accuracy on the test images after the last epoch."""
    is_small = options.scale == "small"
    images = load(dataset, options.data, is_small=is_small)
    batch_size, epochs = (16, 2) if is_small else (128, 200)
    seed = training_seed(training)
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    build = NETWORKS[options.scale]["resnet20"]
    model = build(images.classes, weight_decay=1e-4)
    compile_model(model, keras.optimizers.SGD(rate, momentum=0.9))
    place = options.backup_dir / "_".join(map(str, training)).replace(" ", "-")
    logs = fit(
        model,
        EpochBatches(
            images, images.train, batch_size, seed=seed, augment=crop_and_flip
        ),
        images.arrays(images.test),
        [],
        epochs=epochs,
        backup_dir=place,
        verbose=0 if is_small or options.quiet else 2,
    )
    signal = loss_signal(math.log(images.classes), logs[-1]["cross_entropy"])
    return Outcome(logs[-1]["val_accuracy"], signal)
