"""Gradients of gradients that TensorFlow lacks, or says to be 0.

Resizing and cropping are linear in the image, and their gradients are linear in the
gradient that comes in, so that the gradient of the gradient is the operation itself.
TensorFlow has it for none of them. For bilinear resizing it says 0, and every
second derivative is silently wrong.
"""

import contextlib
import functools
from typing import Any, Never

from keras_lr._keras.substitution import with_gradients
from keras_lr._typing import Tensor


def added() -> contextlib.AbstractContextManager[None]:
    """Return a context in which TensorFlow has the gradients that it lacks.

    Values and first derivatives stay what they were, to the last bit.
    """
    return with_gradients(
        {
            "ResizeBilinear": _through_bilinear,
            "ResizeBicubicGrad": _of_bicubic,
            "ResizeNearestNeighborGrad": _of_nearest,
            "ScaleAndTranslateGrad": _of_scale_and_translate,
            "CropAndResizeGradImage": _of_crop_and_resize,
            "SoftsignGrad": _of_softsign,
            **{name: functools.partial(_missing, name) for name in _WRONGLY_ZERO},
        }
    )


# They are not 0 either, and no operation computes them.
_WRONGLY_ZERO = (
    "FakeQuantWithMinMaxArgsGradient",
    "FakeQuantWithMinMaxVarsGradient",
    "FakeQuantWithMinMaxVarsPerChannelGradient",
    "SparseAddGrad",
)


def _missing(name: str, *_: Any) -> Never:
    """Say so as TensorFlow does of other operations."""
    raise LookupError(f"gradient registry has no entry for: {name}")


def _size(image: Tensor) -> Tensor:
    import tensorflow as tf

    return tf.shape(image)[1:3]


def _alignment(op: Any) -> dict[str, bool]:
    names = "align_corners", "half_pixel_centers"
    return {name: op.get_attr(name) for name in names}


def _through_bilinear(plain: Any, op: Any, grad: Tensor) -> list[Any]:
    """The first derivative, plus a zero that has the second derivative.

    When TensorFlow looks up the gradient of `ResizeBilinearGrad` itself, the size is
    lost. So the zero comes from products with matrices, which are resized identities.
    """
    import tensorflow as tf

    image = op.inputs[0]
    sizes = tf.shape(image)[1:3], _size(grad)

    def matrix(axis: int) -> Tensor:
        before, after = (each[axis] for each in sizes)
        identity = tf.eye(before)[None, :, :, None]
        size = tf.stack([after, before])
        resize = tf.raw_ops.ResizeBilinear
        return resize(images=identity, size=size, **_alignment(op))[0, :, :, 0]

    zero = tf.einsum("nijc,ih->nhjc", grad, matrix(0))
    zero = tf.einsum("nhjc,jw->nhwc", zero, matrix(1))
    zero = tf.cast(zero - tf.stop_gradient(zero), image.dtype)
    return [plain(op, grad)[0] + zero, None]


def _of_bicubic(_: Any, op: Any, grad: Tensor) -> list[Any]:
    import tensorflow as tf

    size = _size(op.inputs[0])
    resize = tf.raw_ops.ResizeBicubic
    return [resize(images=grad, size=size, **_alignment(op)), None]


def _of_nearest(_: Any, op: Any, grad: Tensor) -> list[Any]:
    import tensorflow as tf

    size = _size(op.inputs[0])
    resize = tf.raw_ops.ResizeNearestNeighbor
    return [resize(images=grad, size=size, **_alignment(op)), None]


def _of_scale_and_translate(_: Any, op: Any, grad: Tensor) -> list[Any]:
    """All other interpolations, and all that have antialiasing."""
    import tensorflow as tf

    resized = tf.raw_ops.ScaleAndTranslate(
        images=grad,
        size=_size(op.inputs[0]),
        scale=op.inputs[2],
        translation=op.inputs[3],
        kernel_type=op.get_attr("kernel_type"),
        antialias=op.get_attr("antialias"),
    )
    return [resized, None, None, None]


def _of_crop_and_resize(_: Any, op: Any, grad: Tensor) -> list[Any]:
    """The gradient for fixed boxes.

    Boxes that depend on weights need the gradient of `CropAndResizeGradBoxes` too,
    which is still missing, and so they are refused.
    """
    import tensorflow as tf

    cropped = tf.raw_ops.CropAndResize(
        image=grad,
        boxes=op.inputs[1],
        box_ind=op.inputs[2],
        crop_size=_size(op.inputs[0]),
        method=op.get_attr("method"),
    )
    return [cropped, None, None, None]


def _of_softsign(_: Any, op: Any, grad: Tensor) -> list[Any]:
    """The derivative of g / (1 + |x|)^2 with respect to g and x."""
    import tensorflow as tf

    g, x = op.inputs
    return [
        tf.raw_ops.SoftsignGrad(gradients=grad, features=x),
        -2.0 * grad * g * tf.sign(x) / (1.0 + tf.abs(x)) ** 3,
    ]
