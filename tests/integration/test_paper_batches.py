"""The batches that the papers' own experiments train on."""

import argparse

import keras
import numpy as np
import pytest

ROWS, BATCH, EPOCHS = 12, 4, 3


@pytest.fixture
def fits(monkeypatch):
    """The numbers of the rows in each batch of each training, in their order."""
    fits = []
    train_step, compile_model = keras.Model.train_step, keras.Model.compile

    def noted(model, data):
        if model.optimizer.iterations == 0:
            fits.append([])
        first = np.reshape(data[0], (len(data[0]), -1))[:, 0]
        fits[-1].append(np.round(first * ROWS).astype(int).tolist())
        return train_step(model, data)

    def eager(model, *args, **kwargs):
        kwargs |= {"run_eagerly": True, "jit_compile": False}
        compile_model(model, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "train_step", noted)
    monkeypatch.setattr(keras.Model, "compile", eager)
    return fits


def rows(*shape):
    """Rows of which each holds its number, and their labels."""
    x = np.zeros((ROWS, *shape), "float32")
    x.reshape(ROWS, -1)[:, 0] = np.arange(ROWS) / ROWS
    return x, np.arange(ROWS, dtype="int32") % 10


def epochs_of(fit):
    """Return the rows of each epoch, in their order."""
    assert [*map(len, fit)] == [BATCH] * (EPOCHS * ROWS // BATCH)
    epochs = [tuple(epoch) for epoch in np.reshape(fit, (EPOCHS, ROWS)).tolist()]
    assert all(sorted(epoch) == [*range(ROWS)] for epoch in epochs)
    return epochs


def network(learning_rate=0.01):
    """A small network in the place of section 5's."""
    layers = [keras.Input((784,)), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential(layers)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(learning_rate), loss, metrics=["accuracy"])
    return model


@pytest.fixture
def section5(scripts, monkeypatch):
    """Section 5 with few rows, few steps and a small network."""
    section5 = scripts("section5")
    monkeypatch.setattr(section5, "load", lambda *_: (rows(784), rows(784)))
    monkeypatch.setattr(section5, "build_model", network)
    monkeypatch.setattr(section5, "BATCH_SIZE", BATCH)
    monkeypatch.setattr(section5, "STEPS", EPOCHS * ROWS // BATCH)
    return section5


@pytest.mark.usefixtures("section5")
@pytest.mark.slow
def test_section_5_has_new_batches_in_each_epoch(scripts, fits, monkeypatch):
    online = scripts("marthe_section5")
    # Keras's epochs are not those of the data here.
    monkeypatch.setattr(online, "INTERVAL", 1)
    for policy, seed in (("constant", 0), ("HD", 0), ("MARTHE()", 0), ("constant", 1)):
        online.execute(online.Run(policy, "0.01", "1e-5", seed, "few"), "few")
    first, *others, of_other_seed = fits
    assert len(set(epochs_of(first))) == EPOCHS
    assert others == [first, first]
    assert len(set(epochs_of(of_other_seed))) == EPOCHS
    assert of_other_seed != first


@pytest.mark.usefixtures("section5")
def test_schedule_and_constants_are_judged_on_the_same_new_batches(scripts, fits):
    offline = scripts("lrs_opt_section5")
    options = argparse.Namespace(data="few", split=0)
    for rate, batches in ((0.1, 0), (0.2, 0), (0.1, 1)):
        offline.accuracy(rate, 0, batches, options)
    assert len(set(epochs_of(fits[0]))) == EPOCHS
    assert fits[0] == fits[1] != fits[2]


@pytest.mark.slow
def test_walk_has_the_batches_of_its_source(scripts, fits, monkeypatch):
    """Those of the rows in order, in each epoch: the source's are not shuffled."""
    walk = scripts("walk_mnist")
    monkeypatch.setattr(walk, "load", lambda _: (rows(784), rows(784)))
    monkeypatch.setattr(walk, "BATCH_SIZE", BATCH)
    monkeypatch.setattr(walk, "EPOCHS", EPOCHS)
    walk.batches.cache_clear()
    for policy in walk.POLICIES:
        walk.execute(walk.Run(policy, "0.001", 0, "few"), "few")
    walk.batches.cache_clear()
    assert len(fits) == 4
    for fit in fits:
        assert epochs_of(fit) == [tuple(range(ROWS))] * EPOCHS


@pytest.mark.slow
def test_student_of_a_teacher_has_whole_batches(scripts, fits, monkeypatch):
    tasks = scripts("zooming_tasks")
    x, y = rows(10)
    monkeypatch.setattr(tasks, "teacher_data", lambda *_: (x, y[:, None]))
    training = tasks.Training("teacher_relu", "", 0, "", 0, "small", "teacher")
    options = argparse.Namespace(scale="small")
    tasks.train_student("relu", 0.01, training, options)
    assert fits == [[[*range(ROWS)]] * 20]


@pytest.mark.slow
def test_resnet20_has_new_batches_in_each_epoch(scripts, fits, monkeypatch, tmp_path):
    tasks, image_data = scripts("zooming_tasks"), scripts("images.data")
    x, y = rows(6, 6, 1)
    zero, one = np.zeros(1, "float32"), np.ones(1, "float32")
    pixels = np.round(x * 255).astype("uint8")
    images = image_data.Images("few", (pixels, y), (pixels, y), zero, one)
    monkeypatch.setattr(tasks, "load", lambda *_, **__: images)
    monkeypatch.setattr(tasks, "crop_and_flip", lambda images, seed: images)
    monkeypatch.setattr(tasks, "NETWORKS", {"small": {"resnet20": small_network}})
    options = argparse.Namespace(scale="small", data=None, backup_dir=tmp_path)
    for searcher, trial in (("a", 0), ("b", 0), ("a", 1)):
        training = tasks.Training("resnet20", searcher, trial, "", 0, "small", "few")
        tasks.train_resnet20("few", 0.01, training, options)
    first, second = fits[0]
    assert sorted(first) == sorted(second) == [*range(ROWS)]
    assert first != second
    assert fits[0] == fits[1] != fits[2]


def small_network(classes, weight_decay):
    layers = [keras.layers.Flatten(), keras.layers.Dense(classes, "softmax")]
    return keras.Sequential([keras.Input((6, 6, 1)), *layers])
