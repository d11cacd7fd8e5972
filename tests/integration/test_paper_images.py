"""Networks, data, batches and the fit of the papers' image experiments."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture
def image_data(scripts):
    return scripts("images.data")


@pytest.fixture
def image_batches(scripts):
    return scripts("images.batches")


@pytest.fixture
def image_fit(scripts):
    return scripts("images.fit")


@pytest.fixture
def few_images(image_data, rng):
    """Fifty images of 6 x 6, each with its number in its pixels."""
    x = rng.integers(256, size=(50, 6, 6, 1), dtype="uint8")
    x[:, 0, 0, 0] = np.arange(50)
    y = (np.arange(50) % 3).astype("int32")
    mean, one = np.zeros(1, "float32"), np.ones(1, "float32")
    return image_data.Images("few", (x, y), (x[:10], y[:10]), mean, one)


# What public implementations without biases in convolutions have; of VGG-11 9,231,114
# less 2,752 of these. The papers: 0.27M, 0.85M, 11.2M, 1.7M, 1.0M; table 4: 730K.
@pytest.mark.parametrize(
    ("network", "classes", "weights"),
    [
        ("resnet20", 10, 272_474),
        ("resnet18", 100, 11_220_132),
        ("densenet_40_12", 10, 1_019_722),
        ("vgg11", 10, 9_228_362),
        ("mnist_cnn", 10, 730_602 - 2 * 128),
        pytest.param("resnet18", 10, 11_173_962, marks=pytest.mark.slow),
        pytest.param("resnet56", 10, 855_770, marks=pytest.mark.slow),
        pytest.param("resnet164", 10, 1_703_258, marks=pytest.mark.slow),
    ],
)
def test_network_has_the_known_number_of_weights(scripts, network, classes, weights):
    model = scripts("images.networks").PAPER[network](classes)
    found = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    assert found == weights


def test_weight_decay_is_half_of_it_times_the_squares_of_all_kernels(scripts):
    model = scripts("images.networks").SMALL["resnet20"](10, weight_decay=0.5)
    kernels = [w for w in model.trainable_weights if w.path.endswith("kernel")]
    squares = sum(float(np.sum(np.square(kernel))) for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(0.25 * squares, rel=1e-5)


def crops(image):
    """Return all crops of a padded image, flipped and not, by place."""
    padded = np.pad(image, [(4, 4), (4, 4), (0, 0)])
    height, width, _ = image.shape
    cut = {
        (y, x): padded[y : y + height, x : x + width]
        for y in range(9)
        for x in range(9)
    }
    both = [(1, lambda a: a), (-1, lambda a: a[:, ::-1])]
    return {(*place, s): turn(a) for place, a in cut.items() for s, turn in both}


def test_augmentation_is_a_crop_of_the_padded_image_flipped_or_not(image_batches, rng):
    image = rng.normal(size=(6, 8, 3)).astype("float32")
    batch = tf.constant(np.repeat(image[None], 400, axis=0))
    moved = image_batches.crop_and_flip(batch, [3, 4]).numpy()
    assert moved.shape == (400, 6, 8, 3)
    possible = crops(image)
    found = set()
    for each in moved:
        places = [
            place for place, crop in possible.items() if np.array_equal(crop, each)
        ]
        assert places
        found.update(places[:1])
    for axis in (0, 1):
        assert {place[axis] for place in found} == set(range(9))
    assert {place[2] for place in found} == {1, -1}


@pytest.mark.parametrize("name", ["crop_and_flip", "shift_zoom_rotate"])
def test_augmentation_follows_from_the_seed(image_batches, rng, name):
    augment = getattr(image_batches, name)
    batch = tf.constant(rng.normal(size=(5, 8, 8, 1)).astype("float32"))
    first, same, other = (augment(batch, [1, seed]).numpy() for seed in (2, 2, 3))
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)


def test_rotation_zoom_and_shift_are_about_the_center(image_batches):
    """Between pixels an image that is its own coordinate stays linear."""
    height, width = 9, 11
    y, x = np.mgrid[:height, :width].astype("float32")
    batch = tf.constant(np.stack([x, y], axis=-1)[None].repeat(20, axis=0))
    moved = image_batches.shift_zoom_rotate(batch, [5, 6]).numpy()
    drawn = tf.random.stateless_uniform((20, 5), [5, 6], -1.0, 1.0).numpy()
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    for each, (angle, zoom_x, zoom_y, shift_x, shift_y) in zip(
        moved, drawn, strict=True
    ):
        cosine, sine = np.cos(angle * np.pi / 12), np.sin(angle * np.pi / 12)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        matrix = turn @ np.diag([1 + 0.1 * zoom_x, 1 + 0.1 * zoom_y])
        shift = 0.1 * np.array([width * shift_x, height * shift_y])
        places = (np.stack([x, y], -1) - center) @ matrix.T + center + shift
        expected = places.clip(0, center * 2)
        np.testing.assert_allclose(each, expected, atol=1e-4)


def numbers(dataset):
    """Return the numbers of the images in the order of the batches."""
    rows = np.concatenate([x.numpy()[:, 0, 0, 0] for x, _ in dataset])
    return np.round(255 * rows).astype(int).tolist()


def test_each_epoch_has_all_images_in_an_order_of_its_own(image_batches, few_images):
    batches = image_batches.EpochBatches(few_images, few_images.train, 16, seed=1)
    dataset = batches.dataset()
    orders = []
    for epoch in range(3):
        batches.epoch = epoch
        orders.append(numbers(dataset))
    assert batches.steps == len(dataset) == 4
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    again = image_batches.EpochBatches(few_images, few_images.train, 16, seed=1)
    again.epoch = 2
    assert numbers(again.dataset()) == orders[2]


def written(path, **arrays):
    np.savez(path, **{name: np.asarray(array) for name, array in arrays.items()})
    return path


def test_file_without_test_images_keeps_every_fifth_row(image_data, tmp_path):
    x = np.arange(10, dtype="uint8")[:, None, None] * np.ones((4, 4), "uint8")
    path = written(tmp_path / "own.npz", x=x, y=np.zeros(10))
    images = image_data.load("mnist", path, in_color=False)
    assert images.name == "own"
    assert images.test[0][:, 0, 0, 0].tolist() == [4, 9]
    assert images.train[0][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert images.train[1].dtype == np.int32


@pytest.mark.parametrize("names", [("x_train", "y_train"), ("x", "y")])
def test_file_with_test_images_is_taken_as_it_is(image_data, tmp_path, names):
    x, y = np.ones((6, 4, 4)), [0, 1, 2, 0, 1, 2]
    arrays = dict(zip(names, (x, y), strict=True))
    path = written(tmp_path / "a.npz", **arrays, x_test=x[:2], y_test=y[:2])
    images = image_data.load("mnist", path, in_color=False)
    assert len(images.train[0]) == 6
    assert len(images.test[0]) == 2
    assert images.classes == 3
    # Fractions are pixels, too.
    assert images.train[0].max() == 255


def test_gray_images_are_padded_to_color(image_data, rng):
    x = rng.integers(256, size=(2, 28, 27, 1), dtype="uint8")
    color = image_data.as_color(x)
    assert color.shape == (2, 32, 32, 3)
    for channel in range(3):
        np.testing.assert_array_equal(color[:, 2:30, 2:29, channel], x[..., 0])
    assert color.sum(dtype=int) == 3 * x.sum(dtype=int)


def test_normalized_images_have_mean_0_and_deviation_1(image_data, tmp_path, rng):
    x = rng.integers(256, size=(20, 32, 32, 3))
    path = written(tmp_path / "a.npz", x=x, y=np.zeros(20))
    images = image_data.load("cifar10", path, by_deviation=True)
    train, _ = images.arrays(images.train)
    np.testing.assert_allclose(train.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(train.std((0, 1, 2)), 1, atol=1e-4)


IMAGES, LABELS = np.zeros((5, 4, 4)), np.zeros(5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES}, r"must hold x_train.*Received: x$"),
        ({"x": np.zeros((5, 7)), "y": LABELS}, r"shape \(rows, height, width\)"),
        ({"x": IMAGES, "y": np.zeros(4)}, "one class number for each"),
        ({"x": IMAGES, "y": LABELS + 0.5}, "must be class numbers"),
        ({"x": IMAGES, "y": [0, 0, 0, 0, 1]}, r"among the training.*\[1\]"),
        ({"x": IMAGES - 1, "y": LABELS}, "from 0 to 255. Received: -1"),
        ({"x": np.zeros((5, 33, 4)), "y": LABELS}, "at most 32 pixels"),
    ],
)
def test_file_that_cannot_be_used_says_why(image_data, tmp_path, arrays, message):
    path = written(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        image_data.load("cifar10", path)


def test_missing_and_broken_files_are_named(image_data, tmp_path):
    with pytest.raises(ValueError, match=r"There is no file .*a\.npz"):
        image_data.load("mnist", tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(ValueError, match=r"b\.npz cannot be read as \.npz"):
        image_data.load("mnist", tmp_path / "b.npz")


def test_download_that_fails_says_what_to_do(image_data, monkeypatch):
    def offline():
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", offline)
    with pytest.raises(ValueError, match=r"URL fetch failure.*--data FILE\.npz"):
        image_data.load("mnist")
    with pytest.raises(ValueError, match="must be one of mnist"):
        image_data.load("imagenet")


class KillAt(keras.callbacks.Callback):
    """Raise in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.is_time = epoch == self.epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.is_time and batch == 1:
            raise KeyboardInterrupt


