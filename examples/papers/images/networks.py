"""The networks of the papers, for images of 32 x 32 x 3, and one for MNIST.

All convolutions are without a bias in front of batch normalization, which takes it
away again. `weight_decay` is a penalty of half of it times the squares of all kernels.

- `resnet`: He et al., arXiv 1512.03385, with a projection where the shape changes.
- `preactivated_resnet`: He et al., arXiv 1603.05027, with bottlenecks.
- `densenet`: Huang et al., arXiv 1608.06993, without bottlenecks.
- `vgg11`: Simonyan and Zisserman, arXiv 1409.1556, configuration A with batch
  normalization and one dense layer.
- `mnist_cnn`: table 4 of Yedida et al., arXiv 1902.07399.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

SHAPE = (32, 32, 3)
Builder = Callable[..., keras.Model]


def _penalty(weight_decay: float) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L2(weight_decay / 2) if weight_decay else None


def _convolution(
    x: Any, filters: int, size: int, weight_decay: float, strides: int = 1
) -> Any:
    return layers.Conv2D(
        filters,
        size,
        strides,
        "same",
        use_bias=False,
        kernel_initializer="he_normal",
        kernel_regularizer=_penalty(weight_decay),
    )(x)


def _normalized(x: Any) -> Any:
    return layers.ReLU()(layers.BatchNormalization()(x))


def _head(x: Any, classes: int, weight_decay: float) -> Any:
    penalty = _penalty(weight_decay)
    return layers.Dense(classes, "softmax", kernel_regularizer=penalty)(x)


def resnet(
    classes: int, *, widths: Sequence[int], blocks: int, weight_decay: float = 0.0
) -> keras.Model:
    """Return a residual network of so many blocks of two convolutions for each width.

    Args:
        classes: Number of classes.
        widths: Filters of each stage; all but the first halve the image.
        blocks: Number of blocks in each stage.
        weight_decay: See above.
    """
    inputs = keras.Input(SHAPE)
    x = _normalized(_convolution(inputs, widths[0], 3, weight_decay))
    for stage, width in enumerate(widths):
        for block in range(blocks):
            x = _block(x, width, 2 if stage and not block else 1, weight_decay)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, _head(x, classes, weight_decay))


def _block(x: Any, width: int, strides: int, weight_decay: float) -> Any:
    shortcut = x
    if strides > 1 or x.shape[-1] != width:
        shortcut = _convolution(x, width, 1, weight_decay, strides)
        shortcut = layers.BatchNormalization()(shortcut)
    x = _normalized(_convolution(x, width, 3, weight_decay, strides))
    x = layers.BatchNormalization()(_convolution(x, width, 3, weight_decay))
    return layers.ReLU()(layers.Add()([x, shortcut]))


def preactivated_resnet(
    classes: int, *, width: int = 16, blocks: int, weight_decay: float = 0.0
) -> keras.Model:
    """Return a residual network of bottlenecks, three stages of so many blocks."""
    inputs = keras.Input(SHAPE)
    x = _convolution(inputs, width, 3, weight_decay)
    for stage in range(3):
        for block in range(blocks):
            strides = 2 if stage and not block else 1
            x = _bottleneck(x, width * 2**stage, strides, weight_decay)
    x = layers.GlobalAveragePooling2D()(_normalized(x))
    return keras.Model(inputs, _head(x, classes, weight_decay))


def _bottleneck(x: Any, width: int, strides: int, weight_decay: float) -> Any:
    activated = _normalized(x)
    shortcut = x
    if strides > 1 or x.shape[-1] != 4 * width:
        shortcut = _convolution(activated, 4 * width, 1, weight_decay, strides)
    x = _normalized(_convolution(activated, width, 1, weight_decay, strides))
    x = _normalized(_convolution(x, width, 3, weight_decay))
    return layers.Add()([_convolution(x, 4 * width, 1, weight_decay), shortcut])


def densenet(
    classes: int, *, growth: int = 12, block: int = 12, weight_decay: float = 0.0
) -> keras.Model:
    """Return three dense blocks of so many convolutions of `growth` filters."""
    inputs = keras.Input(SHAPE)
    x = _convolution(inputs, 16, 3, weight_decay)
    for stage in range(3):
        for _ in range(block):
            new = _convolution(_normalized(x), growth, 3, weight_decay)
            x = layers.Concatenate()([x, new])
        if stage < 2:
            x = _convolution(_normalized(x), x.shape[-1], 1, weight_decay)
            x = layers.AveragePooling2D(2)(x)
    x = layers.GlobalAveragePooling2D()(_normalized(x))
    return keras.Model(inputs, _head(x, classes, weight_decay))


def vgg11(classes: int, *, width: int = 64, weight_decay: float = 0.0) -> keras.Model:
    """Return the eight convolutions of VGG-11 and a dense layer."""
    inputs = x = keras.Input(SHAPE)
    for convolutions, factor in ((1, 1), (1, 2), (2, 4), (2, 8), (2, 8)):
        for _ in range(convolutions):
            x = _normalized(_convolution(x, factor * width, 3, weight_decay))
        x = layers.MaxPooling2D()(x)
    return keras.Model(inputs, _head(layers.Flatten()(x), classes, weight_decay))


def mnist_cnn(classes: int, *, width: int = 32) -> keras.Model:
    """Return the network of table 4, for images of 28 x 28 x 1."""
    relu = functools.partial(layers.Conv2D, kernel_size=3, activation="relu")
    stack = [
        keras.Input((28, 28, 1)),
        relu(width),
        relu(width),
        layers.MaxPooling2D(),
        layers.Dropout(0.2),
        relu(2 * width, padding="same"),
        relu(2 * width, padding="same"),
        layers.MaxPooling2D(),
        layers.Dropout(0.25),
        relu(4 * width, padding="same"),
        layers.Dropout(0.25),
        layers.Flatten(),
        layers.Dense(4 * width, "relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.25),
        layers.Dense(classes, "softmax"),
    ]
    return keras.Sequential(stack)


resnet18 = functools.partial(resnet, widths=(64, 128, 256, 512), blocks=2)
resnet20 = functools.partial(resnet, widths=(16, 32, 64), blocks=3)
resnet56 = functools.partial(resnet, widths=(16, 32, 64), blocks=9)
resnet164 = functools.partial(preactivated_resnet, blocks=18)
densenet_40_12 = functools.partial(densenet, growth=12, block=12)

# Narrow and not so deep: to see that everything runs.
SMALL: dict[str, Builder] = {
    "resnet18": functools.partial(resnet, widths=(4, 8, 16, 32), blocks=1),
    "resnet20": functools.partial(resnet, widths=(4, 8, 16), blocks=1),
    "resnet56": functools.partial(resnet, widths=(4, 8, 16), blocks=2),
    "resnet164": functools.partial(preactivated_resnet, width=4, blocks=1),
    "densenet_40_12": functools.partial(densenet, growth=4, block=3),
    "vgg11": functools.partial(vgg11, width=4),
    "mnist_cnn": functools.partial(mnist_cnn, width=8),
}
PAPER: dict[str, Builder] = {
    "resnet18": resnet18,
    "resnet20": resnet20,
    "resnet56": resnet56,
    "resnet164": resnet164,
    "densenet_40_12": densenet_40_12,
    "vgg11": vgg11,
    "mnist_cnn": mnist_cnn,
}
NETWORKS = {"paper": PAPER, "small": SMALL}
