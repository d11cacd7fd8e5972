"""Every layer, activation, loss and image operation of Keras, with its derivatives.

Run as a script, it writes the list in `docs/derivatives.md`:

    python -m tests.every_operation
"""

import dataclasses
import inspect
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from keras_lr import _keras
from keras_lr._keras import second_derivatives
from keras_lr.training.derivatives.tensors import dense

# Differences of fourth order: h^4 of the fifth derivative, and the rounding over h.
SPACING = {"float64": 1e-4, "float32": 1e-2}
TOLERANCE = {"float64": 1e-6, "float32": 1e-3}


@dataclasses.dataclass(frozen=True)
class Case:
    """An operation, and what it is given.

    Attributes:
        make: Function that returns the operation: a layer or a function.
        shapes: Shapes of its inputs, which stand for the outputs of other layers.
        low: Least input; `None` for normal numbers.
        high: Largest input.
        dtype: Precision in which TensorFlow computes it.
        outcome: A key of `OUTCOMES`.
        takes_list: Whether the inputs are one argument, a list.
    """

    make: Callable[[], Any]
    shapes: tuple[tuple[int, ...], ...] = ((4, 6),)
    low: float | None = None
    high: float = 1.0
    dtype: str = "float64"
    outcome: str = "exact"
    takes_list: bool = False


OUTCOMES = {
    "exact": "Right to the rounding of differences",
    "approximate": "Keras holds a part of the derivative constant",
    "refused": "Refused by name before the first step",
}


def outcome(case: Case, name: str) -> str:
    """Return what the second derivative of an operation is, a key of `OUTCOMES`."""
    keras.utils.set_random_seed(0)
    keras.config.set_floatx(case.dtype)
    keras.config.set_dtype_policy(case.dtype)
    try:
        error = relative_error(case, name)
    except ValueError as refusal:
        if "Second derivatives of the training loss" not in str(refusal):
            raise
        return "refused"
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    return "exact" if error <= TOLERANCE[case.dtype] else "approximate"