@pytest.fixture
def train_few(image_batches, image_fit, few_images):
    """Train a tiny network for three epochs."""

    def train(folder, callbacks=()):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((6, 6, 1)),
                keras.layers.Flatten(),
                keras.layers.Dense(3, "softmax"),
            ]
        )
        image_fit.compile_model(model, keras.optimizers.SGD(0.1, momentum=0.9))
        batches = image_batches.EpochBatches(
            few_images, few_images.train, 16, augment=image_batches.crop_and_flip
        )
        data = few_images.arrays(few_images.test)
        return image_fit.fit(
            model, batches, data, callbacks, epochs=3, backup_dir=folder
        )

    return train


def without_seconds(logs):
    return [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in logs]


@pytest.mark.slow
def test_killed_training_goes_on_at_its_epoch_as_if_nothing_was(train_few, tmp_path):
    whole = train_few(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_few(tmp_path / "killed", [KillAt(2)])
    assert (tmp_path / "killed" / "checkpoint").exists()
    resumed = train_few(tmp_path / "killed", [KillAt(0)])
    assert [epoch["epoch"] for epoch in resumed] == [0, 1, 2]
    assert without_seconds(resumed) == without_seconds(whole)


def test_finished_training_is_read_and_not_run_again(train_few, tmp_path):
    whole = train_few(tmp_path / "a")
    assert train_few(tmp_path / "a", [KillAt(0)]) == whole


@pytest.mark.slow
def test_log_of_a_training_without_checkpoint_is_begun_anew(train_few, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_few(tmp_path / "a", [KillAt(0)])
    assert len(train_few(tmp_path / "a")) == 3