def relative_error(case: Case, name: str) -> float:
    """Return how far H v is from the difference of two gradients along v."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    operation = case.make()
    inputs = [
        tf.constant(_numbers(case, each, rng), case.dtype) for each in case.shapes
    ]
    _output(case, operation, inputs)  # Makes the weights.
    variables = getattr(operation, "trainable_variables", [])
    values = [*inputs, *(tf.identity(each.value) for each in variables)]
    vector = [tf.constant(rng.normal(size=each.shape), each.dtype) for each in values]

    def gradient(values: list[Any]) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(values)
            number = len(inputs)
            with _keras.leaving_no_trace(variables, values[number:]):
                output = _output(case, operation, values[:number])
            loss = _curved(output)
        return dense(tape.gradient(loss, values, unconnected_gradients="zero"))

    def product(values: list[Any]) -> list[Any]:
        with second_derivatives.made_right():
            with tf.GradientTape() as tape:
                tape.watch(values)
                gradients = gradient(values)
            with second_derivatives.second_pass_back():
                products = tape.gradient(
                    gradients, values, vector, unconnected_gradients="zero"
                )
            return dense(products)

    traced = tf.function(gradient, autograph=False)
    h = SPACING[case.dtype]

    def moved(steps: int) -> np.ndarray:
        ends = [x + steps * h * v for x, v in zip(values, vector, strict=True)]
        return _flat(traced(ends))

    actual = _flat(tf.function(product, autograph=False)(values))
    expected = (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / (12 * h)
    scale = np.linalg.norm(expected)
    return float(np.linalg.norm(actual - expected) / max(scale, 1e-3))


def _numbers(case: Case, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    if case.low is None:
        return rng.normal(size=shape)
    return rng.uniform(case.low, case.high, size=shape)


def _output(case: Case, operation: Any, inputs: list[Any]) -> Any:
    arguments = [inputs] if case.takes_list else inputs
    if isinstance(operation, layers.Layer) and operation._call_has_training_arg:
        return operation(*arguments, training=True)
    return operation(*arguments)


def _curved(output: Any) -> Any:
    """A loss that has a second derivative where the operation has none."""
    tensors = [each for each in tf.nest.flatten(output) if each.dtype.is_floating]
    parts = [tf.reduce_sum(tf.sin(each)) for each in tensors]
    return tf.add_n([tf.cast(each, "float64") for each in parts])


def _flat(tensors: list[Any]) -> np.ndarray:
    return np.concatenate([np.ravel(each) for each in tensors]).astype("float64")


def names(kind: str) -> list[str]:
    """Return the public names of a kind, without second names of the same."""
    module, base = KINDS[kind]
    public = []
    for name in sorted(dir(module)):
        value = getattr(module, name)
        if base is None:
            is_one = inspect.isfunction(value)
        else:
            is_one = inspect.isclass(value) and issubclass(value, base)
        is_second = (
            is_one and value.__name__ != name and hasattr(module, value.__name__)
        )
        if is_one and not is_second and name[0] != "_":
            public.append(name)
    return public


# A loss is a function too, of the same formula as its class.
KINDS = {
    "layers": (keras.layers, layers.Layer),
    "activations": (keras.activations, None),
    "losses": (keras.losses, keras.losses.Loss),
    "ops.image": (keras.ops.image, None),
}

# What has no second derivative to test, and why.
NO_CASE = {
    "base class": ["Layer", "Loss", "Wrapper"],
    "code of another framework": [
        *("FlaxLayer", "JaxLayer", "TorchModuleWrapper", "TFSMLayer"),
    ],
    "text or whole numbers in, no derivative": [
        *("CategoryEncoding", "Discretization", "HashedCrossing", "Hashing"),
        *("IntegerLookup", "StringLookup", "TextVectorization", "MaxNumBoundingBoxes"),
    ],
    "layers, not an operation": ["InputLayer", "Pipeline", "RNN"],
    "made for data, before the first weight": [
        *("AugMix", "AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization"),
        *("Equalization", "RandAugment", "RandomPosterization", "Solarization"),
    ],
    "reads or writes a configuration": ["deserialize", "get", "serialize"],
}


def _one(name: str, *arguments: Any, **kwargs: Any) -> Callable[[], Any]:
    return lambda: getattr(layers, name)(*arguments, **kwargs)


SEQUENCE, IMAGE, VOLUME = (2, 6, 4), (2, 6, 6, 2), (2, 4, 4, 4, 2)
BY_RANK = {1: (SEQUENCE,), 2: (IMAGE,), 3: (VOLUME,)}
COLORS = ((2, 6, 6, 3),)
POOLS_VOLUMES = {
    f"{prefix}{kind}Pooling3D"
    for prefix in ("", "Adaptive")
    for kind in ("Average", "Max")
}


def _by_rank(pattern: str, ranks: Any, *arguments: Any, **kwargs: Any) -> dict:
    return {
        name: Case(
            _one(name, *arguments, **kwargs),
            BY_RANK[rank],
            # Far from one another, so that the largest stays the largest.
            *((0.0, 60.0 if "Adaptive" in name else 30.0) if "Max" in name else ()),
            # TensorFlow pools volumes in float32 only.
            dtype="float32" if name in POOLS_VOLUMES else "float64",
        )
        for rank in ranks
        for name in [pattern.format(rank)]
    }


def _pairs(*names: str, **kwargs: Any) -> dict[str, Case]:
    shapes = ((4, 6), (4, 6))
    return {name: Case(_one(name, **kwargs), shapes, takes_list=True) for name in names}


def _images(*names: str, dtype: str = "float64", **kwargs: Any) -> dict[str, Case]:
    """Layers that change images: colors from 0 to 1."""
    return {
        name: Case(_one(name, seed=1, **kwargs), COLORS, 0.05, 0.95, dtype)
        for name in names
    }


LAYERS = {
    **{
        name: Case(_one(name))
        for name in (
            *("ELU", "Flatten", "Identity", "LayerNormalization", "LeakyReLU"),
            *("PReLU", "RMSNormalization", "ReLU", "Softmax", "UnitNormalization"),
            *("BatchNormalization", "ActivityRegularization"),
        )
    },
    "Activation": Case(_one("Activation", "tanh")),
    "Dense": Case(_one("Dense", 3, "tanh")),
    "EinsumDense": Case(_one("EinsumDense", "ab,bc->ac", output_shape=3)),
    "GroupNormalization": Case(_one("GroupNormalization", 2)),
    "Lambda": Case(_one("Lambda", lambda x: x**3)),
    "Masking": Case(_one("Masking"), (SEQUENCE,)),
    "Normalization": Case(_one("Normalization", mean=0.5, variance=2.0)),
    "Permute": Case(_one("Permute", (2, 1)), (SEQUENCE,)),
    "RepeatVector": Case(_one("RepeatVector", 2)),
    "Rescaling": Case(_one("Rescaling", 0.5, 0.25)),
    "Reshape": Case(_one("Reshape", (3, 2))),
    # It takes the singular vectors of its weights for constants.
    "SpectralNormalization": Case(
        lambda: layers.SpectralNormalization(layers.Dense(3, "tanh")),
        outcome="approximate",
    ),
    "TimeDistributed": Case(
        lambda: layers.TimeDistributed(layers.Dense(3, "tanh")), (SEQUENCE,)
    ),
    "Embedding": Case(lambda: Looked(layers.Embedding(5, 3))),
    "ReversibleEmbedding": Case(lambda: Looked(layers.ReversibleEmbedding(5, 3))),
    # Noise is the same in each pass.
    **{
        name: Case(_one(name, 0.25, seed=1))
        for name in ("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise")
    },
    **_by_rank("SpatialDropout{}D", (1, 2, 3), 0.5, seed=1),
    **_pairs("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply"),
    **_pairs("Subtract"),
    "Dot": Case(_one("Dot", 1), ((4, 6), (4, 6)), takes_list=True),
    **{
        name: Case(_one(name), (SEQUENCE, SEQUENCE), takes_list=True)
        for name in ("AdditiveAttention", "Attention")
    },
    "MultiHeadAttention": Case(_one("MultiHeadAttention", 2, 3), (SEQUENCE, SEQUENCE)),
    "GroupQueryAttention": Case(
        _one("GroupQueryAttention", 3, 4, 2), (SEQUENCE, SEQUENCE)
    ),
    **{name: Case(_one(name, 3), (SEQUENCE,)) for name in ("GRU", "LSTM", "SimpleRNN")},
    "GRUCell": Case(_one("GRUCell", 3), ((4, 6), (4, 3))),
    "SimpleRNNCell": Case(_one("SimpleRNNCell", 3), ((4, 6), (4, 3))),
    "LSTMCell": Case(lambda: OfTwo(layers.LSTMCell(3)), ((4, 6), (4, 3), (4, 3))),
    "StackedRNNCells": Case(
        lambda: layers.RNN(
            layers.StackedRNNCells([layers.GRUCell(3), layers.LSTMCell(2)])
        ),
        (SEQUENCE,),
    ),
    "Bidirectional": Case(lambda: layers.Bidirectional(layers.LSTM(2)), (SEQUENCE,)),
    "ConvLSTM1D": Case(_one("ConvLSTM1D", 2, 2), ((2, 3, 4, 2),)),
    "ConvLSTM2D": Case(_one("ConvLSTM2D", 2, 2), ((2, 3, 4, 4, 1),)),
    "ConvLSTM3D": Case(_one("ConvLSTM3D", 1, 2), ((2, 2, 3, 3, 3, 1),)),
    **_by_rank("Conv{}D", (1, 2, 3), 2, 3),
    **_by_rank("Conv{}DTranspose", (1, 2, 3), 2, 3),
    **_by_rank("DepthwiseConv{}D", (1, 2), 3),
    **_by_rank("SeparableConv{}D", (1, 2), 2, 3),
    **_by_rank("AveragePooling{}D", (1, 2, 3), 2),
    **_by_rank("MaxPooling{}D", (1, 2, 3)),
    **_by_rank("GlobalAveragePooling{}D", (1, 2, 3)),
    **_by_rank("GlobalMaxPooling{}D", (1, 2, 3)),
    **_by_rank("AdaptiveAveragePooling{}D", (1, 2, 3), 3),
    **_by_rank("AdaptiveMaxPooling{}D", (1, 2, 3), 3),
    **_by_rank("Cropping{}D", (1, 2, 3), 1),
    **_by_rank("ZeroPadding{}D", (1, 2, 3), 1),
    **_by_rank("UpSampling{}D", (1, 2, 3), 2),
    "CenterCrop": Case(_one("CenterCrop", 3, 4), (IMAGE,)),
    "Resizing": Case(_one("Resizing", 4, 9), (IMAGE,), dtype="float32"),
    "MelSpectrogram": Case(
        _one("MelSpectrogram", fft_length=16, sequence_stride=8, num_mel_bins=4),
        ((2, 64),),
        dtype="float32",
    ),
    "STFTSpectrogram": Case(
        _one("STFTSpectrogram", frame_length=16, frame_step=8, fft_length=16),
        ((2, 64, 1),),
    ),
    **_images("CutMix", "MixUp", "RandomErasing", "RandomFlip", "RandomGrayscale"),
    **_images("RandomColorJitter", "RandomGaussianBlur", "RandomInvert"),
    **_images(
        "RandomBrightness", "RandomColorDegeneration", "RandomContrast", factor=0.3
    ),
    **_images("RandomSaturation", "RandomSharpness", factor=0.3),
    "RandomHue": Case(_one("RandomHue", 0.3, (0, 1), seed=1), COLORS, 0.05, 0.95),
    # TensorFlow interpolates in float32.
    **_images("RandomElasticTransform", "RandomPerspective", dtype="float32"),
    **_images("RandomRotation", dtype="float32", factor=0.3),
    **_images("RandomShear", dtype="float32", x_factor=0.3),
    **_images("RandomZoom", dtype="float32", height_factor=0.3),
    **_images(
        "RandomTranslation", dtype="float32", height_factor=0.3, width_factor=0.3
    ),
    "RandomCrop": Case(_one("RandomCrop", 4, 4, seed=1), COLORS, dtype="float32"),
}


class Looked(layers.Layer):
    """Looks up rows of a table, and multiplies them by its input."""

    def __init__(self, table: layers.Layer) -> None:
        super().__init__()
        self.table = table

    def call(self, inputs: Any) -> Any:
        return self.table(ops.array([0, 2, 2, 4])) * inputs[:, :3]


class OfTwo(layers.Layer):
    """Gives a cell its two states."""

    def __init__(self, cell: layers.Layer) -> None:
        super().__init__()
        self.cell = cell

    def call(self, inputs: Any, h: Any, c: Any) -> Any:
        return self.cell(inputs, [h, c])


ACTIVATIONS = {
    name: Case(lambda name=name: getattr(keras.activations, name))
    for name in names("activations")
    if name not in NO_CASE["reads or writes a configuration"]
}
ACTIVATIONS["threshold"] = Case(
    lambda: lambda x: keras.activations.threshold(x, 0.1, 0.2)
)


INTEGERS = (
    "CategoricalGeneralizedCrossEntropy",
    "Circle",
    "SparseCategoricalCrossentropy",
)


def _loss(name: str, **kwargs: Any) -> Callable[[], Any]:
    """A loss of predictions, with targets for each kind of it."""

    def make() -> Any:
        loss = getattr(keras.losses, name)(**kwargs)
        rng = np.random.default_rng(0)
        targets = rng.uniform(0.1, 0.9, (4, 6))
        if name.startswith(("Categorical", "Dice", "Tversky", "Binary")):
            targets = np.eye(6)[rng.integers(0, 6, 4)]
        if name in ("Hinge", "SquaredHinge"):
            targets = np.sign(targets - 0.5)
        if name in INTEGERS:
            targets = np.array([0, 2, 2, 0])
        if name == "CTC":
            targets = np.array([[1, 2], [3, 1]])
        return lambda predictions: loss(targets, predictions)

    return make


LOSSES = {
    name: Case(_loss(name), low=0.05, high=0.95)
    for name in names("losses")
    if name not in ("CTC", "Loss")
}
LOSSES["CTC"] = Case(_loss("CTC"), ((2, 8, 5),), outcome="refused", dtype="float32")


def _image(name: str, *arguments: Any, **kwargs: Any) -> Callable[[], Any]:
    return lambda: lambda x: getattr(ops.image, name)(x, *arguments, **kwargs)


COORDINATES = np.random.default_rng(0).uniform(0.2, 4.8, (3, 7))
CORNERS = np.array([[0.0, 0], [0, 5], [5, 0], [5, 5]], "float32")
IMAGES = {
    "affine_transform": Case(
        _image("affine_transform", np.array([1.1, 0.1, 0.5, -0.1, 0.9, 0.2, 0, 0])),
        COLORS,
        dtype="float32",
    ),
    "crop_images": Case(
        _image("crop_images", 1, 1, target_height=3, target_width=3), COLORS
    ),
    "elastic_transform": Case(
        _image("elastic_transform", seed=1), COLORS, dtype="float32"
    ),
    "extract_patches": Case(_image("extract_patches", 3), COLORS),
    "extract_patches_3d": Case(_image("extract_patches_3d", 2), (VOLUME,)),
    "gaussian_blur": Case(_image("gaussian_blur"), COLORS),
    "hsv_to_rgb": Case(_image("hsv_to_rgb"), COLORS, 0.05, 0.95),
    "map_coordinates": Case(
        lambda: lambda x: ops.image.map_coordinates(x, COORDINATES, order=1),
        ((6, 6, 6),),
    ),
    "pad_images": Case(_image("pad_images", 1, 1, 1, 1), COLORS),
    "perspective_transform": Case(
        lambda: lambda x: ops.image.perspective_transform(x, CORNERS, CORNERS * 0.8),
        ((6, 6, 3),),
        dtype="float32",
    ),
    "resize": Case(_image("resize", (4, 9)), COLORS, dtype="float32"),
    "rgb_to_grayscale": Case(_image("rgb_to_grayscale"), COLORS),
    "rgb_to_hsv": Case(_image("rgb_to_hsv"), COLORS, 0.05, 0.95),
    "scale_and_translate": Case(
        _image(
            "scale_and_translate",
            (2, 9, 9, 3),
            np.array([1.5, 1.5]),
            np.zeros(2),
            (1, 2),
            "linear",
        ),
        COLORS,
    ),
    "sobel_edges": Case(_image("sobel_edges"), COLORS),
    "ssim": Case(
        lambda: lambda a, b: ops.image.ssim(a, b, max_val=1.0),
        ((2, 16, 16, 1), (2, 16, 16, 1)),
        0.05,
        0.95,
    ),
}

OTHERS = {
    **{
        f"ops.image.resize, {interpolation}": Case(
            _image("resize", (4, 9), interpolation=interpolation),
            COLORS,
            dtype="float32",
        )
        for interpolation in ("nearest", "bicubic", "lanczos3", "lanczos5")
    },
    "ops.image.resize, bilinear, antialias": Case(
        _image("resize", (4, 3), antialias=True), COLORS, dtype="float32"
    ),
    "UpSampling2D, bilinear": Case(
        _one("UpSampling2D", 2, interpolation="bilinear"), COLORS, dtype="float32"
    ),
    "tf.image.crop_and_resize": Case(
        lambda: (
            lambda x: tf.image.crop_and_resize(x, [[0.1, 0.2, 0.9, 0.8]], [0], (4, 5))
        ),
        COLORS,
        dtype="float32",
    ),
    "ops.norm": Case(lambda: lambda x: ops.norm(x, axis=-1)),
    "tf.nn.local_response_normalization": Case(
        lambda: tf.nn.local_response_normalization,
        COLORS,
        dtype="float32",
        outcome="refused",
    ),
}

CASES = {
    "layers": LAYERS,
    "activations": ACTIVATIONS,
    "losses": LOSSES,
    "ops.image": IMAGES,
    "other": OTHERS,
}


def listed(outcomes: dict[tuple[str, str], str]) -> str:
    """Return the list of the documentation.

    Args:
        outcomes: Outcome by kind and name.
    """
    lines = []
    for key, meaning in OUTCOMES.items():
        lines += ["", f"**{meaning}:**", ""]
        for kind in CASES:
            here = [
                name
                for (k, name), value in sorted(outcomes.items())
                if (k, value) == (kind, key)
            ]
            if here:
                lines.append(f"- `{kind}`: {', '.join(f'`{each}`' for each in here)}")
    lines += ["", "**No second derivative to take:**", ""]
    for reason, names_of_it in NO_CASE.items():
        lines.append(
            f"- {reason}: {', '.join(f'`{each}`' for each in sorted(names_of_it))}"
        )
    return "\n".join([*lines, ""])


BEGIN, END = "<!-- from tests/every_operation.py -->", "<!-- end -->"
PAGE = Path(__file__).parents[1] / "docs" / "derivatives.md"


def declared() -> dict[tuple[str, str], str]:
    """Return the outcomes that the cases state."""
    return {
        (kind, name): case.outcome
        for kind, cases in CASES.items()
        for name, case in cases.items()
    }


def main() -> None:
    """Write the list, as measured."""
    measured = {
        (kind, name): outcome(case, name)
        for kind, cases in CASES.items()
        for name, case in cases.items()
    }
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    text = f"{before}{BEGIN}\n{listed(measured)}\n{END}{after}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
